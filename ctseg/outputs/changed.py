"""Files of an output that somebody has changed since ctseg wrote them: a corrected mask, a table with a column more.

The mark of a finished output says how each of its files looked. One that looks otherwise is kept as `NAME.changed`
before another is written in its place; it is the user's from then on. How long something took, and when a DICOM object
was made, does not count, so that two calls that do the same leave the same marks.
"""

from __future__ import annotations

import csv
import filecmp
import io
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path

from ctseg.files import write_with, writing_to

CHANGED = ".changed"
DIGITS = 12
TIMED = (".state.json",)
"""Files that change with every call: that they are there is all that is compared."""
THERE = "there"
JSON, CSV, DICOM = (".json", ".jsonl"), ".csv", ".dcm"
SECONDS = re.compile(rb'("[a-z_]*seconds[a-z_]*": )[-0-9.e+]+')
MADE_AT = re.compile(
    rb"(\x08\x00(?:[\x12\x23]\x00DA|[\x13\x33]\x00TM)|\x18\x00\x02\xa0DT|\x06\x30(?:\x08\x00DA|\x09\x00TM))"
    rb"..[0-9.+ ]*+",
    re.DOTALL,
)
"""Elements of DICOM, explicit VR and little endian as ctseg writes it, that say when an object was made: of instance,
content, contribution and structure set."""
LARGEST_TEXT = 1 << 25
"""Of a larger table nothing is compared, since it would be held in memory to leave out how long something took."""


def look(path: Path) -> str:
    """How a file looks: `BYTES DIGEST`, of JSON, CSV and DICOM ` DIGEST`, `there` of some others.

    Empty where there is none.

    Raises:
        OSError: if it cannot be read.
    """
    size = _size(path)
    if size is None:
        return ""
    if path.name.endswith(TIMED) or (path.suffix in (*JSON, CSV) and size > LARGEST_TEXT):
        return THERE
    return f"{'' if path.suffix in (*JSON, CSV, DICOM) else size} {_digest(path)}"


def looks(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """How each of some files below a folder looks; those that are not there have no entry."""
    found = ((name, look(folder / name)) for name in names)
    return {name: seen for name, seen in found if seen}


def changed(folder: Path, seen: Mapping[str, str], since: Path | None = None) -> list[str]:
    """The names below a folder whose files are there and look otherwise than they did, in order.

    Args:
        folder: of an output.
        seen: file -> how it looked.
        since: a file that was written after them all, as the mark: one of the same size that is older is not read.
    """
    then = 0 if since is None else since.stat().st_ctime_ns
    safe = _inside(folder)
    return [name for name, before in seen.items() if safe(name) and _is_changed(folder / name, before, then)]


def is_another_folder(folder: Path, seen: Mapping[str, str]) -> bool:
    """Whether a mark was copied here: some of the files that it names are not there, and each other is another."""
    there = [name for name in seen if _size(folder / name) is not None]
    compared = (name for name in there if seen[name] != THERE)
    return 0 < len(there) < len(seen) and all(_is_changed(folder / name, seen[name], 0) for name in compared)


def gone(folder: Path, seen: Mapping[str, str]) -> list[str]:
    """The names below a folder whose files are not there any more, in order."""
    return [name for name in seen if _size(folder / name) is None]


def _inside(folder: Path) -> Callable[[str], bool]:
    """Tells whether a name is that of a file below the folder: a mark may be anybody's, and a folder in it a link."""
    real, known = os.path.realpath(folder), dict[str, bool]()

    def is_inside(name: str) -> bool:
        place = os.path.dirname(name)  # noqa: PTH120 - of very many names
        if place not in known:
            known[place] = os.path.realpath(os.path.join(real, place)) == os.path.join(real, place).rstrip("/")  # noqa: PTH118
        return known[place] and not place.startswith("/")

    return is_inside


def _is_changed(path: Path, seen: str, then: int) -> bool:
    """Whether a file that is there looks otherwise than it did; no tool can set back the time of its last change."""
    size, (before, _, digest) = _size(path), seen.partition(" ")
    if size is None or seen == THERE:
        return False
    if before and str(size) != before:
        return True
    return bool(digest) and path.stat().st_ctime_ns >= then and _digest(path) != digest


def keep(path: Path, say: Callable[[str], object], *, copy: bool = False) -> Path:
    """Keep a changed file as `NAME.changed`, or with a number behind it, and say so.

    Args:
        path: the file.
        say: takes a line for people.
        copy: leave the file where it is, for what reads it; else it is moved.

    Raises:
        OSError: if the disk refuses it.
    """
    names = (path.with_name(f"{path.name}{CHANGED}{number or ''}") for number in range(10**6))
    kept = next(name for name in names if not os.path.lexists(name) or _same(name, path))
    if copy and kept.is_file():
        return kept  # by an earlier call
    if copy:
        write_with(kept, partial(_copy, path))
    else:
        with writing_to(path, kept):
            path.replace(kept)
    say(f"{path}: was changed since ctseg wrote it; kept as {kept.name}")
    return kept


def _copy(path: Path, place: Path) -> None:
    shutil.copy2(path, place)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _digest(path: Path) -> str:
    if path.suffix in (*JSON, CSV, DICOM):
        return bytes_digest(path.read_bytes(), path.suffix)
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()[:DIGITS]


def bytes_digest(data: bytes, suffix: str) -> str:
    """The first digits of the SHA-256 of what a file holds, but for how long something took, and when.

    Args:
        data: the whole file.
        suffix: of its name, which says what it is.
    """
    if suffix in JSON:
        data = SECONDS.sub(rb"\1", data)
    elif suffix == DICOM:
        data = MADE_AT.sub(rb"\1", data)
    elif suffix == CSV:
        data = _without_seconds(data)
    return sha256(data).hexdigest()[:DIGITS]


def _without_seconds(data: bytes) -> bytes:
    """A table without its column `seconds`, if it has one."""
    if b"seconds" not in data.partition(b"\n")[0]:
        return data
    rows = list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))
    place = rows[0].index("seconds") if "seconds" in rows[0] else len(rows[0])
    return repr([[cell for at, cell in enumerate(row) if at != place] for row in rows]).encode("utf-8", "surrogatepass")
