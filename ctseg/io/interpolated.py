"""Were slices put between those that a scanner measured?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Voxels = NDArray[np.float32]
SOFT_HU = (-20.0, 100.0)
"""Brain, fluid and blood: their noise is looked at, not the edges of bone."""
EDGE_HU = 30.0
"""A larger change from slice to slice is an edge."""
RUN = 6
"""Slices in a row, at two places of the stack: some lie between measured ones, whatever the measured step was."""
STRIDE = 4
"""Every so many rows are looked at."""
LEAST_PIXELS = 500
LEAST_SLICES, FLAT_SLICES = 3, 2
LEAST_BEND = 0.75
"""HU bend sqrt(3) times as much as they change where slices are measured apart. Slices that overlap by half have 1.2,
by three quarters 0.85; slices between two measured ones have 0 (linear) to 0.6 (spline). In a head that was turned
meanwhile, as registration does, each slice crosses measured ones: 0.72 (linear) and 0.68 (spline) for each of 5 mm."""
ROUNDED = 1 / 12
"""Variance of what rounding to whole HU adds."""


def looks_interpolated(voxels: Voxels) -> bool:
    """Whether HU (K, H, W) bend from slice to slice as little as only interpolated ones do.

    A scanner's noise bends from each slice to the next. A linear interpolation has no bend between two measured slices,
    and a spline has little. Two slices of twelve are enough. Fewer than two new slices for each measured one are not
    always found, nor are rounded HU of ten.
    """
    bends = [bend for k in _chosen(len(voxels)) if (bend := _bend(voxels[k - 1 : k + 2])) is not None]
    return len(bends) >= LEAST_SLICES and sorted(bends)[FLAT_SLICES - 1] < LEAST_BEND


def _chosen(count: int) -> list[int]:
    """Slices with a neighbour on both sides."""
    starts = (count * 2 // 5, count * 3 // 5)
    return sorted({k for start in starts for k in range(start, start + RUN) if 1 <= k < count - 1})


def _bend(three: Voxels) -> float | None:
    """Second difference of three slices (3, H, W) over their first, root mean squares of soft tissue; None without."""
    three = three[:, ::STRIDE]
    soft = three[:, np.all((three > SOFT_HU[0]) & (three < SOFT_HU[1]), axis=0)]
    before, after = np.diff(soft, axis=0)
    noise = (np.abs(before) < EDGE_HU) & (np.abs(after) < EDGE_HU) & ((before != 0) | (after != 0))
    if np.count_nonzero(noise) < LEAST_PIXELS:
        return None
    before, after = before[noise], after[noise]
    rounded = ROUNDED if np.array_equal(soft, np.rint(soft)) else 0.0
    change = (np.mean(before**2) + np.mean(after**2)) / 2 - 2 * rounded
    bend = np.mean((after - before) ** 2) - 6 * rounded
    return float(np.sqrt(max(bend, 0.0) / change)) if change > rounded else None
