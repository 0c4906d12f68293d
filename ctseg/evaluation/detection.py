"""Detection where there is nothing to outline: specificity and false positives by subtype."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctseg.errors import InputError
from ctseg.evaluation.cases import read_table
from ctseg.evaluation.intervals import AMOUNT
from ctseg.evaluation.score import Score
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.statistics import mean_of, proportion_interval, ratio_interval

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
ROWS = ("none", *SUBTYPES)
ID_COLUMNS = ("slice_id", "case", "case_id", "SOPInstanceUID", "ID", "id")


def read_labels(path: Path) -> pd.DataFrame:
    """Labels of slices or cases: index = slice or case id, one boolean column for each of `any` and `SUBTYPES`.

    Read are RSNA's `stage_2_train.csv` (`ID,Label` with `ID_xxx_subtype`) and wide tables with an id column
    (`slice_id`, `case`, `ID`) and columns named as the subtypes, such as a slice set's `slices.csv`. A missing `any` is
    any of the subtypes.

    Raises:
        InputError: if the table is neither.
    """
    table = read_table(path, ())
    wide = _pivot(table, path) if {"ID", "Label"} <= set(table.columns) else _wide(table, path)
    wide = wide.groupby(level=0).max()
    for name in SUBTYPES:
        if name not in wide:
            wide[name] = False
    if "any" not in wide:
        wide["any"] = False
    wide["any"] = wide["any"] | wide[list(SUBTYPES)].any(axis=1)
    return wide[["any", *SUBTYPES]]


def _pivot(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    parts = table["ID"].str.rpartition("_")
    long = pd.DataFrame({"id": parts[0], "name": parts[2], "value": _truth(table["Label"], path)})
    long = long[long["name"].isin(("any", *SUBTYPES))]
    if long.empty:
        raise InputError(f"{path}: no row ends with a subtype (ID_xxx_{SUBTYPES[0]}); give RSNA's stage_2_train.csv")
    return long.pivot_table(index="id", columns="name", values="value", aggfunc="max", fill_value=False).astype(bool)


def _wide(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    column = next((name for name in ID_COLUMNS if name in table.columns), None)
    known = [name for name in ("any", *SUBTYPES) if name in table.columns]
    if column is None or not known:
        raise InputError(
            f"{path}: needs a column slice_id or case and columns {', '.join(('any', *SUBTYPES))}, or RSNA's ID,Label"
        )
    values = {name: _truth(table[name], path).to_numpy() for name in known}
    return pd.DataFrame(values, index=pd.Index(table[column], name="id"))


def _truth(column: pd.Series, path: Path) -> pd.Series:
    numbers = pd.to_numeric(
        column.replace({"": "0", "True": "1", "False": "0", "true": "1", "false": "0"}), errors="coerce"
    )
    if numbers.isna().any():
        raise InputError(f"{path}: {column[numbers.isna()].iloc[0]!r} is no label; labels are 0 or 1")
    return numbers > 0


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
    """One row a case (`by='case'`) or a slice (`'slice'`): patient, called, has_lesion, fp_ml and the labels."""
    frames = []
    cases = case_labels(scores, labels) if by == "case" else labels
    for score in scores:
        unit = _case_unit(score) if by == "case" else _slice_units(score)
        frames.append(unit.assign(patient=score.patient))
    units = pd.concat(frames) if frames else pd.DataFrame(columns=["pred_ml", "fp_ml", "has_lesion", "patient"])
    units["called"] = units["pred_ml"] > settings.detection_ml
    return units.join(cases, how="inner")


def _case_unit(score: Score) -> pd.DataFrame:
    metrics = score.metrics
    made_up = metrics["pred_ml"] if metrics["tp"] + metrics["fn"] == 0 else np.nan
    has_lesion = metrics["tp"] + metrics["fn"] > 0
    return pd.DataFrame(
        {"pred_ml": [metrics["pred_ml"]], "fp_ml": [made_up], "has_lesion": [has_lesion]}, index=[score.case]
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

    One with several subtypes counts in each of their rows. `intraparenchymal` has a row too: labelled so, but nothing
    outlined.
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
    made_up, called = chosen["fp_ml"].to_numpy(float), chosen["called"].to_numpy(bool)
    specificity = proportion_interval(~called, np.ones(len(called)), patients, level=settings.level)
    made_up_mean = ratio_interval(mean_of(made_up), patients, level=settings.level, bounds=AMOUNT)
    return {
        "specificity": specificity.as_dict(),
        "fp_ml_mean": made_up_mean.as_dict(),
        "fp_ml_max": float(made_up.max()) if len(made_up) else float("nan"),
    }
