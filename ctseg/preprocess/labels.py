"""Which label selects slices, which label values are lesion, and which split each patient is in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_csv
from ctseg.io.identity import folded, patient_of
from ctseg.preprocess.settings import PreprocessSettings


def check_label(labels: pd.DataFrame | None, select: str | None, path: Path | None) -> None:
    """The label to select by must exist.

    Raises:
        InputError: naming the known labels, or asking for the table.
    """
    if select is None:
        return
    if labels is None:
        raise InputError(f"--select {select}: needs the slice labels; add --labels stage_2_train.csv")
    if select not in labels.columns:
        raise InputError(f"--select {select}: no such label in {path}; it has {', '.join(labels.columns)}")


def read_splits(path: Path, patients: Mapping[str, str] | None = None) -> dict[str, str]:
    """Patient -> split from a csv with the columns `patient_id,split`.

    Args:
        path: the table.
        patients: case -> patient of the cohort, so that the table may name a patient's scans as well.

    Raises:
        InputError: if it is missing, lacks a column, or puts a patient in two splits.
    """
    table = _read_table(path)
    spelling = {folded(name): name for name in (patients or {}).values()}
    split_of: dict[str, str] = {}
    for name, split in zip(table["patient_id"], table["split"], strict=True):
        patient = (patients or {}).get(name) or patient_of(name) or name
        patient = spelling.get(folded(patient), patient)
        if split_of.setdefault(patient, split) != split:
            raise InputError(f"{path}: patient {patient} is in two splits; split by patient")
    return split_of


def lesion_labels(found: Mapping[int, int], settings: PreprocessSettings) -> tuple[int, ...]:
    """Which of the label values that were found count as lesion.

    Args:
        found: label value -> scans that hold it.
        settings: `lesion_labels` names the values; without it all count.

    Raises:
        InputError: if values are asked for and no scan has any of them.
    """
    if settings.lesion_labels is None:
        return tuple(found)
    used = tuple(value for value in found if value in settings.lesion_labels)
    if not used:
        asked = ",".join(map(str, settings.lesion_labels))
        there = ", ".join(map(str, found)) or "no label value"
        raise InputError(f"--lesion-labels {asked}: no scan has such a label; the labels hold {there}")
    return used


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError, OverflowError) as error:
        reason = system_failure(error) or f"not a readable table ({first_line(error, None)})"
        raise InputError(f"{path}: {reason}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first field for a name of the row
        raise InputError(f"{path}: rows have more fields than the header has names; correct it")
    if not {"patient_id", "split"} <= set(table.columns):
        raise InputError(f"{path}: expected the columns patient_id,split")
    return table
