"""Differences between models, paired by case, which keep every case that both models were measured on."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.statistics import compare_ratios, holm
from ctseg.evaluation.summary import Parts, pooled_parts

MEANS = ("dice", "nsd", "hd95_mm")
"""Metrics by volume whose means over the cases with a lesion are compared."""


def compare_models(cases: pd.DataFrame, models: tuple[str, ...], settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Paired differences of every two models, `second - first`, on the cases both have; p values also by Holm.

    Each row gives, beside the paired `difference`:

    - `difference_of_means`: the second model's published value minus the first's. It is the paired difference unless
      a model lacks cases or the metric is undefined for one model in some;
    - `undefined_first`, `undefined_second`: cases with a lesion in which the metric is undefined for that model alone,
      and which are therefore in its partner's published mean but not in the paired difference;
    - `lacking_first`, `lacking_second`: cases that the model lacks and the other one has.
    """
    done = cases[cases["status"] == "ok"]
    rows = []
    for first, second in combinations(models, 2):
        one, two = (done[done["model"] == name].set_index("case") for name in (first, second))
        rows += [{"first": first, "second": second, **row} for row in _compare_two(one, two, settings)]
    for row, p_value in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = p_value
    return rows


def _compare_two(one: pd.DataFrame, two: pd.DataFrame, settings: EvaluationSettings) -> list[dict[str, Any]]:
    common = one.index.intersection(two.index, sort=False)
    lacking = {"lacking_first": len(two.index) - len(common), "lacking_second": len(one.index) - len(common)}
    of_all, paired = (_parts(one), _parts(two)), (_parts(one.loc[common]), _parts(two.loc[common]))
    patients = one.loc[common, "patient"].astype(str).to_numpy()
    rows = []
    for metric in paired[0]:
        first, second = paired[0][metric], paired[1][metric]
        keep, undefined = _kept(metric, one.loc[common], two.loc[common])
        first, second = ((part[keep], whole[keep]) for part, whole in (first, second))
        found = compare_ratios(
            first, second, patients[keep].tolist(),
            permutations=settings.permutations, level=settings.level, seed=settings.seed,
        )  # fmt: skip
        means = [_value(parts[metric]) for parts in of_all]
        rows.append(
            {"metric": metric, **found.as_dict(), "difference_of_means": means[1] - means[0], **undefined, **lacking}
        )
    return rows


def _parts(cases: pd.DataFrame) -> dict[str, Parts]:
    """Numerator and denominator of each compared metric, whose sums make the model's published value."""
    has_lesion = (cases["tp"] + cases["fn"]).to_numpy() > 0
    either = (cases["pred_ml"] + cases["ref_ml"]).to_numpy() > 0
    return {
        "dice_pooled": pooled_parts(cases)["dice"],
        **{f"{name}_mean": _mean_parts(cases[name], has_lesion) for name in MEANS},
        "abs_error_ml_mean": _mean_parts(cases["abs_error_ml"], either),
    }


def _mean_parts(column: pd.Series, used: NDArray[np.bool_]) -> Parts:
    values = column.to_numpy(float)
    known = used & np.isfinite(values)
    return np.where(known, values, 0.0), known.astype(float)


def _kept(metric: str, one: pd.DataFrame, two: pd.DataFrame) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """(N,) the cases that are paired, and in how many a model alone leaves the metric undefined.

    Every case that adds to a model's value is paired, but for HD95, which has no value where one mask is empty.
    """
    first, second = (_parts(cases)[metric][1] > 0 for cases in (one, two))
    if metric != "hd95_mm_mean":
        return first | second, {"undefined_first": 0, "undefined_second": 0}
    undefined = {"undefined_first": int((second & ~first).sum()), "undefined_second": int((first & ~second).sum())}
    return first & second, undefined


def _value(parts: Parts) -> float:
    whole = float(parts[1].sum())
    return float(parts[0].sum()) / whole if whole else float("nan")
