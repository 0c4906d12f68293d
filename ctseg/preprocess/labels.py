"""Slice-level labels: RSNA's `ID,Label` table (one row per slice and finding), or one row per slice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ctseg.errors import InputError


def read_slice_labels(path: Path) -> pd.DataFrame:
    """Slice labels as 0/1 columns, indexed by slice ID (SOPInstanceUID).

    Two layouts are read: RSNA 2019's `ID,Label` with rows `ID_000012eaf_epidural,0` (4.5 million of them, some twice),
    and a table whose first column names the slice and whose other columns are findings.

    Raises:
        InputError: if the file is missing or has neither layout, or gives one slice two different labels.
    """
    try:
        table = pd.read_csv(path, engine="c")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name the csv of slice labels with --labels") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path}: not a readable table ({str(error).splitlines()[0]})") from None
    wide = _pivot(table, path) if list(table.columns) == ["ID", "Label"] else _wide(table, path)
    bad = [name for name in wide.columns if not wide[name].isin([0, 1]).all()]
    if bad:
        raise InputError(f"{path}: column {bad[0]} holds something other than 0 and 1; expected slice labels")
    return wide.astype("uint8")


def _pivot(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`ID_SLICE_finding,value` rows -> one row a slice."""
    table = table.drop_duplicates()
    twice = table["ID"][table["ID"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: {twice.iloc[0]} has two different labels; keep one of the rows")
    parts = table["ID"].astype(str).str.rsplit("_", n=1, expand=True)
    if parts.shape[1] != 2 or parts[1].isna().any():
        raise InputError(f"{path}: expected IDs like ID_000012eaf_epidural (slice and finding)")
    long = pd.DataFrame({"slice": parts[0], "finding": pd.Categorical(parts[1]), "value": table["Label"].to_numpy()})
    wide = long.pivot(index="slice", columns="finding", values="value")
    if wide.isna().any(axis=None):
        name = wide.index[wide.isna().any(axis=1)][0]
        raise InputError(f"{path}: slice {name} lacks some of the findings {', '.join(map(str, wide.columns))}")
    wide.columns = [str(name) for name in wide.columns]
    return wide


def _wide(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if len(table.columns) < 2:
        raise InputError(f"{path}: expected columns ID,Label (RSNA), or a slice ID and one column per finding")
    wide = table.astype({table.columns[0]: str}).drop_duplicates().set_index(table.columns[0])
    if not wide.index.is_unique:
        raise InputError(f"{path}: slice {wide.index[wide.index.duplicated()][0]} stands twice with different labels")
    return wide


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
