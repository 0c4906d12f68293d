"""Large arrays block by block, so that memory does not grow with a memory map that is read from end to end."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 24
"""Read in one go: 16 MB, 291 slices of 240 x 240."""


def blocks(array: NDArray[Any], size: int | None = None) -> Iterator[NDArray[Any]]:
    """Consecutive blocks along the first axis; a memory map's pages are given back after each.

    A block must not be kept: it is read again from the file where it is looked at later, which is right but slow.

    Args:
        array: (N, ...), in memory or a memory map.
        size: entries in a block; default: as many as make `BLOCK_BYTES`.
    """
    if size is None:
        size = max(1, BLOCK_BYTES // max(1, array.nbytes // max(1, len(array))))
    pages, plain = _map_of(array), np.asarray(array)  # each slice of a memory map would be one, too, and take longer
    read = 0
    for start in range(0, len(plain), size):
        block = plain[start : start + size]
        yield block
        read += block.nbytes
        if pages is not None and read >= BLOCK_BYTES:
            _give_back(pages)
            read = 0
    if pages is not None:
        _give_back(pages)


def _map_of(array: Any) -> mmap.mmap | None:
    """The map on which an array that is read only lies; None for one in memory, or whose pages may hold changes."""
    if not isinstance(array, np.memmap) or array.mode != "r":
        return None
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array


def _give_back(pages: mmap.mmap) -> None:
    """Let the system drop the map's pages from this process; the file keeps what they hold."""
    if hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
