"""Which label selects slices, and which split each patient is in."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ctseg.errors import InputError


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


def read_splits(path: Path) -> dict[str, str]:
    """Patient -> split from a csv with the columns `patient_id,split`.

    Raises:
        InputError: if it is missing, lacks a column, or puts a patient in two splits.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path}: not a readable table ({str(error).splitlines()[0]})") from None
    if not {"patient_id", "split"} <= set(table.columns):
        raise InputError(f"{path}: expected the columns patient_id,split")
    table = table[["patient_id", "split"]].drop_duplicates()
    twice = table["patient_id"][table["patient_id"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: patient {twice.iloc[0]} is in two splits; split by patient")
    return dict(zip(table["patient_id"], table["split"], strict=True))
