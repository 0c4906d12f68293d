"""Outcomes as a small table that can be carried to another machine and imported into what is made there."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_csv, write_csv, write_with
from ctseg_reproduce.results import METRICS, Outcome

PARTS = tuple(f"{metric}_{kind}" for metric in METRICS for kind in ("part", "whole"))
IMPORTED = "imported"
"""Where a folder keeps what was imported into it."""
COLUMNS = ("row", "seed", "cohort", "key", "machine", "seconds", "selection", "slices", "patient", *PARTS)


@dataclass(frozen=True)
class OutcomeRecord:
    """One row and seed, with what tells whether it belongs to a table."""

    row: str
    key: str
    """Of the stage that made it: every setting of it and of all it rests on."""
    seconds: float
    machine: str
    outcome: Outcome


def write_outcomes(path: Path, outcomes: Sequence[OutcomeRecord]) -> Path:
    """One line a row, seed and test volume."""
    tables = [
        item.outcome.cases.assign(
            row=item.row,
            seed=item.outcome.seed,
            cohort="" if item.outcome.cohort is None else item.outcome.cohort,
            key=item.key,
            machine=item.machine,
            seconds=item.seconds,
            selection=item.outcome.selection,
            slices=item.outcome.slices,
        )
        for item in outcomes
    ]
    whole = pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else pd.DataFrame(columns=list(COLUMNS))
    return write_csv(path, whole, "%.10g")


def read_outcomes(path: Path) -> list[OutcomeRecord]:
    """What `write_outcomes` wrote.

    Raises:
        InputError: if it is no such table.
    """
    try:
        texts = dict.fromkeys(("row", "key", "machine", "selection", "patient"), str)
        table = read_csv(path, dtype=texts)
        lacking = sorted(set(COLUMNS) - set(table.columns))
        if lacking:
            raise InputError(f"{path}: lacks the column {lacking[0]!r}; name a TABLE-outcomes.csv of this version")
        if not np.isfinite(table[list(PARTS)].to_numpy(float)).all():
            raise InputError(f"{path}: holds numbers that are not finite; make it again")
        if table[["row", "seed", "key", "patient"]].isna().to_numpy().any():
            raise InputError(f"{path}: a line has no row, seed, key or patient; make it again")
        numbers = table[["seed", "slices", "cohort"]].to_numpy(float)
        numbers[np.isnan(numbers[:, 2]), 2] = 0  # a row of own data has no cohort
        if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
            raise InputError(f"{path}: a seed, a cohort or a number of slices is not whole; make it again")
        table["seconds"] = table["seconds"].astype(float)
        _refuse_mixtures(path, table)
        return [_record(part) for _, part in table.groupby(["row", "seed", "key"], sort=False)]
    except (OSError, ValueError, OverflowError, pd.errors.ParserError) as error:
        broken = f"cannot be read as a table of outcomes ({first_line(error)}); check the path"
        raise InputError(f"{path}: {system_failure(error) or broken}") from None


def _refuse_mixtures(path: Path, table: pd.DataFrame) -> None:
    """Two tables that were put together by hand: their volumes would count twice.

    Raises:
        InputError: naming the row.
    """
    for (row, seed, _), part in table.groupby(["row", "seed", "key"], sort=False):
        is_mixed = (part[["cohort", "machine", "seconds", "selection", "slices"]].nunique(dropna=False) > 1).any()
        is_doubled = bool(part[list(PARTS)].to_numpy().any()) and bool(part.duplicated(keep=False).all())
        if is_mixed or is_doubled:
            raise InputError(
                f"{path}: row {row}, seed {seed} is there twice; give the tables that it was put together from"
            )


def import_outcomes(root: Path, paths: Sequence[Path]) -> None:
    """Copy tables of outcomes into a folder of tables, so that later calls count them without being progress again.

    Raises:
        InputError: if one is no such table, or contradicts another or what was imported before; then none is copied.
    """
    _read_all([*_copies(root), *paths])
    for path in paths:
        name = f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.csv"
        write_with(root / IMPORTED / name, partial(shutil.copyfile, path))


def imported_outcomes(root: Path) -> list[OutcomeRecord]:
    """All outcomes that were ever imported into a folder, in an order that does not depend on when.

    Raises:
        InputError: if a copy cannot be read any more, or two contradict each other.
    """
    return _read_all(_copies(root))


def _copies(root: Path) -> list[Path]:
    return sorted((root / IMPORTED).glob("[!.]*.csv"))


def _read_all(paths: Sequence[Path]) -> list[OutcomeRecord]:
    """The outcomes of some tables; one that two of them have alike is in the list twice.

    Raises:
        InputError: if one is no such table, or two have other numbers for one row, seed and settings.
    """
    records: list[OutcomeRecord] = []
    first: dict[tuple[str, int, str], tuple[Path, OutcomeRecord]] = {}
    for path in paths:
        for item in read_outcomes(path):
            where, other = first.setdefault((item.row, item.outcome.seed, item.key), (path, item))
            if not same_numbers(item, other):
                raise InputError(
                    f"{path}: other numbers for row {item.row}, seed {item.outcome.seed} than {where} (machines "
                    f"{item.machine}; {other.machine}); one of the two can count: leave one out, or remove it"
                )
            records.append(item)
    return records


def same_numbers(one: OutcomeRecord, other: OutcomeRecord) -> bool:
    """Whether two records of a row and seed give the same results, wherever and however fast they were made."""
    first, second = one.outcome, other.outcome
    if (first.cohort, first.selection, first.slices) != (second.cohort, second.selection, second.slices):
        return False
    tables = [item.cases.sort_values(["patient", *PARTS]).reset_index(drop=True) for item in (first, second)]
    if list(tables[0]["patient"]) != list(tables[1]["patient"]):
        return False
    return bool(np.allclose(tables[0][list(PARTS)], tables[1][list(PARTS)], rtol=1e-8, atol=0))


def this_machine() -> str:
    """The processor and how many cores of it there are, for whoever compares times."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def _record(part: pd.DataFrame) -> OutcomeRecord:
    first = part.iloc[0]
    cases = part[["patient", *PARTS]].reset_index(drop=True)
    cohort = None if pd.isna(first.get("cohort", np.nan)) else int(first["cohort"])
    outcome = Outcome(int(first["seed"]), cases, str(first["selection"]), int(first["slices"]), cohort)
    return OutcomeRecord(str(first["row"]), str(first["key"]), float(first["seconds"]), str(first["machine"]), outcome)
