"""The numbers of `segment --other-blood` as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ctseg.evaluation.intervals import SHARE
from ctseg.evaluation.statistics import Estimate, proportion_interval, ratio_interval, ratio_of
from ctseg.harmless import markdown_row
from ctseg.inference.kind_slices import KINDS

if TYPE_CHECKING:
    from ctseg_reproduce.other_blood.measure import Row

BINS_ML = (0.0, 1.0, 5.0, 20.0, np.inf)
"""Volume of a kind in a patient."""
SEEN = 0.1
"""A kind of a patient is seen where this share of it was called other blood, of whatever kind."""


def lines(rows: Sequence[Row]) -> list[str]:
    """All tables, each after an empty line."""
    tables = (by_kind(rows), by_volume(rows), by_scan(scans_of(rows)), confusion(rows))
    return [line for table in tables for line in ("", *table)][1:]


def _cells(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [markdown_row(head), markdown_row(["---"] * len(head)), *(markdown_row(row) for row in rows)]


def by_kind(rows: Sequence[Row]) -> list[str]:
    """Pooled Dice, sensitivity and precision of each kind, SDH and EDH as one, and of all kinds as one."""
    groups = {kind.upper(): (kind,) for kind in KINDS.values()}
    found = [(name, *_overlap(rows, kinds)) for name, kinds in (groups | {"SDH or EDH": ("sdh", "edh")}).items()]
    truth, segmented = np.array([row.other_ml for row in rows]), np.array([row.found_other_ml for row in rows])
    found.append(("any of them", truth, segmented, np.array([row.both_ml["any"] for row in rows])))
    names = [row.name for row in rows]
    table = []
    for name, true_ml, found_ml, both_ml in found:
        shares = [ratio_of(2 * both_ml, true_ml + found_ml), ratio_of(both_ml, true_ml), ratio_of(both_ml, found_ml)]
        cells = [_cells(ratio_interval(share, names, bounds=SHARE)) for share in shares]
        ratio = f"{found_ml.sum() / true_ml.sum():.2f}" if true_ml.sum() else ""
        table.append([name, str(int((true_ml > 0).sum())), *cells, ratio])
    return _table(["kind", "patients", "pooled Dice", "sensitivity", "precision", "volume / truth"], table)


def _overlap(rows: Sequence[Row], kinds: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) mL each: true, found, both, of some kinds taken as one."""
    truth = np.array([sum(row.truth_ml[kind] for kind in kinds) for row in rows])
    found = np.array([sum(row.found_ml[kind] for kind in kinds) for row in rows])
    both = np.array([sum(row.called_ml[one][other] for one in kinds for other in kinds) for row in rows])
    return truth, found, both


def by_volume(rows: Sequence[Row]) -> list[str]:
    """How much of each kind is called other blood, by its volume in the patient."""
    table = []
    for kind in KINDS.values():
        for low, high in pairwise(BINS_ML):
            chosen = [row for row in rows if low < row.truth_ml[kind] <= high]
            if not chosen:
                continue
            seen = np.array([_any_called(row, kind) for row in chosen])
            truth = np.array([row.truth_ml[kind] for row in chosen])
            bounds = f"up to {high:g}" if not low else f"over {low:g}" if np.isinf(high) else f"{low:g} to {high:g}"
            share = f"{int((seen >= SEEN * truth).sum())} of {len(chosen)}"
            table.append([kind.upper(), bounds, share, f"{seen.sum() / truth.sum():.2f}"])
    return _table(["kind", "mL", "patients in whom it is seen", "sensitivity"], table)


def _any_called(row: Row, kind: str) -> float:
    """Of the true blood of a kind, the mL that were called other blood of any kind."""
    return sum(row.called_ml[kind][other] for other in KINDS.values())


@dataclass(frozen=True)
class Scan:
    """Whether a scan shows other blood, and how much was found."""

    name: str
    kinds: tuple[str, ...]
    """The kinds that it shows."""
    iph: bool
    found_ml: float


def scans_of(rows: Sequence[Row]) -> list[Scan]:
    """The scans whose masks were compared."""
    return [
        Scan(row.name, tuple(kind for kind in KINDS.values() if row.truth_ml[kind] > 0), row.truth_ml["iph"] > 0,
             row.found_other_ml)
        for row in rows
    ]  # fmt: skip


def by_scan(scans: Sequence[Scan]) -> list[str]:
    """Whether a scan shows any other blood at all, and what is found where it shows none."""
    there, said = np.array([bool(scan.kinds) for scan in scans]), np.array([scan.found_ml > 0 for scan in scans])
    names = [scan.name for scan in scans]
    chosen = [("sensitivity", there, said), ("specificity", ~there, ~said)]
    chosen += [
        (f"sensitivity, scans with {kind.upper()}", np.array([kind in scan.kinds for scan in scans]), said)
        for kind in KINDS.values()
    ]
    table = [
        [name, str(int(which.sum())), _cells(proportion_interval(right & which, which, names))]
        for name, which, right in chosen
        if which.any()
    ]
    return _table(["of scans", "scans", "value"], table + _false_ml(scans))


def _false_ml(scans: Sequence[Scan]) -> list[list[str]]:
    """What is found in scans without other blood."""
    table = []
    for name, with_iph in (("no blood", False), ("IPH alone", True)):
        false = [scan.found_ml for scan in scans if not scan.kinds and scan.iph == with_iph]
        if false:
            cell = f"{np.mean(false):.2f}; median {np.median(false):.2f}, largest {max(false):.2f}"
            table.append([f"false mL a scan, {name}", str(len(false)), cell])
    return table


def confusion(rows: Sequence[Row]) -> list[str]:
    """What became of the true blood of each kind, in percent of its volume."""
    columns = [*KINDS.values(), "iph", "none"]
    table = []
    for kind in KINDS.values():
        total = sum(row.truth_ml[kind] for row in rows)
        if total:
            shares = [100 * sum(row.called_ml[kind][other] for row in rows) / total for other in columns]
            table.append([kind.upper(), f"{total:.0f}", *(f"{share:.0f}" for share in shares)])
    head = ["true kind", "mL", *(kind.upper() for kind in KINDS.values()), "IPH (the other mask)", "nothing"]
    return _table(head, table)
