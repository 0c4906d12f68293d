"""From one row a case to the numbers of a model, with intervals, and to the differences between models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.evaluation.intervals import ANY, SHARE, Interval
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.statistics import Ratio as RatioStatistic
from ctseg.evaluation.statistics import (
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
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.lesions import SIZES
from ctseg.metrics.registry import Average, Cases, Metric, Ratio, SliceMean, Slices, Summary

Parts = tuple[NDArray[np.float64], NDArray[np.float64]]

LEAST_AGREEING = 2
"""Volumes of one case do not vary together: their concordance would be 0, however near they are."""
EMPTY_RULES = (
    "Both masks empty: a correct negative; Dice, IoU, HD95 and NSD are undefined and in no mean.",
    "One mask empty: Dice, IoU and NSD are 0, HD95 is undefined; the missed cases are counted beside its mean.",
    "Means and medians by volume are over the cases with a lesion in the reference; pooled numbers are over the voxels "
    "of all cases, so that false positives in negative cases count.",
    "Case sensitivity and specificity: a case is haemorrhage-positive when more than the detection volume is "
    "predicted, wherever it lies.",
    "Sensitivities, specificities and lesion precision: the interval is the exact binomial one, with one trial a "
    "patient where they are 0 or 1, else with the effective number of trials that the spread over patients implies.",
    "Differences of two models keep every case that both were measured on, also where one of them predicts nothing. "
    "Where HD95 is undefined for one model, its paired difference is over the cases that both define, and the "
    "difference of the two means is given beside it.",
    "A case that failed (no prediction, another grid, unreadable) is in no number and is named.",
)


def summarise(cases: pd.DataFrame, settings: EvaluationSettings, metrics: Sequence[Metric] = METRICS) -> dict[str, Any]:
    """All numbers of one model.

    Args:
        cases: rows of one model that have metrics (`status == 'ok'`).
        settings: resamples, level, seed and the detection volume.
        metrics: columns of `cases`; each adds its summaries, the built-in ones are among them.

    Returns:
        Counts of cases, `lesions`, `detection` and `volume`, and for each summary of each metric `SECTION.METRIC`.
    """
    has_lesion = (cases["tp"] + cases["fn"]).to_numpy() > 0
    positive = cases["pred_ml"].to_numpy() > settings.detection_ml
    estimate, share = _estimators(cases, settings)
    result: dict[str, Any] = {
        "cases": len(cases),
        "patients": int(cases["patient"].nunique()),
        "with_lesion": int(has_lesion.sum()),
        "both_empty": int((~has_lesion & (cases["pred_ml"] == 0)).sum()),
        "missed_cases": int((has_lesion & (cases["pred_ml"] == 0)).sum()),
    }
    for metric in metrics:
        for summary in metric.summaries:
            result.setdefault(summary.section, {})[metric.name] = _summary(metric, summary, cases, estimate)
    result["volume"] |= _volume_agreement(cases, estimate)
    result["lesions"] = _lesions(cases, estimate, share)
    result["detection"] = {
        "sensitivity": share(positive & has_lesion, has_lesion),
        "specificity": share(~positive & ~has_lesion, ~has_lesion),
    }
    return result


class Estimator(Protocol):
    """A statistic of the used cases with its interval, as summary.json holds it."""

    def __call__(self, statistic: Statistic, used: Any, bounds: Interval = ANY, least: int = 1) -> dict[str, Any]:
        """`used` marks the cases that count, None for all; `bounds` are values that the statistic cannot pass.

        With fewer than `least` cases a statistic that is no mean or ratio is undefined.
        """
        ...


Share = Callable[[Any, Any], dict[str, Any]]


def _estimators(cases: pd.DataFrame, settings: EvaluationSettings) -> tuple[Estimator, Share]:
    """`estimate(statistic, used, bounds)` and `share(parts, wholes)` over the patients of these cases.

    Means and ratios have the jackknife's interval over patients; the others, which have none, the bootstrap's.
    """
    patients = cases["patient"].astype(str).tolist()

    def estimate(statistic: Statistic, used: Any, bounds: Interval = ANY, least: int = 1) -> dict[str, Any]:
        if isinstance(statistic, RatioStatistic):
            return ratio_interval(statistic, patients, used=used, level=settings.level, bounds=bounds).as_dict()
        return bootstrap(statistic, patients, used=used, least=least, **settings.draws()).as_dict()

    def share(parts: Any, wholes: Any) -> dict[str, Any]:
        return proportion_interval(parts, wholes, patients, level=settings.level).as_dict()

    return estimate, share


def _summary(metric: Metric, summary: Summary, cases: pd.DataFrame, estimate: Estimator) -> Any:
    """One summary of one metric."""
    values = cases[metric.name].to_numpy(float)
    if isinstance(summary, Average):
        return _average(values, cases_over(cases, summary.over), estimate, metric.range)
    if isinstance(summary, Ratio):
        return estimate(ratio_of(*ratio_parts(cases, summary)), None, metric.range)
    if isinstance(summary, SliceMean):
        slices = _slices(cases, summary.slices)
        return estimate(ratio_of(np.where(slices > 0, values, 0.0) * slices, slices), slices > 0, metric.range)
    return float(values.sum())


def _slices(cases: pd.DataFrame, which: Slices) -> NDArray[np.float64]:
    """(N,) how many slices of each case count: all, or the haemorrhage-positive ones."""
    slices = cases["slices"].to_numpy(float)
    return slices if which == "all" else slices - cases["negative_slices"].to_numpy(float)


def cases_over(cases: pd.DataFrame, over: Cases) -> NDArray[np.bool_]:
    """(N,) which cases a mean is over."""
    if over == "all":
        return np.ones(len(cases), bool)
    if over == "volume":
        return (cases["pred_ml"] + cases["ref_ml"]).to_numpy() > 0
    has_lesion: NDArray[np.bool_] = (cases["tp"] + cases["fn"]).to_numpy() > 0
    return has_lesion if over == "lesion" else ~has_lesion


def _average(
    values: NDArray[np.float64], chosen: NDArray[np.bool_], estimate: Estimator, bounds: Interval
) -> dict[str, Any]:
    used = chosen & np.isfinite(values)
    return {
        "mean": estimate(mean_of(values), used, bounds),
        "median": estimate(median_of(values), used),
        "undefined": int((chosen & ~np.isfinite(values)).sum()),
    }


def ratio_parts(cases: pd.DataFrame, ratio: Ratio) -> Parts:
    """(N,) numerators and (N,) denominators of each case, whose sums make the ratio."""
    numerator, denominator = (
        sum((factor * cases[name].to_numpy(float) for name, factor in columns.items()), np.zeros(len(cases)))
        for columns in (ratio.parts, ratio.wholes)
    )
    return numerator, denominator


def pooled_parts(cases: pd.DataFrame, metrics: Sequence[Metric] = METRICS) -> dict[str, Parts]:
    """Numerator and denominator of each case whose sums make the pooled numbers."""
    return {
        metric.name: ratio_parts(cases, summary)
        for metric in metrics
        for summary in metric.summaries
        if isinstance(summary, Ratio) and summary.section == "pooled"
    }


def _volume_agreement(cases: pd.DataFrame, estimate: Estimator) -> dict[str, Any]:
    """Agreement of volumes over the cases in which either mask holds anything."""
    either = cases_over(cases, "volume")
    bias, low, high = limits_of_agreement(cases["error_ml"][either])
    return {
        "limits_of_agreement_ml": {"bias": bias, "low": low, "high": high},
        "concordance": estimate(concordance_of(cases["pred_ml"], cases["ref_ml"]), either, least=LEAST_AGREEING),
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
