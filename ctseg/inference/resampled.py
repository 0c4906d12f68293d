"""A mask on even, untilted planes, for readers that support no other geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.io.grid import is_uneven, tilt_deg
from ctseg.io.volume import Volume

LARGEST_STEP_MM = 2.0
"""Distance of the planes: fine enough that no slab's border moves by more than 1 mm."""
MOST_PLANES = 1000
"""More would be of slices at nearly one place."""
ROUNDING = 1e-6
"""Of positions, as a share of a step."""
UNTILTED_DEG = 0.1
"""Below this, the shift over a whole head stays under half a millimetre."""


@dataclass(frozen=True)
class ResampledMask:
    """A mask on a right-angled, even stack."""

    planes: NDArray[np.bool_]
    """(N, h, w)"""
    origins_mm: NDArray[np.float64]
    """(N, 3) LPS centre of pixel [n, 0, 0]."""
    step_mm: float
    """From plane to plane, along the slice normal."""


def needs_resampling(volume: Volume) -> bool:
    """Whether the series is tilted or its steps are uneven."""
    tilt = tilt_deg(volume.origins_mm, volume.normal)
    return len(volume.origins_mm) > 1 and (tilt > UNTILTED_DEG or is_uneven(volume.origins_mm))


def resample_evenly(volume: Volume, mask: NDArray[np.bool_]) -> ResampledMask:
    """Resample a mask (K, H, W) to a right-angled, even grid of the same pixels.

    Each plane is the slice in whose slab it lies, shifted in-plane by whole pixels: nothing moves by more than half a
    pixel. The planes are larger than the slices by the whole shift.
    """
    step = _step_mm(volume)
    edges = np.concatenate([volume.z_mm[:1] - volume.slab_mm[0] / 2, volume.z_mm[:-1] + np.diff(volume.z_mm) / 2])
    end = volume.z_mm[-1] + volume.slab_mm[-1] / 2
    z_mm = np.arange(edges[0] + step / 2, end, step)
    slices = np.searchsorted(edges, z_mm, side="right") - 1
    shifts = _shifts(volume)
    first = shifts.min(axis=0)
    height, width = mask.shape[1:] + np.ptp(shifts, axis=0)
    planes = np.zeros((len(z_mm), height, width), dtype=bool)
    for plane, k in zip(planes, slices, strict=True):
        row, col = shifts[k] - first
        plane[row : row + mask.shape[1], col : col + mask.shape[2]] = mask[k]
    corner = volume.origins_mm[0] + first[0] * volume.row_step_mm + first[1] * volume.col_step_mm
    return ResampledMask(planes, corner + (z_mm - volume.z_mm[0])[:, None] * volume.normal, step)


def _step_mm(volume: Volume) -> float:
    """The largest whole part of the thinnest slab, so that the borders of most slabs lie between two planes.

    It is never so small that two slices at nearly one place make a grid that fits into no memory.
    """
    thinnest = float(volume.slab_mm.min())
    part = thinnest / np.ceil(thinnest / LARGEST_STEP_MM - ROUNDING)
    return max(float(part), float(volume.slab_mm.sum()) / MOST_PLANES)


def _shifts(volume: Volume) -> NDArray[np.int64]:
    """(K, 2) whole rows and columns that each slice lies further than the first, seen along the normal."""
    steps = np.stack([volume.row_step_mm, volume.col_step_mm])
    offsets = volume.origins_mm - volume.origins_mm[0]
    indices: NDArray[np.int64] = np.rint(offsets @ (steps / (steps**2).sum(axis=1, keepdims=True)).T).astype(np.int64)
    return indices
