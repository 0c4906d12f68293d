"""Labels of slices or cases: RSNA's `ID,Label` table (one row a slice and finding), or one row a slice or case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_csv

ID_COLUMNS = ("slice_id", "case", "case_id", "SOPInstanceUID", "ID", "id")
"""Columns that name the slice or case of a table with one row each; where there is none, the first column does."""

VALUES = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


@dataclass(frozen=True)
class Labels:
    """A table of labels as it was read."""

    table: pd.DataFrame
    """Index: slice or case id (text). One uint8 column of 0 and 1 for each finding."""
    notes: tuple[str, ...] = ()
    """What to tell a person: repeated rows, rows without a label, findings that were not asked for."""


def read_labels(path: Path, findings: Sequence[str] = ()) -> Labels:
    """Read labels of slices or cases.

    Two layouts are read. RSNA 2019's `stage_2_train.csv` has the columns `ID,Label` and rows such as
    `ID_000012eaf_epidural,0`, some of them twice. Any other table has one row a slice or case: one column of
    `ID_COLUMNS`, or else the first column, holds its id.

    Labels are 0 or 1, also written as `0.0`, `1.0`, `true` or `false`. A row in which every label is empty is left out.

    Args:
        path: of the CSV file.
        findings: columns (or endings of RSNA's IDs) to read, other ones are ignored; empty for all of them.

    Raises:
        InputError: if the file is missing or has neither layout, a value is no label, a row is labelled in part, or one
            slice has two different labels.
    """
    table = _read(Path(path))
    if {"ID", "Label"} <= set(table.columns):
        return _long(table, path, findings)
    return _wide(table, path, findings)


def _read(path: Path) -> pd.DataFrame:
    """The table, with ids as text: an id such as `1.20` is no number."""
    try:
        header = read_csv(path, nrows=0).columns
        ids = [name for name in (*ID_COLUMNS, *header[:1]) if name in header]
        table = read_csv(path, dtype=dict.fromkeys(ids, str), keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name the csv of slice labels with --labels") from None
    except (OSError, ValueError, OverflowError) as error:
        reason = system_failure(error) or f"not a readable table ({first_line(error, None)})"
        raise InputError(f"{path}: {reason}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first field for a name of the row
        raise InputError(f"{path}: rows have more fields than the header has names; correct it")
    return table


def _long(table: pd.DataFrame, path: Path, findings: Sequence[str]) -> Labels:
    """`ID_SLICE_finding,value` rows -> one row a slice."""
    parts = table["ID"].str.rpartition("_")
    if parts.shape[1] < 2 or (parts[1] == "").any():
        raise InputError(f"{path}: expected IDs like ID_000012eaf_epidural (slice and finding)")
    wanted = parts[2].isin(list(findings)) if findings else pd.Series(data=True, index=table.index)
    if not wanted.any():
        raise InputError(
            f"{path}: no row ends with one of {', '.join(findings)} (as ID_xxx_{findings[0]}); give RSNA's "
            "stage_2_train.csv"
        )
    rows = pd.DataFrame({"ID": table["ID"], "slice": parts[0], "finding": parts[2], "value": table["Label"]})[wanted]
    rows["value"] = _zero_one(rows["value"], path)
    once = rows.drop_duplicates()
    twice = once["ID"][once["ID"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: {twice.iloc[0]} has two different labels; keep one of the rows")
    wide = once.assign(finding=pd.Categorical(once["finding"])).pivot(index="slice", columns="finding", values="value")
    if wide.isna().any(axis=None):
        name = wide.index[wide.isna().any(axis=1)][0]
        raise InputError(f"{path}: slice {name} lacks some of the findings {', '.join(map(str, wide.columns))}")
    wide.columns = [str(name) for name in wide.columns]
    ignored = sorted(set(parts[2][~wanted]))
    notes = (*_repeated(len(rows) - len(once), path), *_ignored(ignored, path))
    return Labels(wide.astype("uint8"), notes)


def _wide(table: pd.DataFrame, path: Path, findings: Sequence[str]) -> Labels:
    """One row a slice or case."""
    column, known = _columns(table, path, findings)
    rows = table.set_index(column)[known]
    unlabelled = (rows.astype(str).apply(lambda text: text.str.strip()) == "").all(axis=1)
    rows = rows[~unlabelled].apply(_zero_one, path=path).rename_axis("id").reset_index()
    once = rows.drop_duplicates()
    twice = once["id"][once["id"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: slice {twice.iloc[0]} appears twice with different labels; keep one of the rows")
    notes = _repeated(len(rows) - len(once), path)
    if unlabelled.any():
        notes = (*notes, f"{Path(path).name}: {int(unlabelled.sum())} rows without a label are left out")
    return Labels(once.set_index("id").astype("uint8"), notes)


def _columns(table: pd.DataFrame, path: Path, findings: Sequence[str]) -> tuple[str, list[str]]:
    """The column that names the slice or case, and those of the findings."""
    column = next((name for name in (*ID_COLUMNS, *table.columns[:1]) if name in table.columns), None)
    known = [name for name in table.columns if name != column and (not findings or name in findings)]
    if column is None or not known:
        raise InputError(
            f"{path}: needs a column slice_id or case and columns {', '.join(findings) or 'of findings'}; "
            "expected columns ID,Label (RSNA), or one row a slice"
        )
    return column, known


def _zero_one(column: pd.Series[Any], path: Path) -> pd.Series[Any]:
    """Labels as 0 and 1."""
    if pd.api.types.is_numeric_dtype(column):
        bad = ~column.isin([0, 1])
        values = column
    else:
        values = column.astype(str).str.strip().str.lower().map(VALUES)
        bad = values.isna()
    if bad.any():
        raise InputError(
            f"{path}: {str(column[bad].iloc[0])!r} is no label; column {column.name} holds something other than 0 and 1"
        )
    return values.astype("uint8")


def _repeated(count: int, path: Path) -> tuple[str, ...]:
    return (f"{Path(path).name}: {count} rows appear twice with the same labels",) if count else ()


def _ignored(findings: Sequence[str], path: Path) -> tuple[str, ...]:
    return (f"{Path(path).name}: the findings {', '.join(findings)} are ignored",) if findings else ()
