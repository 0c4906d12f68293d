"""From the runs of a row, one a seed, to its numbers with intervals over patients and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.errors import InputError
from ctseg.evaluation.intervals import (
    AMOUNT,
    ANY,
    SHARE,
    Interval,
    Sums,
    cohorts_interval,
    shared_patients_interval,
    value_of,
)
from ctseg.evaluation.statistics import Estimate
from ctseg.evaluation.summary import pooled_parts
from ctseg.io.slices import open_slices
from ctseg.metrics.overlap import dice
from ctseg.runs import read_header

METRICS = ("pooled", "per_volume", "per_slice", "per_slice_positive", "fp_ml", "fp_negative", "pooled_positive")
"""Dice over all voxels; mean over volumes with a lesion; the released code's per slice with smooth 1; per slice with a
lesion, mean; mL segmented in a volume without a lesion, mean; mL segmented on a slice without a lesion, mean; Dice over
the voxels of slices with a lesion."""
SUPERVISED = "last epoch of each fold (supervised)"
AMOUNTS = ("fp_ml", "fp_negative")
"""Metrics in mL; the others are shares."""


@dataclass(frozen=True)
class Outcome:
    """One row and seed."""

    seed: int
    cases: pd.DataFrame
    """One row a test volume: patient, and `METRIC_part` and `METRIC_whole`, whose sums' ratio is the metric."""
    selection: str
    """The rule that chose the weights."""
    slices: int
    """Source slices trained on; of Table 5, labelled CT slices in all folds."""
    cohort: int | None = None
    """Seed of the phantom cohort; None for test scans that all seeds share."""


@dataclass(frozen=True)
class Difference(Estimate):
    """A paired difference of two rows."""

    seeds: tuple[int, ...] = ()
    """Those that both rows have, and in which both define the metric."""
    difference_of_values: float = float("nan")
    """The first row's published value minus the other's; another number where a row has seeds that the other lacks."""

    @property
    def is_of_the_values(self) -> bool:
        """Whether the paired difference is that of the published values."""
        return bool(np.isclose(self.value, self.difference_of_values, rtol=0, atol=1e-9))


def read_trained(folder: Path, seed: int) -> Outcome:
    """What `das-train`, `segment` and `evaluate` left in a row's folder.

    Raises:
        InputError: if the evaluation is not there or has no case.
    """
    path = folder / "evaluation" / "cases.csv"
    if not path.exists():
        raise InputError(f"{path}: no such file; run this row again")
    table = pd.read_csv(path)
    if not {"negative_slices_fp_ml", "dice_per_slice_positive"} <= set(table.columns):
        raise InputError(f"{path}: was made by an older ctseg; evaluate again with --overwrite")
    table = table[table["status"] == "ok"]
    if not len(table):
        raise InputError(f"{path}: no case could be evaluated; look at its column `error`")
    training = read_header(folder / "run").training
    rule = f"{training['selection']} (no CT label), epoch {training['selected_epoch']}"
    return Outcome(seed, _parts(table), rule, int(training["source_slices"]))


def _parts(table: pd.DataFrame) -> pd.DataFrame:
    """Parts and wholes of volumes with the columns of `cases.csv`."""
    names = ("tp", "fn", "dice", "slices", "dice_per_slice_released", "pred_ml")
    on_positive = np.nan_to_num(table["dice_per_slice_positive"].to_numpy(float))
    on_negative = ("negative_slices", "negative_slices_fp", "negative_slices_fp_ml")
    negative, negative_fp, negative_ml = (table[name].to_numpy(float) for name in on_negative)
    tp, fn, dice, slices, per_slice, pred_ml = (table[name].to_numpy(float) for name in names)
    pooled_part, pooled_whole = pooled_parts(table)["dice"]
    lesion = tp + fn > 0
    return pd.DataFrame(
        {
            "patient": table["patient"].astype(str).to_numpy(),
            "pooled_part": pooled_part,
            "pooled_whole": pooled_whole,
            "per_volume_part": np.where(lesion, np.nan_to_num(dice), 0.0),
            "per_volume_whole": lesion.astype(float),
            "per_slice_part": per_slice * slices,
            "per_slice_whole": slices,
            "per_slice_positive_part": on_positive * (slices - negative),
            "per_slice_positive_whole": slices - negative,
            "fp_ml_part": np.where(lesion, 0.0, pred_ml),
            "fp_ml_whole": (~lesion).astype(float),
            "fp_negative_part": negative_ml,
            "fp_negative_whole": negative,
            "pooled_positive_part": pooled_part,
            "pooled_positive_whole": pooled_whole - negative_fp,
        }
    )


def read_slices(folder: Path, truth: Path, seed: int, selection: str = SUPERVISED) -> Outcome:
    """What `finetune` or `location-prior` left in a row's folder, compared with the masks of `truth`.

    Raises:
        InputError: if the masks are not there or belong to another set.
    """
    path, labelled = folder / "run" / "masks.npy", open_slices(truth)
    if not path.exists():
        raise InputError(f"{path}: no such file; run this row again")
    found = np.load(path, allow_pickle=False)
    masks = labelled.require_masks("segmentations are compared with them")[:]
    if found.shape != masks.shape:
        raise InputError(f"{path}: holds {found.shape}, {truth} has {masks.shape}; run this row again")
    cases = _count(found > 0, masks > 0, labelled.table)
    return Outcome(seed, _parts(cases), selection, len(found))


def _count(found: NDArray[np.bool_], masks: NDArray[np.bool_], table: pd.DataFrame) -> pd.DataFrame:
    """The columns of `cases.csv` for each series, from (N, H, W) segmentations and masks."""
    tp, fp, fn = (pair.sum(axis=(1, 2), dtype=float) for pair in (found & masks, found & ~masks, ~found & masks))
    slices = pd.DataFrame(
        {
            "series": table["series_id"].to_numpy(str),
            "patient": table["patient_id"].to_numpy(str),
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "smooth": [dice(*counts, smooth=1) for counts in zip(tp, fp, fn, strict=True)],
            "mm2": (tp + fp) * table["spacing_row_mm"].to_numpy(float) * table["spacing_col_mm"].to_numpy(float),
            "z_mm": pd.to_numeric(table["z_mm"], errors="coerce").to_numpy(float),
        }
    )
    slices["negative"] = (slices["tp"] + slices["fn"] == 0).astype(float)
    slices["dice"] = (2 * tp / np.maximum(2 * tp + fp + fn, 1.0)).astype(float)
    slices.loc[slices["negative"] > 0, "dice"] = np.nan
    slices["negative_fp"] = slices["fp"] * slices["negative"]
    slices["negative_mm2"] = slices["mm2"] * slices["negative"]
    grouped = slices.groupby("series", sort=True)
    step_mm = grouped["z_mm"].agg(_step_mm)
    cases = grouped[["tp", "fp", "fn"]].sum()
    return cases.assign(
        patient=grouped["patient"].first(),
        slices=grouped.size(),
        dice=[dice(*counts) for counts in cases.itertuples(index=False)],
        dice_per_slice_released=grouped["smooth"].mean(),
        dice_per_slice_positive=grouped["dice"].mean(),
        pred_ml=grouped["mm2"].sum() * step_mm / 1000.0,
        negative_slices=grouped["negative"].sum(),
        negative_slices_fp=grouped["negative_fp"].sum(),
        negative_slices_fp_ml=grouped["negative_mm2"].sum() * step_mm / 1000.0,
    )


def _step_mm(z_mm: pd.Series) -> float:
    """The usual distance of neighbouring slices; 1 for a single one."""
    steps = np.diff(np.sort(z_mm.to_numpy(float)))
    return float(np.median(steps)) if len(steps) else 1.0


def estimate(outcomes: Sequence[Outcome], metric: str, *, level: float = 0.95) -> Estimate:
    """Mean of a metric over the seeds that define it, with its interval.

    Where each seed has a cohort of its own, the interval is over cohorts; where all seeds share their test patients, it
    is over patients and seeds (`ctseg.evaluation.intervals`). With one seed it is over patients alone.
    """
    known = [item for item in outcomes if _is_defined(item, metric)]
    if not known:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    terms = [_sums(known, metric, _patients(known))]
    bounds = AMOUNT if metric in AMOUNTS else SHARE
    return Estimate(_value(terms), *_limits(terms, known, level, bounds), *_counts(terms, known))


def difference(
    outcomes: Sequence[Outcome], reference: Sequence[Outcome], metric: str, *, level: float = 0.95
) -> Difference:
    """A row's metric minus a reference row's, paired by seed and patient.

    Every patient counts that adds to either row, so over equal seeds it is the difference of the two rows' values, also
    where a row has no foreground. What makes a patient hard, or a seed lucky for both rows, cancels.
    """
    seeds = _shared_seeds(outcomes, reference, metric)
    of_values = estimate(outcomes, metric).value - estimate(reference, metric).value
    if not seeds:
        return Difference(float("nan"), float("nan"), float("nan"), 0, 0, (), of_values)
    mine, theirs = (
        [next(item for item in rows if item.seed == seed) for seed in seeds] for rows in (outcomes, reference)
    )
    patients = _patients([*mine, *theirs])
    terms = [_sums(mine, metric, patients), _sums(theirs, metric, patients, -1.0)]
    return Difference(_value(terms), *_limits(terms, mine, level), *_counts(terms, mine), seeds, of_values)


def _shared_seeds(outcomes: Sequence[Outcome], reference: Sequence[Outcome], metric: str) -> tuple[int, ...]:
    """Seeds in which both rows have the metric, on the same cohort."""
    known = [{(item.seed, item.cohort) for item in rows if _is_defined(item, metric)} for rows in (outcomes, reference)]
    return tuple(sorted(seed for seed, _ in known[0] & known[1]))


def _is_defined(outcome: Outcome, metric: str) -> bool:
    return bool(outcome.cases[f"{metric}_whole"].sum() > 0)


def _value(terms: Sequence[Sums]) -> float:
    return float(value_of(terms).mean())


def _limits(
    terms: Sequence[Sums], outcomes: Sequence[Outcome], level: float, bounds: Interval = ANY
) -> tuple[float, float]:
    """Over cohorts where there are several, else over the patients that the seeds share."""
    cohorts = [item.cohort for item in outcomes]
    if len(set(cohorts)) == 1:
        return shared_patients_interval(terms, level, bounds)
    by_cohort = pd.Series(value_of(terms)).groupby(cohorts).mean()
    return cohorts_interval(np.asarray(by_cohort, np.float64), level, bounds)


def _counts(terms: Sequence[Sums], outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Pairs of seed and patient that add to a term, and patients: those of each cohort are others."""
    adds = np.any([term.wholes > 0 for term in terms], axis=0)
    cohorts = pd.Series([str(item.cohort) for item in outcomes])
    patients = sum(int(adds[(cohorts == name).to_numpy()].any(axis=0).sum()) for name in cohorts.unique())
    return int(adds.sum()), patients


def _patients(outcomes: Sequence[Outcome]) -> list[str]:
    """Patients that any of these outcomes has."""
    return sorted(set().union(*(item.cases["patient"].astype(str) for item in outcomes)))


def _sums(outcomes: Sequence[Outcome], metric: str, patients: list[str], sign: float = 1.0) -> Sums:
    """Parts and wholes, (seeds, patients) each: sums over each patient's volumes, 0 where a seed lacks a patient."""

    def table(column: str) -> NDArray[np.float64]:
        sums = [item.cases.groupby(item.cases["patient"].astype(str))[column].sum() for item in outcomes]
        return np.stack([one.reindex(patients, fill_value=0.0).to_numpy(np.float64) for one in sums])

    return Sums(table(f"{metric}_part"), table(f"{metric}_whole"), sign)
