"""What `volumes.json` says of itself and of the files beside it, so that an edited one is not taken for a result.

Its key `written` holds a digest of the settings and models, a digest of each row, how each file of a case looked when
it was written (`ctseg.outputs.changed`), and digests of `volumes.csv`: as it is, and as it was before, since a kill can
come between the two files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.outputs.changed import CSV, bytes_digest, changed, keep
from ctseg.outputs.leftovers import Say
from ctseg.wording import first_of

KEY = "written"
HEAD = ("settings", "models")
"""What of the head decides the masks."""


def digest(value: Any) -> str:
    """Of plain values, whatever the order of their keys; without `seconds`, in which calls that do the same differ."""
    value = {key: item for key, item in value.items() if key != "seconds"} if isinstance(value, dict) else value
    return bytes_digest(json.dumps(value, sort_keys=True, default=str).encode(), "")


def table_digest(data: bytes) -> str:
    """Of `volumes.csv`, without its column `seconds`."""
    return bytes_digest(data, CSV)


def described(
    head: Mapping[str, Any], rows: Iterable[tuple[Mapping[str, Any], Mapping[str, str]]], tables: Sequence[str]
) -> dict[str, Any]:
    """The value of `written`.

    Args:
        head: of `volumes.json`.
        rows: each with how the files of its case look.
        tables: digests of `volumes.csv` before and now; empty where there was none.
    """
    cases = {row["case"]: {"row": digest(row), "files": dict(seen)} for row, seen in rows}
    return {"head": _head_digest(head), "tables": list(dict.fromkeys(filter(None, tables))), "cases": cases}


def _head_digest(data: Mapping[str, Any]) -> str:
    return digest([data.get(key) for key in HEAD])


def looks_of(data: Mapping[str, Any], case: str) -> dict[str, str]:
    """How the files of a case looked; nothing where an earlier version wrote the table."""
    return {str(name): str(seen) for name, seen in _table(_entry(data, case), "files").items()}


def _entry(data: Mapping[str, Any], case: str) -> dict[str, Any]:
    return _table(_table(_table(data, KEY), "cases"), case)


def _table(value: Any, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def check_head(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse to go on with a table whose settings or models somebody has changed: nobody knows what made the masks.

    Raises:
        InputError: naming the file.
    """
    if KEY in data and _table(data, KEY).get("head") != _head_digest(data):
        raise InputError(
            f"{path}: its settings or models were changed since ctseg wrote it; put them back, or use --overwrite"
        )


def keep_edited(folder: Path, table: str, details: str, data: Mapping[str, Any], say: Say) -> None:
    """Keep what somebody has edited of a segmentation that goes on, as `NAME.changed`.

    Args:
        folder: of the segmentation.
        table: name of its CSV file.
        details: name of its JSON file.
        data: what that holds; empty where there is none.
        say: takes a line about each.
    """
    if KEY not in data:
        return  # of an earlier version
    edited = edited_rows(data)
    if edited:
        keep(folder / details, say, copy=True)
        rows = first_of(sorted(edited))
        say(f"{folder / details}: the row of {rows} is not taken; a scan of this call is segmented again")
    tables = _table(data, KEY).get("tables")
    if (folder / table).is_file() and table_digest((folder / table).read_bytes()) not in (tables or []):
        keep(folder / table, say, copy=True)
    for row in data["cases"]:
        for name in changed(folder, looks_of(data, row["case"])):
            keep(folder / name, say, copy=True)


def edited_rows(data: Mapping[str, Any]) -> set[str]:
    """The cases whose rows somebody has changed, added or given twice; none in a table of an earlier version."""
    if KEY not in data:
        return set()
    rows = Counter(row["case"] for row in data["cases"])
    return {
        row["case"]
        for row in data["cases"]
        if rows[row["case"]] > 1 or _entry(data, row["case"]).get("row") != digest(row)
    }
