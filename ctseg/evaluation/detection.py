"""Detection in cases and slices without a lesion: specificity and false-positive volume by subtype."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctseg.evaluation.intervals import AMOUNT
from ctseg.evaluation.score import Score
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.statistics import mean_of, proportion_interval, ratio_interval
from ctseg.io.rsna_labels import read_labels

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
ROWS = ("none", *SUBTYPES)


def read_subtypes(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Labels of slices or cases: index = slice or case id, one boolean column for each of `any` and `SUBTYPES`.

    `any` is true where it is labelled so or one of the subtypes is; a subtype without a column is false.

    Returns:
        The labels, and what to tell a person about the table.

    Raises:
        InputError: if the table cannot be read, see `ctseg.io.rsna_labels.read_labels`.
    """
    found = read_labels(path, ("any", *SUBTYPES))
    wide = found.table.reindex(columns=["any", *SUBTYPES], fill_value=0).astype(bool)
    wide["any"] = wide.any(axis=1)
    return wide, list(found.notes)


def case_labels(scores: Sequence[Score], labels: pd.DataFrame) -> pd.DataFrame:
    """Labels of each case: its own row, or any of its slices' rows; index = case, only cases that have labels."""
    rows = {}
    for score in scores:
        if score.case in labels.index:
            rows[score.case] = labels.loc[score.case]
        elif score.slices is not None:
            known = labels.reindex(list(score.slices.slice_ids)).dropna()
            if len(known):
                rows[score.case] = known.astype(bool).any()
    return pd.DataFrame.from_dict(rows, orient="index", columns=labels.columns).astype(bool)


def unit_table(scores: Sequence[Score], labels: pd.DataFrame, by: str, settings: EvaluationSettings) -> pd.DataFrame:
    """One row a case (`by='case'`) or a slice (`'slice'`): patient, positive, has_lesion, fp_ml and the labels."""
    frames = []
    cases = case_labels(scores, labels) if by == "case" else labels
    for score in scores:
        unit = _case_unit(score) if by == "case" else _slice_units(score)
        frames.append(unit.assign(patient=score.patient))
    units = pd.concat(frames) if frames else pd.DataFrame(columns=["pred_ml", "fp_ml", "has_lesion", "patient"])
    units["positive"] = units["pred_ml"] > settings.detection_ml
    return units.join(cases, how="inner")


def _case_unit(score: Score) -> pd.DataFrame:
    metrics = score.metrics
    has_lesion = metrics["tp"] + metrics["fn"] > 0
    return pd.DataFrame(
        {"pred_ml": [metrics["pred_ml"]], "fp_ml": [metrics["fp_ml"]], "has_lesion": [has_lesion]}, index=[score.case]
    )


def _slice_units(score: Score) -> pd.DataFrame:
    counts = score.slices
    if counts is None:
        return pd.DataFrame({"pred_ml": [], "fp_ml": [], "has_lesion": []})
    values = {"pred_ml": counts.pred_ml, "fp_ml": counts.fp_ml, "has_lesion": counts.ref_px > 0}
    return pd.DataFrame(values, index=list(counts.slice_ids))


def by_subtype(
    scores: Sequence[Score], labels: pd.DataFrame, by: str, settings: EvaluationSettings
) -> list[dict[str, Any]]:
    """Specificity and false-positive mL over the cases or slices without a lesion in the reference, by subtype.

    One with several subtypes counts in each of their rows. `intraparenchymal` has a row too: labelled so, but not
    segmented in the reference.
    """
    units = unit_table(scores, labels, by, settings)
    negatives = units[~units["has_lesion"].astype(bool)]
    rows = []
    for name in ROWS:
        chosen = negatives[~negatives["any"]] if name == "none" else negatives[negatives[name]]
        rows.append({"subtype": name, "by": by, "count": len(chosen), **_row(chosen, settings)})
    return rows


def _row(chosen: pd.DataFrame, settings: EvaluationSettings) -> dict[str, Any]:
    patients = chosen["patient"].astype(str).tolist()
    fp_ml, positive = chosen["fp_ml"].to_numpy(float), chosen["positive"].to_numpy(bool)
    specificity = proportion_interval(~positive, np.ones(len(positive)), patients, level=settings.level)
    fp_ml_mean = ratio_interval(mean_of(fp_ml), patients, level=settings.level, bounds=AMOUNT)
    return {
        "specificity": specificity.as_dict(),
        "fp_ml_mean": fp_ml_mean.as_dict(),
        "fp_ml_max": float(fp_ml.max()) if len(fp_ml) else float("nan"),
    }
