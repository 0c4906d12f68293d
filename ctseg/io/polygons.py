"""Which pixels a polygon encloses: those whose centres lie inside by the even-odd rule, and those on its path.

DICOM counts points along the path of an outline as part of its region (PS3.3, C.8.8.6.3), and programs draw outlines
half way between pixel centres or through them. So both come back as they were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_AT_ONCE = 2_000_000
"""Crossings of edges and rows that are in memory together."""

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Filled:
    """The pixels of a polygon in the smallest part of the picture that holds it."""

    first: tuple[int, int]
    """Row and column of the part's first pixel."""
    inside: Mask
    """(h, w) even-odd inside."""
    path: Mask
    """(h, w) on the path."""

    @property
    def part(self) -> tuple[slice, slice]:
        """The part of the picture."""
        (row, col), (height, width) = self.first, self.inside.shape
        return slice(row, row + height), slice(col, col + width)


def filled(points: Points, tolerance: tuple[float, float]) -> Filled:
    """Fill a closed polygon.

    Args:
        points: (N, 2) rows and columns in pixels; whole numbers are pixel centres; the first is not repeated.
        tolerance: how far from the path a pixel centre lies on it, in pixels along rows and along columns.
    """
    low = np.floor(points.min(axis=0)).astype(np.intp)
    height, width = (int(size) for size in np.ceil(points.max(axis=0)).astype(np.intp) - low + 1)
    flips, path = np.zeros((height, width + 1), bool), np.zeros((height, width), bool)
    starts = points - low
    ends = np.roll(starts, -1, axis=0)
    step = max(MOST_AT_ONCE // (max(height, width) + 2), 1)
    for first in range(0, len(starts), step):
        start, end = starts[first : first + step], ends[first : first + step]
        _cross(flips, start, end)
        is_steep = np.abs(end - start)[:, 0] >= np.abs(end - start)[:, 1]
        _touch(path, start[is_steep], end[is_steep], tolerance)
        _touch(path.T, start[~is_steep, ::-1], end[~is_steep, ::-1], tolerance[::-1])
    inside = np.logical_xor.accumulate(flips, axis=1)[:, :width]
    return Filled((int(low[0]), int(low[1])), inside, path)


def _cross(flips: Mask, start: Points, end: Points) -> None:
    """Flip (h, w + 1) each pixel from which on a row lies on the other side of an edge."""
    rows, columns = _crossings(start, end, 0.0)
    places = rows * flips.shape[1] + np.ceil(columns).astype(np.intp)
    flips ^= (np.bincount(places, minlength=flips.size) % 2).astype(bool).reshape(flips.shape)


def _touch(path: Mask, start: Points, end: Points, tolerance: tuple[float, float]) -> None:
    """Mark (h, w) the pixel centres on edges that run along rows' direction at least as much as along columns'."""
    rows, columns = _crossings(start, end, tolerance[0])
    nearest = np.rint(columns)
    on = np.abs(columns - nearest) <= tolerance[1]
    path[rows[on], nearest[on].astype(np.intp)] = True


def _crossings(start: Points, end: Points, margin: float) -> tuple[NDArray[np.intp], Points]:
    """(rows, columns) where edges meet rows of pixel centres.

    Args:
        start: (n, 2) rows and columns of the edges' beginnings.
        end: of their ends.
        margin: rows this far beyond an end count, too; 0: of the two ends, the upper alone, so that a row that runs
            through a corner crosses once.
    """
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.ceil(low - margin).astype(np.intp)
    last = (np.floor(high + margin) if margin else np.ceil(high) - 1).astype(np.intp)
    counts = np.maximum(last - first + 1, 0)
    edge = np.repeat(np.arange(len(start)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    down = np.where(high > low, end[:, 0] - start[:, 0], 1.0)
    share = np.clip((rows - start[edge, 0]) / down[edge], 0.0, 1.0)
    return rows, start[edge, 1] + share * (end - start)[edge, 1]
