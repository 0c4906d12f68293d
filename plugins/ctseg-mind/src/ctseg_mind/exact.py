"""Distances of int8 vectors without any rounding, at the speed of float32 matrix products.

A product of two int8 is at most 2^14 in size. Summed over 1024 places it stays within 2^24, up to where float32 holds
every whole number: in any order of summation the products of such pieces are exact, and so are their float64 sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ctseg.matching.search import smallest

Vectors = NDArray[np.int8]
Distances = NDArray[np.float64]
PIECE = 1024
"""Places summed in float32 at once."""
ROWS, COLUMNS = 512, 2048
"""Vectors compared at once: 8 MB of distances."""


def squared_distances(first: Vectors, second: Vectors) -> Distances:
    """Vectors (n, D) and (m, D) -> exact squared distances (n, m), whole numbers in float64."""
    found = np.empty((len(first), len(second)))
    for columns in _blocks(len(second), COLUMNS):
        floats = second[columns].astype(np.float32)
        for rows in _blocks(len(first), ROWS):
            found[rows, columns] = _block(first[rows].astype(np.float32), floats)
    return found


def nearest_rows(
    first: Vectors, second: Vectors, k: int, combine: Callable[[Distances, slice, slice], Distances]
) -> tuple[NDArray[np.int64], Distances]:
    """For each row of `first` the k rows of `second` with the smallest distance, ties by index.

    Args:
        first: (n, D).
        second: (m, D).
        k: at most m.
        combine: (squared distances of a block, its rows, its columns) -> the distances to sort by.

    Returns:
        Indices (n, k) and distances (n, k), nearest first.
    """
    indices, distances = np.empty((len(first), 0), np.int64), np.empty((len(first), 0))
    for columns in _blocks(len(second), COLUMNS):
        floats = second[columns].astype(np.float32)
        width = min(k, columns.stop)
        kept = np.empty((len(first), width), np.int64), np.empty((len(first), width))
        for rows in _blocks(len(first), ROWS):
            block = combine(_block(first[rows].astype(np.float32), floats), rows, columns)
            # What was kept has smaller indices and comes first, so equal distances stay in the order of their index.
            candidates = np.concatenate([distances[rows], block], axis=1)
            places, kept[1][rows] = smallest(candidates, width)
            own = np.broadcast_to(np.arange(columns.start, columns.stop), block.shape)
            kept[0][rows] = np.take_along_axis(np.concatenate([indices[rows], own], axis=1), places, axis=1)
        indices, distances = kept
    return indices, distances


def _block(first: NDArray[np.float32], second: NDArray[np.float32]) -> Distances:
    found = np.zeros((len(first), len(second)))
    for places in _blocks(first.shape[1], PIECE):
        a, b = first[:, places], second[:, places]
        # (a * a).sum is exact for the reason above; the square of a difference, up to 255 * 255, would not be.
        found += (a * a).sum(1, dtype=np.float64)[:, None] + (b * b).sum(1, dtype=np.float64)[None] - 2.0 * (a @ b.T)
    return found


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
