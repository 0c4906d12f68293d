"""Slice sets become pairs, and `pairs.csv` becomes candidates for training."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.arguments import a_path, callback, one_of, whole_number
from ctseg.errors import InputError, first_line
from ctseg.failures import system_failure
from ctseg.files import read_csv, write_with
from ctseg.harmless import safe_table
from ctseg.io.slices import SliceSet, check_same_size
from ctseg.matching.described import DescribedSet, describe_set
from ctseg.matching.given import check_metric, checked_set
from ctseg.matching.search import length, nearest, nearest_sources, take
from ctseg.plugins.protocols import Descriptors, SimilarityMetric
from ctseg.progress import ProgressCallback

Direction = Literal["source", "target"]
PAPER_TOP, PAPER_TARGETS = 20, 15_480
"""Stage 1 draws from the 20 nearest of 15,480 CT slices (paper 3.1.4)."""
MATCHED_SHARE = 5_184 / 15_480
"""The nearest MR slices of all CT slices are a third of the MR slices (paper 3.2.2)."""
FIRST_TOP = 8
"""Nearest sources that are searched first for the matched third: seldom too few, so that it is one search."""
WRITTEN = 1 << 16
"""Pairs that are written in one go."""
COLUMNS = ("source_id", "target_id", "rank", "distance")


def match(
    source: SliceSet,
    target: SliceSet,
    metric: SimilarityMetric,
    top: int | None = None,
    direction: Direction = "source",
    split: str | None = None,
    progress: ProgressCallback | None = None,
) -> pd.DataFrame:
    """Pair the slices of two domains: `describe_set` of each, then `pair_up`.

    Args:
        source: labelled slices (MR).
        target: CT slices; where it has masks, they are not looked at, so that labels never choose the pairs.
        metric: how far two slices are apart.
        top: how many for each, at most as many as there are. None keeps the paper's proportions: `proportional_top` for
            direction 'source', and for 'target' the fewest that make the matched set a third of the source slices.
        direction: 'source': for each source slice its `top` target slices, the one-to-many pairs of stage 1. 'target':
            for each target slice its `top` source slices, whose distinct sources are the matched set of stage 2.
        split: pair only slices of this split, or all.
        progress: called with (done, total, ""), in slices that are asked for.

    Returns:
        `source_id, target_id, rank, distance` and the metric's parts; in the order of the slices that were asked for,
        then by rank from 1. Ties are broken by the order of the slice set searched, so the table is unique.

    Raises:
        InputError: if the sets differ in image size, or have no slice in `split`, or an argument is of another kind.
    """
    checked_set(source, "match: source", masked=True)
    checked_set(target, "match: target")
    check_metric(metric, "match: metric")
    one_of(direction, get_args(Direction), "match: direction")
    top = None if top is None else whole_number(top, "match: top", 1)
    callback(progress, "match: progress")
    check_same_size(source, target)
    described = describe_set(source, metric, split, masked=True), describe_set(target, metric, split, masked=False)
    return pair_up(*described, metric, top, direction, progress)


def pair_up(
    source: DescribedSet,
    target: DescribedSet,
    metric: SimilarityMetric,
    top: int | None = None,
    direction: Direction = "source",
    progress: ProgressCallback | None = None,
) -> pd.DataFrame:
    """Pair described slices; see `match`."""
    if direction == "source":
        wanted = proportional_top(len(target)) if top is None else top
        found, distances = nearest(metric, source.descriptors, target.descriptors, wanted, progress)
    elif top is None:
        found, distances = _matched_third(metric, source.descriptors, target.descriptors, progress)
    else:
        found, distances = nearest_sources(metric, source.descriptors, target.descriptors, top, progress)
    asked = np.repeat(np.arange(len(found)), found.shape[1])
    pair = (asked, found.ravel()) if direction == "source" else (found.ravel(), asked)
    table = {
        "source_id": source.names[pair[0]],
        "target_id": target.names[pair[1]],
        "rank": np.tile(np.arange(1, found.shape[1] + 1), len(found)),
        "distance": distances.ravel(),
    }
    return pd.DataFrame({**table, **_parts(metric, source.descriptors, target.descriptors, *pair)})


def proportional_top(targets: int) -> int:
    """How many of `targets` slices are as large a share of them as the paper's 20 of 15,480, one at least."""
    return max(1, round(PAPER_TOP * targets / PAPER_TARGETS))


def _matched_third(
    metric: SimilarityMetric, source: Descriptors, target: Descriptors, progress: ProgressCallback | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest sources of each target slice, as few as make the distinct ones a third of the source."""
    sources = length(source)
    wanted, top = MATCHED_SHARE * sources, FIRST_TOP
    while True:
        found, distances = nearest_sources(metric, source, target, top, progress)
        distinct = [len(np.unique(found[:, : count + 1])) for count in range(found.shape[1])]
        enough = next((count + 1 for count, number in enumerate(distinct) if number >= wanted), None)
        if enough is not None or top >= sources:
            return found[:, :enough], distances[:, :enough]
        top *= 2


def _parts(
    metric: SimilarityMetric,
    source: Descriptors,
    target: Descriptors,
    source_rows: NDArray[np.int64],
    target_rows: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """The parts of the distance of each pair: {name: (pairs,)}; each source slice against its own targets only."""
    compute = getattr(metric, "parts", None)
    if not callable(compute) or not len(source_rows):
        return {}
    order = np.argsort(source_rows, kind="stable")
    sources, starts = np.unique(source_rows[order], return_index=True)
    columns: dict[str, NDArray[Any]] = {}
    for row, places in zip(sources, np.split(order, starts[1:]), strict=True):
        for name, values in compute(take(source, slice(row, row + 1)), take(target, target_rows[places])).items():
            columns.setdefault(name, np.empty(len(order), dtype=values.dtype))[places] = values[0]
    return columns


def matched_ids(pairs: pd.DataFrame) -> list[str]:
    """The distinct source slices of pairs, in the order they first appear: with direction 'target' the matched set."""
    return [str(name) for name in pd.unique(pairs["source_id"])]


def is_pairs_header(line: bytes) -> bool:
    """Whether the first line of a file is that of `write_pairs`; a metric's own columns may follow."""
    return tuple(line.decode("utf-8", "replace").split(",")[: len(COLUMNS)]) == COLUMNS


def write_pairs(pairs: pd.DataFrame, out: Path | str | IO[str]) -> None:
    """Write pairs as CSV, a file atomically or an open stream such as stdout."""
    if not isinstance(out, Path | str):
        _to_csv(pairs, out)
        return

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            _to_csv(pairs, file)

    write_with(Path(out), write)


def _to_csv(pairs: pd.DataFrame, out: IO[str]) -> None:
    """What pandas writes with `float_format="%.17g"`, in a fifth of its time: few of the numbers differ."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(safe_table(pairs.iloc[:0]).columns)
    for start in range(0, len(pairs), WRITTEN):
        part = safe_table(pairs.iloc[start : start + WRITTEN])
        writer.writerows(zip(*(_texts(part[name]) for name in part), strict=True))


def _texts(column: pd.Series) -> list[Any]:
    """Values as they are written to a file: 17 digits bring every float64 back, and whole numbers stay short."""
    values = column.to_numpy()
    if values.dtype.kind != "f":
        found: list[Any] = values.tolist()
        return found
    patterns, places = np.unique(values.view(f"i{values.itemsize}"), return_inverse=True)  # -0 is another text than 0
    texts = ["" if np.isnan(value) else f"{value:.17g}" for value in patterns.view(values.dtype).tolist()]
    return list(np.array(texts, dtype=object)[places])


@dataclass(frozen=True)
class PairTable:
    """Which target slices each source slice may be trained with; indices are rows of the two slice sets."""

    sources: NDArray[np.int64]
    """(S,) source slices that have a candidate, ascending."""
    starts: NDArray[np.int64]
    """(S + 1,) where the candidates of each begin in `targets`."""
    targets: NDArray[np.int64]
    """(pairs,) target slices, nearest first for each source slice."""

    def __len__(self) -> int:
        return len(self.targets)

    def candidates(self, source_index: int) -> NDArray[np.int64]:
        """The target slices of one source slice, nearest first; empty where it has none."""
        place = int(np.searchsorted(self.sources, source_index))
        if place == len(self.sources) or self.sources[place] != source_index:
            return self.targets[:0]
        return self.targets[self.starts[place] : self.starts[place + 1]]


def read_pairs(
    path: Path | str,
    source: SliceSet,
    target: SliceSet,
    top: int | None = None,
    direction: Direction | None = None,
) -> PairTable:
    """Read `pairs.csv`, by ctseg or by hand, for two slice sets.

    Args:
        path: a CSV file with `source_id` and `target_id`; `rank` orders the candidates of a source slice, else the
            file's order does; more columns do no harm. '-' reads stdin.
        source: the slice set of `source_id`.
        target: the slice set of `target_id`.
        top: use only pairs of rank 1 to `top`.
        direction: what the pairs are needed for, 'source' for stage 1 and 'target' for stage 2; None takes either.

    Raises:
        InputError: if the file is missing, empty or no table, lacks a column, names slices that a set does not have, or
            was made for the other direction; if an argument is of another kind.
    """
    checked_set(source, "read_pairs: source")
    checked_set(target, "read_pairs: target")
    one_of(direction, (*get_args(Direction), None), "read_pairs: direction")
    top = None if top is None else whole_number(top, "read_pairs: top", 1)
    table = _read_table(a_path(path, "read_pairs: path"))
    where = "stdin" if str(path) == "-" else str(path)
    if direction is not None:
        _check_direction(table, direction, where)
    if top is not None:
        table = table[table["rank"] <= top]
    if not len(table):
        raise InputError(f"{where}: holds no pair; make it with `ctseg match`")
    table = table.assign(
        source_row=_rows(table["source_id"], source, f"{where}, source_id"),
        target_row=_rows(table["target_id"], target, f"{where}, target_id"),
    )
    table = table.sort_values(["source_row", "rank"], kind="stable").drop_duplicates(["source_row", "target_row"])
    sources, starts = np.unique(table["source_row"].to_numpy(), return_index=True)
    return PairTable(sources, np.append(starts, len(table)).astype(np.int64), table["target_row"].to_numpy())


def _check_direction(table: pd.DataFrame, direction: Direction, where: str) -> None:
    """Ranks count from 1 within each slice that is searched for, so each of its ranks occurs once."""
    asked, other = ("source", "target") if direction == "source" else ("target", "source")
    repeated = {side: bool(table.duplicated([f"{side}_id", "rank"]).any()) for side in (asked, other)}
    if repeated[asked] and not repeated[other]:
        raise InputError(
            f"{where}: holds the nearest {asked} slices of each {other} slice, and this training needs the nearest "
            f"{other} slices of each {asked} slice; make it with `ctseg match --direction {direction}`"
        )


def _read_table(path: Path | str) -> pd.DataFrame:
    where = "stdin" if str(path) == "-" else str(path)
    try:
        options: Any = {"dtype": {"source_id": str, "target_id": str}, "keep_default_na": False}
        table = pd.read_csv(sys.stdin, **options) if str(path) == "-" else read_csv(Path(path), **options)
    except FileNotFoundError:
        raise InputError(f"{where}: no such file; make it with `ctseg match`") from None
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        OSError,
        ValueError,
        OverflowError,
    ) as error:
        broken = f"not a readable table ({first_line(error, None)}); make it with `ctseg match`"
        raise InputError(f"{where}: {system_failure(error) or broken}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first field for a name of the row
        raise InputError(f"{where}: rows have more fields than the header has names; correct it")
    missing = [name for name in ("source_id", "target_id") if name not in table.columns]
    if missing:
        raise InputError(f"{where}: no column {', '.join(missing)}; make it with `ctseg match`")
    return table.assign(rank=_ranks(table, where))


def _ranks(table: pd.DataFrame, where: str) -> pd.Series:
    if "rank" not in table.columns:
        return table.groupby("source_id").cumcount() + 1
    ranks = pd.to_numeric(table["rank"], errors="coerce")
    if ranks.isna().any():
        line = int(np.flatnonzero(ranks.isna())[0]) + 2
        raise InputError(f"{where}: line {line}: rank is not a number; make the file again with `ctseg match`")
    return ranks


def _rows(ids: pd.Series, slices: SliceSet, what: str) -> NDArray[np.int64]:
    """Rows of a slice set by name; the error counts slices, not lines."""
    codes, names = pd.factorize(ids)
    return slices.ids_to_rows([str(name) for name in names], what)[codes]
