"""Names of files and folders kept out of what is written and said: people name them after patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ctseg.io.case import Case, Discovery, Rejected
from ctseg.io.digest import DIGITS, input_digest, sources_of
from ctseg.io.identity import keyed_digest
from ctseg.io.source import Source

CHUNK_BYTES = 1 << 20
NAME_DIGITS = 10


def without_paths(text: str, case: Case) -> str:
    """A message about a case, its files named by digests.

    A slice is named by the first 12 hex digits of its SHA-256, as `sha256sum` prints them; a file that is the whole
    case, by its own name, which is the case's, or by the case where that is a digest. Folders above are dropped.
    """
    if case.kind == "dicom":
        for source in sources_of(case):
            if str(source) in text:
                text = text.replace(str(source), f"slice {handle(source)}")
    else:
        for file in case.files:
            text = text.replace(str(file), case.case_id if case.unnamed else file.name)
    for folder in sorted({str(file.parent) for file in _paths(case)} - {".", "/"}, key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    if case.zip_file is not None:
        text = text.replace(case.zip_file.name, "its archive")
    return text


def _paths(case: Case) -> Iterator[Path]:
    yield from case.files
    yield from (path for path in (case.zip_file, case.label_file) if path is not None)


def handle(source: Source) -> str:
    """A name for a file that does not tell its own: digits of its SHA-256, or of its name's hash if it is not read."""
    digest = sha256()
    try:
        with source.stored() as (stream, _):
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except Exception:  # zipfile and the system raise their own kinds; the file is named all the same
        return f"name-{keyed_digest(str(source), DIGITS // 2)}"
    return digest.hexdigest()[:DIGITS]


def deidentified(found: Discovery) -> Discovery:
    """What was found under names that tell nothing: cases by their input's digest, other files by their own.

    DICOM cases have pseudonyms already. Of the reasons, only those that name no other file are kept whole.
    """
    counts: Counter[str] = Counter()
    cases = []
    for case in found.cases:
        name = case.case_id if case.kind == "dicom" else _digest_name(case)
        counts[name] += 1
        name = name if counts[name] == 1 else f"{name}-{counts[name]}"
        cases.append(case if case.kind == "dicom" else _renamed(case, name))
    return Discovery(tuple(cases), tuple(unnamed(item) for item in found.rejected), found.ignored)


def _renamed(case: Case, name: str) -> Case:
    return replace(case, case_id=name, patient_id=name, series_id=name, unnamed=True)


def _digest_name(case: Case) -> str:
    try:
        return f"C{input_digest(case)[:NAME_DIGITS]}"
    except Exception:  # reading the case says what is wrong with its file
        return f"C{keyed_digest(str(case.files[0]), NAME_DIGITS // 2)}"


def unnamed(item: Rejected) -> Rejected:
    """A file that is no scan, by a digest; `FILE and 3 more ...` and `ARCHIVE[MEMBER]` count as one."""
    path = Path(item.path_or_series)
    name = handle(Source(str(path))) if path.is_file() else f"name-{keyed_digest(str(path), DIGITS // 2)}"
    return Rejected(f"file-{name}", without_names(item.reason, path), item.broken)


def without_names(reason: str, path: Path) -> str:
    """Why a file is no scan, without its own name and folders; a reason that names another path is cut there."""
    for part in sorted({str(path), *map(str, path.parents), path.name} - {"", ".", "/"}, key=len, reverse=True):
        reason = reason.replace(part, "...")
    return reason if "/" not in reason else reason.partition("/")[0] + "..."
