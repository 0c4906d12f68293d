"""What a case was made of: a digest of its input's bytes, whatever their names and places."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from ctseg.errors import CaseError, first_line, without_quotes
from ctseg.failures import system_failure
from ctseg.io.case import Case
from ctseg.io.source import Source

DIGITS = 12
"""Hex digits that are kept, as for models."""
CHUNK_BYTES = 1 << 20


def input_digest(case: Case) -> str:
    """The first 12 hex digits of a SHA-256.

    Of a case in one file it is the file's own, as `sha256sum` prints it. Of a DICOM series it is that of its slices'
    digests, sorted, so that neither names nor order count; of some frames of an object, that of its file's digest and
    their numbers.

    Raises:
        CaseError: if a file cannot be read.
    """
    digests = sorted(_digest(source) for source in sources_of(case))
    whole = digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()
    if case.frames:
        whole = sha256(" ".join([whole, *map(str, case.frames)]).encode()).hexdigest()
    return whole[:DIGITS]


def glance(cases: Sequence[Case], beside: Sequence[Path] = ()) -> str:
    """A digest of the cases that there are, unread: names, and size and time of each file of theirs, its labels' too.

    It tells whether two calls work on the same, so that one that comes after a slice or a mask was changed does not go
    on with what was made of the other.

    Args:
        cases: the scans.
        beside: further files that decide what comes out, as masks.
    """
    lines = [f"{path.name} {_seen(path)}" for path in beside]
    for case in cases:
        files = [case.zip_file] if case.zip_file is not None else list(case.files)
        seen = [_seen(path) for path in (*files, *([case.label_file] if case.label_file else []))]
        part = (case.channel, case.orientation, case.frames)
        lines.append(f"{case.case_id} {len(case.members)} {part} {seen}")
    return sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]


def _seen(path: Path) -> tuple[int, int]:
    """Size and time of a file; of one that is gone none, which is for its reader to say."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def sources_of(case: Case) -> list[Source]:
    """The files of a case, or the members of its archive."""
    if case.zip_file is not None:
        return [Source(str(case.zip_file), member) for member in case.members]
    return [Source(str(file)) for file in case.files]


def _digest(source: Source) -> str:
    digest = sha256()
    try:
        with source.stored() as (stream, _):
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except Exception as error:  # zlib and zipfile raise their own kinds
        raise CaseError(f"{source}: {system_failure(error) or without_quotes(first_line(error))}") from None
    return digest.hexdigest()
