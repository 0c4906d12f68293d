"""Exact nearest slices where the distance is a weighted count of bits and a weighted difference of one number.

Almost every pair is ruled out in whole numbers: a pair can be among the nearest only if its fingerprints differ in
fewer bits than the rest of the bound allows. The distance itself is computed for what is left, by the metric's own
formula, so the result is that of sorting all distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.progress import ProgressCallback

ROWS = 64
"""Source slices at a time; neighbours in order of their numbers, so that one limit a target slice serves them all."""
COLUMNS = 4096
"""Target slices at a time: XOR of 64 x 4096 fingerprints is 2 MB and stays in the cache."""
SLACK = 1e-9
"""Share by which a bound is widened, so that rounding never rules out a pair that belongs in."""
MOST_BITS = 65
"""One more than the bits of a fingerprint: no number of differing bits is too large."""

Formula = Callable[[NDArray[np.uint8], NDArray[np.float64]], NDArray[np.float64]]
"""(differing bits, absolute difference of the numbers), both of one shape -> distance."""
Nearest = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True)
class Hashed:
    """Slices as this search sees them."""

    prints: NDArray[np.uint64]
    """(N,) fingerprints."""
    numbers: NDArray[np.float64]
    """(N,) finite."""

    def sorted(self) -> tuple[Hashed, NDArray[np.int64]]:
        """The slices in order of their numbers, and where each of them was."""
        order = np.argsort(self.numbers, kind="stable")
        return Hashed(self.prints[order], self.numbers[order]), order


@dataclass(frozen=True)
class BitDistance:
    """`bit_weight * bits + number_weight * |difference|`; neither weight is negative."""

    bit_weight: float
    number_weight: float
    formula: Formula
    """The same, rounded as the metric itself rounds it."""

    def limits(self, bound: float, gaps: NDArray[np.float64]) -> NDArray[np.uint8]:
        """(m,) least number of differing bits with which a pair lies beyond `bound`, by its difference at least."""
        rest = bound - self.number_weight * gaps + SLACK * (abs(bound) + 1.0)
        if self.bit_weight == 0:
            return np.where(rest >= 0, MOST_BITS, 0).astype(np.uint8)
        limits: NDArray[np.uint8] = np.clip(np.floor(rest / self.bit_weight) + 1, 0, MOST_BITS).astype(np.uint8)
        return limits


def nearest_hashed(
    source: Hashed, target: Hashed, k: int, distance: BitDistance, progress: ProgressCallback | None = None
) -> Nearest:
    """For each source slice its `k` nearest target slices, ties by target index; see `ctseg.matching.search.nearest`.

    Args:
        source: n slices.
        target: m slices.
        k: 1 to m.
        distance: what is smallest.
        progress: called with (done, n, "").

    Returns:
        Indices (n, k) int64 and distances (n, k) float64, nearest first.
    """
    n = len(source.prints)
    indices, distances = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    ours, own_places = source.sorted()
    search = _Search(*target.sorted(), k, distance)
    for start in range(0, n, ROWS):
        rows = slice(start, start + ROWS)
        found = search.block(Hashed(ours.prints[rows], ours.numbers[rows]))
        indices[own_places[rows]], distances[own_places[rows]] = found
        if progress is not None:
            progress(min(start + ROWS, n), n, "")
    return indices, distances


class _Search:
    """One search: the target in order of its numbers, and the buffers of a block."""

    def __init__(self, target: Hashed, places: NDArray[np.int64], k: int, distance: BitDistance) -> None:
        self.target, self.places, self.k, self.distance = target, places, k, distance
        count = len(target.prints)
        self.window = min(count, max(4 * k, round((3 * k * count) ** 0.5)))
        """Targets whose distances bound those of the nearest: the fewer, the looser the bound they give."""
        self.differing = np.empty((ROWS, COLUMNS), dtype=np.uint64)
        self.bits = np.empty((ROWS, COLUMNS), dtype=np.uint8)

    def block(self, rows: Hashed) -> Nearest:
        """The nearest of up to `ROWS` source slices whose numbers ascend."""
        bounds = self._bounds(rows)
        numbers = self.target.numbers
        gaps = np.maximum(np.maximum(numbers - rows.numbers[-1], rows.numbers[0] - numbers), 0.0)
        limits = self.distance.limits(float(bounds.max()), gaps)
        used = np.flatnonzero(limits)  # one run, since the numbers ascend
        parts = [
            self._candidates(rows, bounds, slice(start, min(start + COLUMNS, used[-1] + 1)), limits)
            for start in range(used[0], used[-1] + 1, COLUMNS)
        ]
        row, place, found = (np.concatenate(part) for part in zip(*parts, strict=True))
        return self._first(row, self.places[place], found, len(rows.prints))

    def _bounds(self, rows: Hashed) -> NDArray[np.float64]:
        """(R,) a distance that `k` targets reach: the k-th smallest among those with the nearest numbers."""
        middle = int(np.searchsorted(self.target.numbers, rows.numbers[len(rows.numbers) // 2]))
        start = min(max(middle - self.window // 2, 0), len(self.places) - self.window)
        near = slice(start, start + self.window)
        bits = np.bitwise_count(rows.prints[:, None] ^ self.target.prints[near])
        found = self.distance.formula(bits, np.abs(rows.numbers[:, None] - self.target.numbers[near]))
        rough = found.astype(np.float32)  # partitioned in half the time
        rough.partition(self.k - 1, axis=1)
        return np.nextafter(rough[:, self.k - 1], np.float32(np.inf)).astype(np.float64)

    def _candidates(
        self, rows: Hashed, bounds: NDArray[np.float64], columns: slice, limits: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(row, place in the sorted target, distance) of the pairs within each row's bound."""
        prints = self.target.prints[columns]
        shape = slice(len(rows.prints)), slice(len(prints))
        differing, bits = self.differing[shape], self.bits[shape]
        np.bitwise_xor(rows.prints[:, None], prints, out=differing)
        np.bitwise_count(differing, out=bits)
        row, column = np.divmod(np.flatnonzero(bits < limits[columns]), len(prints))
        place = column + columns.start
        found = self.distance.formula(bits[row, column], np.abs(rows.numbers[row] - self.target.numbers[place]))
        within = found <= bounds[row]
        return row[within], place[within], found[within]

    def _first(
        self, row: NDArray[np.int64], index: NDArray[np.int64], found: NDArray[np.float64], count: int
    ) -> Nearest:
        """The first `k` of each row by (distance, index)."""
        order = np.lexsort((index, found, row))
        starts = np.searchsorted(row[order], np.arange(count))
        chosen = order[starts[:, None] + np.arange(self.k)]
        return index[chosen], found[chosen]
