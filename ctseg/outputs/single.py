"""An output that is one file, as pairs, a page or a picture: it and its mark, both or neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copy2

from ctseg.outputs.changed import keep
from ctseg.outputs.leftovers import Say, what_changed
from ctseg.outputs.mark import Mark, file_mark, read_file_mark, write_file_mark
from ctseg.temporary_names import temporary_name, unused


def write_file_output(path: Path, mark: Mark, write: Callable[[Path], object], say: Say) -> None:
    """Write a file and its mark; an earlier file stays with its own mark where the disk refuses either.

    One that somebody has changed since is kept beside it. While the file is written, its mark says that it is not
    finished, so that what a kill leaves is not taken for an edit.

    Args:
        path: the file, which `guard_file` passed.
        mark: the command and what the file was made from.
        write: writes the file, atomically.
        say: takes a line about an edit that is kept.

    Raises:
        OSError: if the disk refuses either.
    """
    asides = {file: unused(partial(_aside, file)) for file in (file_mark(path), path)}
    try:
        _replace(path, mark, write, say, asides)
    except BaseException as error:
        for aside in asides.values():
            aside.unlink(missing_ok=True)  # an interruption can come in the middle of that
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _replace(path: Path, mark: Mark, write: Callable[[Path], object], say: Say, asides: dict[Path, Path]) -> None:
    there = [file for file in asides if file.exists()]
    begun = False
    try:
        for file in there:
            _second_name(file, asides[file])
        if what_changed(path):
            keep(path, say, copy=True)
        earlier = read_file_mark(path) if path in there else None
        begun = True
        write_file_mark(path, replace(mark, finished=False, made={} if earlier is None else earlier.made))
        write(path)
        write_file_mark(path, mark.seen(path.parent))
        begun = False
    except BaseException:
        if begun:
            _put_back(there, asides)
        raise
    finally:
        for aside in asides.values():
            aside.unlink(missing_ok=True)


def _put_back(there: list[Path], asides: dict[Path, Path]) -> None:
    """Give earlier files their names again, and remove those that were not there."""
    for file, aside in asides.items():
        if file in there:
            aside.replace(file)
        else:
            file.unlink(missing_ok=True)


def _aside(file: Path, digits: str) -> Path:
    return file.with_name(f".partial-{digits}-{temporary_name(file.name)}")


def _second_name(path: Path, name: Path) -> None:
    """Give a file a second name; a copy where the file system has no hard links."""
    try:
        name.hardlink_to(path)
    except OSError:
        copy2(path, name)
