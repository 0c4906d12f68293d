"""The rows of `compare_readers` and the page that shows them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peers import Verdict

SAID = {
    "values": (
        "corrected", "compressed with loss", "BitsStored", "sign spread", "no numbers", "differing slices",
        "identical copies",
    ),
    "positions": (
        "tilted", "uneven", "missing", "single slice", "qform is used", "sform is used", "no orientation", "gantry",
        "unit of length",
    ),
    "shape": ("differing slices", "identical copies", "split by", "uneven", "missing", "tilted"),
}  # fmt: skip
"""What differs -> parts of the notes that name it."""


@dataclass
class Row:
    """One scan, or one file that is no scan, of one collection."""

    collection: str
    name: str
    files: int
    result: str
    """'read', 'pixels only' (no scan; its pixels are compared), or why it is left out."""
    notes: tuple[str, ...] = ()
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def compared(self) -> str:
        """What every peer made of it."""
        found = ", ".join(f"{peer} {verdict}" for peer, verdict in self.verdicts.items())
        return f" [{found}]" if found else ""

    def unsaid(self) -> list[str]:
        """Differences that no note of ctseg names; where another program reads what ctseg reads, the peers disagree."""
        found = []
        agrees = any(verdict.kind == "same" for peer, verdict in self.verdicts.items() if peer not in OWN)
        for peer, verdict in self.verdicts.items():
            named = any(part in note for part in SAID.get(verdict.what, ()) for note in self.notes)
            if verdict.kind == "differs" and not named and not (agrees and peer not in OWN):
                found.append(f"{peer}: {verdict.what}: {verdict.detail}")
        return found


OWN = frozenset({"ctseg, zip", "nibabel"})
"""ctseg itself in another way, and the library that it reads NIfTI with: they are no second opinion."""
PEERS = ("SimpleITK", "dcm2niix", "dicom2nifti", "nibabel", "ctseg, zip")
HEAD = """# Known answers

After this page you know how ctseg reads the public test data of other projects, beside other readers of the same files.

<!-- not run: needs the public test data of other projects -->
```console
$ make known DATA="dcm_qa_ct dcm_qa_decubitus" EACH="pydicom/data/test_files nibabel/tests/data"
```

The folders are named by the user: `neurolabusc/dcm_qa_*` and `ImagingDataCommons/highdicom` of GitHub, and the test
files in the packages pydicom and nibabel. No file of them is in this repository. Values are HU or scanner units after
slope and intercept; positions are those of the voxels at the corners, so they hold orientation, too (limits 0.001 HU
and 0.02 mm). SimpleITK reads each DICOM slice by itself.
"""
MEANING = """
- *same*: every value and position. *cannot say*: every value is the same, but the peer's file holds one even grid
  without tilt, and the series is tilted or uneven. *noted*: it differs, and a note of ctseg's says so, or another peer
  reads what ctseg reads. *unnamed*: neither. *not read*: the peer writes or reads nothing. An empty cell: not tried.
- *pixels only*: a CT or MR file that is no slice of a scan (a localiser, a screenshot, a mosaic); its pixels are
  compared all the same.
"""


def write_page(path: Path, rows: Sequence[Row], versions: Mapping[str, str]) -> None:
    """Counts of each collection, then every comparison, then what is left out by reason."""
    unsaid = sum(len(row.unsaid()) for row in rows)
    compared = [row for row in rows if row.verdicts]
    lines = [
        HEAD,
        "Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + ".",
        MEANING,
        f"Differences that no note names: **{unsaid}**, in {len(compared)} scans and pictures that were compared.",
        "",
        *table(("collection", "scans read", "pixels only", "refused or left out"), collections(rows)),
        "",
        *table(("peer", "same", "cannot say", "noted", "unnamed", "not read"), by_peer(compared)),
        "",
        "## Every scan and picture",
        "",
        *table(("file", "read as", *PEERS), (cells(row) for row in compared)),
        "",
        "## What is not read",
        "",
        *table(("reason", "files", "first"), reasons(rows)),
        "",
        "A reason is what the command says; the reader of a folder ends with it in the log, and with exit code 1 where",
        "the file may be a scan.",
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    body = [" | ".join(str(cell).replace("|", "/") for cell in row) for row in rows]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {row} |" for row in body)]


def collections(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """Counts of each collection in order of appearance."""
    found = []
    for name in dict.fromkeys(row.collection for row in rows):
        kinds = Counter(kind(row) for row in rows if row.collection == name)
        found.append((name, kinds["read"], kinds["pixels only"], kinds["left out"]))
    return found


def kind(row: Row) -> str:
    """Read, compared by its pixels alone, or left out."""
    return row.result if row.result in ("read", "pixels only") else "left out"


def by_peer(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """How often each peer agrees."""
    found = []
    for peer in PEERS:
        kinds = Counter(shown(row, peer).split(":")[0] for row in rows if peer in row.verdicts)
        found.append((peer, *(kinds[name] for name in ("same", "cannot say", "noted", "unnamed", "not read"))))
    return found


def cells(row: Row) -> tuple[str, ...]:
    """One row of the large table."""
    notes = f": {'; '.join(row.notes)}" if row.notes and any(v.kind == "differs" for v in row.verdicts.values()) else ""
    return (f"{row.collection}/{row.name}", row.result + notes, *(shown(row, peer) for peer in PEERS))


def shown(row: Row, peer: str) -> str:
    """A verdict as the page says it."""
    verdict = row.verdicts.get(peer)
    if verdict is None or verdict.kind != "differs":
        return verdict.kind if verdict else ""
    is_unsaid = any(text.startswith(f"{peer}: ") for text in row.unsaid())
    return f"{'unnamed' if is_unsaid else 'noted'}: {verdict.what}, {verdict.detail}"


def reasons(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """Each reason with its number of files and the first of them; numbers and names in reasons are left out."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if kind(row) == "left out":
            groups.setdefault(re.sub(r"first of \d+ left out: .*?: ", "", row.result), []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return [(reason, len(group), f"{group[0].collection}/{group[0].name}") for reason, group in ordered]
