"""How well the uncertainty that `ctseg segment` states in `volumes.csv` agrees with the errors against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from ctseg.evaluation.cases import Matching, read_table
from ctseg.evaluation.intervals import SHARE
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.statistics import (
    Statistic,
    Weights,
    bootstrap,
    mean_of,
    proportion_interval,
    ratio_interval,
)
from ctseg.files import read_json_beside
from ctseg.inference.disagreement import RANGE_FLOOR_ML

TABLE = "volumes.csv"
DETAILS = "volumes.json"
NUMBERS = ("ml", "ml_low", "ml_high", "agreement")
COLUMNS = ("case", "ml", "ml_low", "ml_high", "agreement", "ood")
LEAST_RANKED = 3
"""Cases of a rank correlation; of two it is 1 or -1."""
RECOVERY = "recovery"
"""Of `ctseg segment --recovery`; a folder made without it, or by an older version, has none."""


def read_uncertainty(matching: Matching) -> dict[str, pd.DataFrame]:
    """Model -> what `ctseg segment` wrote beside its masks: index case, `COLUMNS`; only models that have it."""
    found = {}
    for place, model in enumerate(matching.models):
        folders = {path.parent for job in matching.jobs if (path := job.preds[place]) is not None}
        for folder in sorted(folders):
            table = _read(folder / TABLE)
            if table is not None:
                found[model] = table
    return found


def _read(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    table = read_table(path, ())
    if not set(COLUMNS) <= set(table.columns):
        return None
    numbers = {name: pd.to_numeric(table[name], errors="coerce") for name in NUMBERS}
    if _is_widened(path.with_name(DETAILS)):
        numbers["ml"] = numbers["ml"] * float("nan")  # the members' own range is unknown: nothing to calibrate
    known = table[RECOVERY] if RECOVERY in table.columns else pd.Series(index=table.index, dtype=float)
    recovery = pd.to_numeric(known, errors="coerce")
    return pd.DataFrame({**numbers, "ood": table["ood"] != "", "recovery": recovery}).set_axis(table["case"], axis=0)


def _is_widened(path: Path) -> bool:
    """Whether the ranges were widened by a factor already."""
    data = read_json_beside(path)
    settings = data.get("settings") if isinstance(data, dict) else None
    return bool(isinstance(settings, dict) and settings.get("range_factor"))


def range_factor(both: pd.DataFrame, level: float) -> dict[str, Any]:
    """By how much ranges must be widened to hold the reference volume of a share `level` of new patients.

    Split conformal prediction with the members' own range as the scale: each case's score is how far the reference lies
    from the volume, in sizes of that side of the range (plus `RANGE_FLOOR_ML`); each patient counts with its worst
    case; the factor is the score of rank ceil((n + 1) level). None where there are too few patients for the level.
    """
    known = both[both[["ml", "ml_low", "ml_high"]].notna().all(axis=1)]
    off = known["ref_ml"] - known["ml"]
    side = np.where(off < 0, known["ml"] - known["ml_low"], known["ml_high"] - known["ml"])
    scores = off.abs() / (np.maximum(side, 0.0) + RANGE_FLOOR_ML)
    worst = np.sort(scores.groupby(known["patient"].astype(str)).max().to_numpy(float))
    rank = int(np.ceil((len(worst) + 1) * level))
    factor = float(worst[rank - 1]) if 0 < rank <= len(worst) else None
    return {"level": level, "patients": len(worst), "factor": factor}


def summarise_uncertainty(done: pd.DataFrame, stated: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Any]:
    """Agreement of a model's ranges and flags with the references, over the cases that were measured.

    - `in_range`: share of the cases whose reference volume lies between `ml_low` and `ml_high`.
    - `agreement_dice`: Spearman's correlation of agreement and Dice, over the cases with a lesion in the reference.
    - `recovery_dice`: Spearman's correlation of recovery (`segment --recovery`) and Dice, over the cases with a lesion
      in the reference that have one; `recovery_error`: their mean absolute difference.
    - `range_error`: Spearman's correlation of the range's width and the absolute volume error.
    - `range_factor`: what `ctseg segment --set range_factor=...` needs for ranges that hold new patients' volumes.
    - `ood_cases`: cases flagged as out of distribution.
    - `dice_ood`, `dice_in_distribution`: mean Dice of the flagged and the other cases with a lesion.

    Intervals of correlations resample patients but keep the ranks of the whole sample.
    """
    both = done.set_index("case").join(stated, how="inner")
    patients = both["patient"].astype(str).tolist()
    ranged = (both["ml_low"].notna() & both["ml_high"].notna()).to_numpy()
    inside = ((both["ref_ml"] >= both["ml_low"]) & (both["ref_ml"] <= both["ml_high"])).to_numpy() & ranged
    lesion = np.isfinite(both["dice"].to_numpy(float)) & (both["ref_ml"].to_numpy() > 0)
    recovery = both["recovery"].to_numpy(float) if "recovery" in both else np.full(len(both), np.nan)
    recovered = np.isfinite(recovery)
    flagged = both["ood"].to_numpy(bool)
    dice, draws = both["dice"].to_numpy(float), settings.draws()

    def correlation(one: ArrayLike, other: ArrayLike, used: NDArray[np.bool_]) -> dict[str, Any]:
        return bootstrap(spearman_of(one, other, used), patients, used=used, least=LEAST_RANKED, **draws).as_dict()

    def mean(values: NDArray[np.float64], used: NDArray[np.bool_]) -> dict[str, Any]:
        return ratio_interval(mean_of(values), patients, used=used, level=settings.level, bounds=SHARE).as_dict()

    return {
        "cases": len(both),
        "with_range": int(ranged.sum()),
        "in_range": proportion_interval(inside, ranged, patients, level=settings.level).as_dict(),
        "agreement_dice": correlation(both["agreement"], dice, lesion & ranged),
        "with_recovery": int(recovered.sum()),
        "recovery_dice": correlation(recovery, dice, lesion & recovered),
        "recovery_error": mean(np.abs(recovery - dice), lesion & recovered),
        "range_error": correlation(both["ml_high"] - both["ml_low"], both["abs_error_ml"], ranged),
        "range_factor": range_factor(both, settings.range_level),
        "ood_cases": int(flagged.sum()),
        "dice_ood": mean(dice, lesion & flagged),
        "dice_in_distribution": mean(dice, lesion & ~flagged),
    }


def spearman_of(one: ArrayLike, other: ArrayLike, used: NDArray[np.bool_]) -> Statistic:
    """Spearman's rank correlation of the used ones of N pairs, for case weights; ranks are those of all used pairs."""
    x, y = np.zeros(len(used)), np.zeros(len(used))
    x[used], y[used] = rankdata(np.asarray(one, float)[used]), rankdata(np.asarray(other, float)[used])

    def statistic(weights: Weights) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            w = weights * used
            total = w.sum(axis=1)
            mean_x, mean_y = w @ x / total, w @ y / total
            shared = w @ (x * y) / total - mean_x * mean_y
            spread = (w @ x**2 / total - mean_x**2) * (w @ y**2 / total - mean_y**2)
            return np.asarray(np.clip(shared / np.sqrt(np.where(spread > 1e-9, spread, np.nan)), -1.0, 1.0))

    return statistic
