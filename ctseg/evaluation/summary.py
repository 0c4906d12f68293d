"""From one row a case to the numbers of a model, with intervals, and to the differences between models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.evaluation.intervals import AMOUNT, ANY, SHARE, Interval
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.statistics import (
    Ratio,
    Statistic,
    bootstrap,
    concordance_of,
    limits_of_agreement,
    mean_of,
    median_of,
    proportion_interval,
    ratio_interval,
    ratio_of,
)
from ctseg.metrics.lesions import SIZES

Parts = tuple[NDArray[np.float64], NDArray[np.float64]]

EMPTY_RULES = (
    "Both masks empty: a correct negative; Dice, IoU, HD95 and NSD are undefined and in no mean.",
    "One mask empty: Dice, IoU and NSD are 0, HD95 is undefined; the missed cases are counted beside its mean.",
    "Means and medians by volume are over the cases with a lesion in the reference; pooled numbers are over the voxels "
    "of all cases, so that false positives in healthy scans count.",
    "Case sensitivity and specificity: a case is called positive when more than the detection volume is predicted, "
    "wherever it lies.",
    "Sensitivities, specificities and lesion precision: the interval is the exact binomial one, with one trial a "
    "patient where they are 0 or 1, else with the effective number of trials that the spread over patients implies.",
    "Differences of two models keep every case that both were measured on, also where one of them predicts nothing. "
    "Where HD95 is undefined for one model, its paired difference is over the cases that both define, and the "
    "difference of the two means is given beside it.",
    "A case that failed (no prediction, another grid, unreadable) is in no number and is named.",
)

BY_VOLUME = ("dice", "iou", "sensitivity", "precision", "nsd", "hd95_mm")
BOUNDS = {name: AMOUNT if name == "hd95_mm" else SHARE for name in BY_VOLUME}


def summarise(cases: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Any]:
    """All numbers of one model.

    Args:
        cases: rows of one model that have metrics (`status == 'ok'`).
        settings: resamples, level, seed and the detection volume.
    """
    has_lesion = (cases["tp"] + cases["fn"]).to_numpy() > 0
    called = cases["pred_ml"].to_numpy() > settings.detection_ml
    estimate, share = _estimators(cases, settings)
    return {
        "cases": len(cases),
        "patients": int(cases["patient"].nunique()),
        "with_lesion": int(has_lesion.sum()),
        "both_empty": int((~has_lesion & (cases["pred_ml"] == 0)).sum()),
        "missed_whole": int((has_lesion & (cases["pred_ml"] == 0)).sum()),
        "pooled": {name: estimate(ratio_of(*parts), None, SHARE) for name, parts in pooled_parts(cases).items()},
        "by_volume": {name: _by_volume(cases[name], has_lesion, estimate, BOUNDS[name]) for name in BY_VOLUME},
        **_per_slice(cases, estimate),
        "negative_slices": {
            "count": int(cases["negative_slices"].sum()),
            "ml_in_100": estimate(
                ratio_of(100.0 * cases["negative_slices_ml"], cases["negative_slices"]), None, AMOUNT
            ),
        },
        "volume": _volume(cases, estimate),
        "lesions": _lesions(cases, estimate, share),
        "detection": {
            "sensitivity": share(called & has_lesion, has_lesion),
            "specificity": share(~called & ~has_lesion, ~has_lesion),
            "fp_ml_mean": estimate(mean_of(cases["pred_ml"]), ~has_lesion, AMOUNT),
        },
    }


class Estimator(Protocol):
    """A statistic of the used cases with its interval, as summary.json holds it."""

    def __call__(self, statistic: Statistic, used: Any, bounds: Interval = ANY) -> dict[str, Any]:
        """`used` marks the cases that count, None for all; `bounds` are values that the statistic cannot pass."""
        ...


Share = Callable[[Any, Any], dict[str, Any]]


def _estimators(cases: pd.DataFrame, settings: EvaluationSettings) -> tuple[Estimator, Share]:
    """`estimate(statistic, used, bounds)` and `share(parts, wholes)` over the patients of these cases.

    Means and ratios have the jackknife's interval over patients; the others, which have none, the bootstrap's.
    """
    patients = cases["patient"].astype(str).tolist()

    def estimate(statistic: Statistic, used: Any, bounds: Interval = ANY) -> dict[str, Any]:
        if isinstance(statistic, Ratio):
            return ratio_interval(statistic, patients, used=used, level=settings.level, bounds=bounds).as_dict()
        return bootstrap(statistic, patients, used=used, **settings.draws()).as_dict()

    def share(parts: Any, wholes: Any) -> dict[str, Any]:
        return proportion_interval(parts, wholes, patients, level=settings.level).as_dict()

    return estimate, share


def _per_slice(cases: pd.DataFrame, estimate: Estimator) -> dict[str, Any]:
    """Dice per slice, over all slices as released and over the haemorrhage-positive slices alone."""
    slices = cases["slices"].to_numpy(float)
    positive = slices - cases["negative_slices"].to_numpy(float)
    on_positive = np.nan_to_num(cases["dice_per_slice_positive"].to_numpy(float)) * positive
    return {
        "dice_per_slice_released": estimate(ratio_of(cases["dice_per_slice_released"] * slices, slices), None, SHARE),
        "dice_per_slice_positive": estimate(ratio_of(on_positive, positive), positive > 0, SHARE),
    }


def pooled_parts(cases: pd.DataFrame) -> dict[str, Parts]:
    """Numerator and denominator of each case whose sums make the pooled numbers."""
    tp, fp, fn = (cases[name].to_numpy(float) for name in ("tp", "fp", "fn"))
    return {
        "dice": (2 * tp, 2 * tp + fp + fn),
        "sensitivity": (tp, tp + fn),
        "precision": (tp, tp + fp),
    }


def _by_volume(
    column: pd.Series, has_lesion: NDArray[np.bool_], estimate: Estimator, bounds: Interval
) -> dict[str, Any]:
    values = column.to_numpy(float)
    used = has_lesion & np.isfinite(values)
    return {
        "mean": estimate(mean_of(values), used, bounds),
        "median": estimate(median_of(values), used),
        "undefined": int((has_lesion & ~np.isfinite(values)).sum()),
    }


def _volume(cases: pd.DataFrame, estimate: Estimator) -> dict[str, Any]:
    """Agreement of volumes over the cases in which either mask holds anything."""
    either = (cases["pred_ml"] + cases["ref_ml"]).to_numpy() > 0
    bias, low, high = limits_of_agreement(cases["error_ml"][either])
    return {
        "error_ml_mean": estimate(mean_of(cases["error_ml"]), either),
        "abs_error_ml_mean": estimate(mean_of(cases["abs_error_ml"]), either, AMOUNT),
        "abs_error_ml_median": estimate(median_of(cases["abs_error_ml"]), either),
        "limits_of_agreement_ml": {"bias": bias, "low": low, "high": high},
        "concordance": estimate(concordance_of(cases["pred_ml"], cases["ref_ml"]), either),
    }


def _lesions(cases: pd.DataFrame, estimate: Estimator, share: Share) -> dict[str, Any]:
    """F1, sensitivity (recall) and precision of lesions, all and by size."""
    found = {}
    for size in ("all", *SIZES):
        end = "" if size == "all" else f"_{size}"
        tp, fp, fn = (cases[f"lesions_{kind}{end}"].to_numpy(float) for kind in ("tp", "fp", "fn"))
        found[size] = {
            "tp": int(tp.sum()),
            "fp": int(fp.sum()),
            "fn": int(fn.sum()),
            "f1": estimate(ratio_of(2 * tp, 2 * tp + fp + fn), None, SHARE),
            "sensitivity": share(tp, tp + fn),
            "precision": share(tp, tp + fp),
        }
    return found
