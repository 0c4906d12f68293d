"""Digests of what an artefact is made from, so that it can be told whether a later call reads the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctseg.io.slices import SliceSet

DIGITS = 12
"""Hex digits that are kept, as for models and cases."""
SET_FILES = ("images.npy", "masks.npy", "slices.csv")


def file_digest(path: Path) -> str:
    """The first 12 hex digits of `file_sha256`."""
    return file_sha256(path)[:DIGITS]


def file_sha256(path: Path) -> str:
    """A file's SHA-256, 64 hex digits; read once in a process while the file is the same.

    Raises:
        OSError: if it cannot be read.
    """
    stat = Path(path).stat()
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _digest(os.path.realpath(path), identity)


@lru_cache(maxsize=4096)
def _digest(path: str, _identity: tuple[int, ...]) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """The first 12 hex digits of a text's SHA-256."""
    return sha256(text.encode()).hexdigest()[:DIGITS]


def set_digests(slices: SliceSet) -> dict[str, str]:
    """Digests of a slice set: `images`, `masks` where it has some, `slices`, and `dataset`.

    `dataset` is of what `dataset.json` says of the slices: domain, intensity map and settings. Counts follow from the
    table, and the version of the tool that made the set is no part of it.
    """
    found = {
        name.partition(".")[0]: file_digest(slices.folder / name)
        for name in SET_FILES
        if (slices.folder / name).exists()
    }
    described = {key: slices.info.get(key) for key in ("domain", "intensity", "settings", "pseudo")}
    return {**found, "dataset": text_digest(json.dumps(described, sort_keys=True, default=str))}


@contextmanager
def set_digests_beside(sets: Mapping[str, SliceSet]) -> Iterator[Callable[[], dict[str, dict[str, str]]]]:
    """`set_digests` of several sets by their names, in a thread beside the block.

    Gives a function that waits for them; it raises what `set_digests` raises. A block that ends by an error does not
    wait.
    """
    pool = ThreadPoolExecutor(1)
    waiting = {name: pool.submit(set_digests, slices) for name, slices in sets.items()}
    try:
        yield lambda: {name: item.result() for name, item in waiting.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def files_digest(files: Mapping[str, Path]) -> str:
    """One digest of several files and their names, in any order.

    Raises:
        OSError: if one cannot be read.
    """
    return text_digest("\n".join(f"{name} {file_digest(path)}" for name, path in sorted(files.items())))
