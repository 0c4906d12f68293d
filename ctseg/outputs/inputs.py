"""Whether an output path is one of a command's inputs, holds one, or lies where one is read from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ctseg.errors import InputError
from ctseg.outputs.mounts import Spots, holds

Identity = tuple[int, int]
MAX_LINKS = 40
"""As many links in a row as Linux follows."""


def as_paths(inputs: Iterable[Path | str | None]) -> tuple[Path, ...]:
    """The inputs that are paths: neither left out nor `-` for stdin."""
    return tuple(Path(item) for item in inputs if item is not None and str(item) != "-")


def refuse_inputs(path: Path, inputs: Iterable[Path], *, file: bool = False) -> None:
    """Refuse an output that a command also reads, however the two are written: links, `..`, hard links, bind mounts.

    Args:
        path: the output; it need not exist.
        inputs: files and folders that the command reads.
        file: whether the output is a file; it must not lie in a folder that is an input either.

    Raises:
        InputError: naming the output and the input.
    """
    inputs = tuple(inputs)
    what, spots = f"choose another output {'file' if file else 'folder'}", Spots()
    if file:
        _refuse_within(path, inputs, what, spots)
    here = identity(path)
    if here is None:
        return  # what is not there is no input and holds none
    place, seen = spots.of(_names(path)), dict[Path, Identity | None]()
    for item in inputs:
        names = _names(item)
        there = spots.of(names)
        if place & there or here in map(identity, names):
            raise InputError(f"{path}: is one of the inputs; {what}")
        if holds(place, there) or any(_below(name, here, seen) for name in names):
            raise InputError(f"{path}: holds the input {item}; {what}")


def identity(path: Path) -> Identity | None:
    """What tells two names of one file or folder from two files; None where there is nothing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _refuse_within(path: Path, inputs: Iterable[Path], what: str, spots: Spots) -> None:
    real = Path(os.path.realpath(path))
    above, place = {identity(parent) for parent in real.parents}, spots.of([real])
    for item in inputs:
        if item.is_dir() and (identity(item) in above or holds(spots.of(_names(item)), place)):
            raise InputError(f"{path}: lies in the input {item}; {what}")


def _names(path: Path) -> list[Path]:
    """An input as given, every link that it passes through, and its real path."""
    names = [Path(os.path.abspath(path))]  # noqa: PTH100 - resolve() would follow the links
    hop = Path(path)
    for _ in range(MAX_LINKS):
        names.append(Path(os.path.realpath(hop.parent)) / hop.name)
        if not hop.is_symlink():
            break
        hop = hop.parent / hop.readlink()
    return list(dict.fromkeys([*names, Path(os.path.realpath(path))]))


def _below(path: Path, folder: Identity, seen: dict[Path, Identity | None]) -> bool:
    """Whether a folder above `path` is `folder`; each folder is checked once."""
    for parent in path.parents:
        if parent in seen:
            return False  # or it would have been refused then
        seen[parent] = identity(parent)
        if seen[parent] == folder:
            return True
    return False


def refuse_hard_links(folder: Path, inputs: Iterable[Path]) -> None:
    """Refuse a folder with a file that is a second name of an input; looked for only where a file has two names.

    Raises:
        InputError: naming the file and the input.
    """
    doubles = dict(_linked(folder))
    if not doubles:
        return
    for item in inputs:
        for file in _files(item):
            found = identity(file)
            if found in doubles:
                raise InputError(f"{doubles[found]}: is the input {file} by another name; choose another output folder")


def _linked(folder: Path) -> Iterator[tuple[Identity, Path]]:
    for file in _files(folder):
        try:
            stat = file.lstat()
        except FileNotFoundError:
            continue  # another call that shares the folder has given the file its name, or removed it
        if stat.st_nlink > 1:
            yield (stat.st_dev, stat.st_ino), file


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for top, _, names in os.walk(path):
        yield from (Path(top) / name for name in names)
