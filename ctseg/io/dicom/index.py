"""DICOMDIR, the table of contents of a DICOM disc: the files that it names and that are not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import pydicom

from ctseg.failures import system_failure
from ctseg.io.case import Rejected
from ctseg.io.dicom.header import MAGIC, MAX_ELEMENT_BYTES
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.source import MAX_MEMBER_BYTES, Bounded, Source

NAME = "dicomdir"
"""In lower case; discs write it in capitals."""
MISSING = "named by DICOMDIR and not there; copy the whole disc again"


def is_index(name: str) -> bool:
    """Whether a file of this name is a disc's table of contents."""
    return name.lower() == NAME


def missing_below(indexes: Sequence[Path]) -> list[Rejected]:
    """A line for each file that an index on disk names and that is not below the index's folder.

    What a DICOMDIR says is compared with a listing of its folder and never used as a path.
    """
    rejected: list[Rejected] = []
    for index in indexes:
        rejected += _missing(Source(str(index)), lambda index=index: _listing(index.parent))  # type: ignore[misc]
    return rejected


def missing_in_zip(archive: Path, members: Sequence[str]) -> list[Rejected]:
    """The same for each index inside a zip."""
    rejected: list[Rejected] = []
    for member in members:
        place = PurePosixPath(member)
        if is_index(place.name):
            names = {
                _folded(PurePosixPath(name).relative_to(place.parent).parts)
                for name in members
                if PurePosixPath(name).is_relative_to(place.parent)
            }
            rejected += _missing(Source(str(archive), member), lambda names=names: names)  # type: ignore[misc]
    return rejected


def _missing(index: Source, listing: Callable[[], set[str]]) -> list[Rejected]:
    start = b""
    try:
        with index.open() as stream:
            start = stream.read(132)
            if start[MAGIC[0]] != MAGIC[1]:
                return []
            stream.seek(0)
            bounded = cast(IO[bytes], Bounded(stream, MAX_MEMBER_BYTES, largest=MAX_ELEMENT_BYTES))
            dataset = pydicom.dcmread(bounded, specific_tags=["DirectoryRecordSequence"])
            if "DirectoryRecordSequence" not in dataset:
                return [Rejected(str(index), "an index without records, cut short; copy the whole disc again", True)]
            named = list(dict.fromkeys(_named(dataset)))
        there = listing()
    except Exception as error:  # pydicom raises whatever a broken element makes Python raise
        reason = system_failure(error) or f"a broken index ({unquoted(error)}); copy the whole disc again"
        return [Rejected(str(index), reason, True)]
    return [Rejected(f"{index.folder}/{'/'.join(parts)}", MISSING, True) for parts in named if not _is_in(parts, there)]


def _named(dataset: pydicom.Dataset) -> Iterator[tuple[str, ...]]:
    """The components of each file that a record in use names."""
    for record in dataset.get("DirectoryRecordSequence") or ():
        value: Any = record.get("ReferencedFileID")
        parts = [value] if isinstance(value, str) else list(value or ())
        words = tuple(part for part in (_word(part) for part in parts) if part)
        if words and record.get("RecordInUseFlag") != 0:
            yield words


def _word(part: Any) -> str:
    """A component without what could be taken for a way out of the folder, or end a line."""
    text = "".join(letter for letter in str(part).strip() if letter.isprintable())
    return "" if text in (".", "..") else text.replace("/", "_").replace("\\", "_")


def _is_in(parts: Sequence[str], there: set[str]) -> bool:
    """Whether a file is there, as `_folded` compares names."""
    return _folded(parts) in there


def _listing(folder: Path) -> set[str]:
    """Every file below a folder; links to folders are followed, each folder once."""
    names: set[str] = set()
    seen: set[tuple[int, int]] = set()
    for top, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(top)  # noqa: PTH116 - a string is what os.walk gives
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        here = Path(top).relative_to(folder).parts
        names |= {_folded((*here, file)) for file in files}
    return names


def _folded(parts: Sequence[str]) -> str:
    """A path as it is compared: without regard to case, and without what ISO 9660 or an export puts behind a name."""
    path = "/".join(parts).casefold()
    stem = path.partition(";")[0].rstrip(".")
    for suffix in (".gz", ".dcm"):
        stem = stem.removesuffix(suffix)
    return stem
