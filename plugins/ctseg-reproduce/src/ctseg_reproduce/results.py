"""From the runs of a row, one a seed, to its numbers with intervals over patients and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.errors import InputError
from ctseg.evaluation.statistics import Estimate
from ctseg.evaluation.summary import pooled_parts
from ctseg.io.slices import open_slices
from ctseg.metrics.overlap import dice
from ctseg.runs import read_header

METRICS = ("pooled", "per_volume", "per_slice", "fp_ml", "fp_negative", "positive")
"""Dice over all voxels; mean over volumes with a lesion; the released code's per slice with smooth 1; mL outlined in a
volume without a lesion, mean; mL outlined on a slice without a lesion, mean; Dice over the
voxels of slices with a lesion."""


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


def read_trained(folder: Path, seed: int) -> Outcome:
    """What `das-train`, `segment` and `evaluate` left in a row's folder.

    Raises:
        InputError: if the evaluation is not there or has no case.
    """
    path = folder / "evaluation" / "cases.csv"
    if not path.exists():
        raise InputError(f"{path}: no such file; run this row again")
    table = pd.read_csv(path)
    if "negative_slices_fp_ml" not in table:
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
            "fp_ml_part": np.where(lesion, 0.0, pred_ml),
            "fp_ml_whole": (~lesion).astype(float),
            "fp_negative_part": negative_ml,
            "fp_negative_whole": negative,
            "positive_part": pooled_part,
            "positive_whole": pooled_whole - negative_fp,
        }
    )


def read_finetuned(folder: Path, truth: Path, seed: int) -> Outcome:
    """What `finetune` left in a row's folder, against the labels of `truth` (which the control was not trained on).

    Raises:
        InputError: if the outlines are not there or belong to another set.
    """
    path, labelled = folder / "run" / "masks.npy", open_slices(truth)
    if not path.exists():
        raise InputError(f"{path}: no such file; run this row again")
    found = np.load(path, allow_pickle=False)
    masks = labelled.require_masks("outlines are compared with them")[:]
    if found.shape != masks.shape:
        raise InputError(f"{path}: holds {found.shape}, {truth} has {masks.shape}; run this row again")
    cases = _count(found > 0, masks > 0, labelled.table)
    return Outcome(seed, _parts(cases), "last epoch of each fold (supervised)", len(found))


def _count(found: NDArray[np.bool_], masks: NDArray[np.bool_], table: pd.DataFrame) -> pd.DataFrame:
    """The columns of `cases.csv` for each series, from (N, H, W) outlines and masks."""
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
        pred_ml=grouped["mm2"].sum() * step_mm / 1000.0,
        negative_slices=grouped["negative"].sum(),
        negative_slices_fp=grouped["negative_fp"].sum(),
        negative_slices_fp_ml=grouped["negative_mm2"].sum() * step_mm / 1000.0,
    )


def _step_mm(z_mm: pd.Series) -> float:
    """The usual distance of neighbouring slices; 1 for a single one."""
    steps = np.diff(np.sort(z_mm.to_numpy(float)))
    return float(np.median(steps)) if len(steps) else 1.0


def estimate(
    outcomes: Sequence[Outcome], metric: str, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Mean of a metric over seeds, with a percentile interval over patients and seeds.

    Each resample draws patients, the same ones for every seed, and seeds, both with replacement. With one seed the
    interval is over patients alone.
    """
    parts, wholes = _sums(outcomes, metric)
    used = wholes.sum(axis=0) > 0
    parts, wholes = parts[:, used], wholes[:, used]
    seeds, count = parts.shape
    if not count:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    value = float(np.mean(parts.sum(axis=1) / wholes.sum(axis=1)))
    draws = _draws(seeds, count, resamples, seed)
    return Estimate(value, *_interval(_drawn(parts, wholes, *draws), count, level), seeds * count, count)


def difference(
    outcomes: Sequence[Outcome],
    reference: Sequence[Outcome],
    metric: str,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A row's metric minus a reference row's, paired: over the patients and seeds that both have.

    Resamples are drawn as in `estimate`, the same ones for both rows, so that what makes a patient hard, or a seed
    lucky for both, does not widen the interval.
    """
    shared = sorted({item.seed for item in outcomes} & {item.seed for item in reference})
    mine, theirs = (
        [item for number in shared for item in rows if item.seed == number] for rows in (outcomes, reference)
    )
    if not shared:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    sums = [*_sums(mine, metric, _patients(mine, theirs)), *_sums(theirs, metric, _patients(mine, theirs))]
    used = (sums[1].sum(axis=0) > 0) & (sums[3].sum(axis=0) > 0)
    parts, wholes, other_parts, other_wholes = (table[:, used] for table in sums)
    seeds, count = parts.shape
    if not count:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    value = float(np.mean(parts.sum(axis=1) / wholes.sum(axis=1) - other_parts.sum(axis=1) / other_wholes.sum(axis=1)))
    draws = _draws(seeds, count, resamples, seed)
    drawn = _drawn(parts, wholes, *draws) - _drawn(other_parts, other_wholes, *draws)
    return Estimate(value, *_interval(drawn, count, level), seeds * count, count)


def _draws(seeds: int, count: int, resamples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How often each patient, and in which share each seed, is drawn: (resamples, patients) and (resamples, seeds)."""
    rng = np.random.default_rng(seed)
    patients = rng.multinomial(count, np.full(count, 1 / count), resamples)
    return patients, rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds


def _drawn(
    parts: NDArray[np.float64],
    wholes: NDArray[np.float64],
    patients: NDArray[np.int64],
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(resamples,) the metric in each resample."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((shares * ((patients @ parts.T) / (patients @ wholes.T))).sum(axis=1))


def _interval(drawn: NDArray[np.float64], count: int, level: float) -> tuple[float, float]:
    if count < 2:
        return float("nan"), float("nan")
    low, high = np.nanpercentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def _patients(*rows: Sequence[Outcome]) -> list[str]:
    """Patients that every outcome of these rows has."""
    found = [set(item.cases["patient"].astype(str)) for outcomes in rows for item in outcomes]
    return sorted(set.intersection(*found))


def _sums(
    outcomes: Sequence[Outcome], metric: str, patients: list[str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Parts and wholes, (seeds, patients) each: sums over each patient's volumes, 0 where a seed lacks a patient."""

    def table(column: str) -> NDArray[np.float64]:
        sums = pd.concat([item.cases.groupby("patient")[column].sum() for item in outcomes], axis=1).fillna(0.0)
        return (sums if patients is None else sums.loc[patients]).to_numpy(np.float64).T

    return table(f"{metric}_part"), table(f"{metric}_whole")
