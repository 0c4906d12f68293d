"""Raw scans where a command takes a slice set: made into one beside the output, and used again while unchanged."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ctseg.cli import common
from ctseg.errors import CtsegError, InputError
from ctseg.files import read_json, write_json

DOMAINS = {"--src": "mr", "--tgt": "ct"}
"""What the scans behind each flag are."""
RECORD = "made-from.json"
"""In the cache, beside the slice sets: what each was made from."""


def as_slice_set(path: Path, flag: str, output: Path | None) -> Path:
    """The path itself where it is a slice set, else a slice set that is made of its scans with default settings.

    Args:
        path: a slice set, or a folder or file of raw scans.
        flag: `--src` or `--tgt`.
        output: the command's output; the slice sets lie in `OUTPUT.sets` beside it. None: there is no place for them.

    Raises:
        InputError: saying which commands to type, if there is no place, or if the scans cannot be preprocessed.
    """
    if _is_set(path) or not _may_hold_scans(path):
        return path
    if output is None:
        raise InputError(
            f"{flag} {path}: holds scans and is no slice set, and with -o - there is no place for one; make it first: "
            f"{_line(path, Path(f'{path.resolve().name}-slices'), flag)}"
        )
    made = cache_of(output) / flag.lstrip("-")
    found = fingerprint(path)
    if _recorded(made) == found and _is_set(made):
        common.say(f"{flag} {path}: scans; their slice set {made} is used again")
        return made
    line = _line(path, made, flag)
    common.say(f"{flag} {path}: scans, not a slice set; one is made by `{line}` and kept for the next call")
    _make(path, made, flag)
    write_json(made.parent / RECORD, {**_records(made), made.name: found})
    return made


def cache_of(output: Path) -> Path:
    """Where the slice sets of an output lie: `pairs.sets` beside `pairs.csv`."""
    return output.with_name(f"{output.name.removesuffix('.csv')}.sets")


def fingerprint(path: Path) -> str:
    """A digest of the names, sizes and times of all files below a path, and of the version that would read them."""
    from ctseg.version import __version__

    rows = [f"ctseg {__version__}", os.path.realpath(path)]
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            status = file.stat()
            rows.append(f"{os.path.relpath(file, path)} {status.st_size} {status.st_mtime_ns}")
    return sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()


def _is_set(path: Path) -> bool:
    """A folder with a slice table is meant as a slice set, be it a broken one: opening it says what is wrong."""
    return (path / "slices.csv").exists()


def _may_hold_scans(path: Path) -> bool:
    from ctseg.outputs import read_mark

    if not path.exists():
        return False
    mark = read_mark(path) if path.is_dir() else None
    if mark is not None and mark.kind != "phantom":
        return False  # another command's output: opening it says what it is not
    return path.is_file() or any(path.iterdir())


def _words(path: Path, made: Path, flag: str) -> list[str]:
    return ["preprocess", str(path), "-o", str(made), "--domain", DOMAINS[flag]]


def _line(path: Path, made: Path, flag: str) -> str:
    return "ctseg " + shlex.join(_words(path, made, flag))


def _make(path: Path, made: Path, flag: str) -> None:
    """Preprocess by the real command; some broken scans are said and do not stop it."""
    from ctseg.cli.main import main

    try:
        main([*_words(path, made, flag), *(["--overwrite"] if made.exists() else [])], raises=True)
    except CtsegError as error:
        domain = DOMAINS[flag].upper()
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(
            f"{flag} {path}: {reason}; {flag} takes scans of {domain} or a slice set (are --src and --tgt swapped?)"
        ) from None
    finally:
        with suppress(OSError):  # holds sets, or is not there
            made.parent.rmdir()


def _records(made: Path) -> dict[str, str]:
    try:
        data = read_json(made.parent / RECORD)
    except InputError:
        return {}
    return data if isinstance(data, dict) else {}


def _recorded(made: Path) -> str:
    return str(_records(made).get(made.name, ""))
