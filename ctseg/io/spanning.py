"""The grid of two masks that leave out slices of one even stack, where no scan gives it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.grid import mean_step
from ctseg.io.nifti.file import MAX_VOXELS
from ctseg.io.volume import Volume

Vector = NDArray[np.float64]

UNEVEN = (
    "one holds uneven slices, so that what lies between them is unknown; give one of the two on the whole grid of the "
    "scan"
)
APART = "hold other pixels, or lie too far apart; give one of the two on the whole grid of the scan"


def spanned(one: Volume, other: Volume) -> Volume:
    """The smallest grid that holds the slices of two masks, which leave out slices of one even stack.

    Raises:
        CaseError: without files' names, if a stack is uneven, or the two are none of one.
    """
    if any(volume.drawn is not None and not volume.drawn.is_even for volume in (one, other)):
        raise CaseError(UNEVEN)
    base, more = (one, other) if len(one.voxels) >= len(other.voxels) else (other, one)
    if base.voxels.shape[1:] != more.voxels.shape[1:]:
        raise CaseError(APART)
    return reaching(base, more.origins_mm)


def reaching(base: Volume, points_mm: Vector) -> Volume:
    """The grid of a mask that leaves out slices of an even stack, with the slices on which further points lie.

    Args:
        base: the mask.
        points_mm: (n, 3) LPS mm.

    Raises:
        CaseError: without files' names, if its stack is uneven, or the points lie too far away.
    """
    if base.drawn is not None and not base.drawn.is_even:
        raise CaseError(UNEVEN)
    step = mean_step(base.origins_mm, base.normal, base.thickness_mm)
    indices = np.rint((points_mm - base.origins_mm[0]) @ base.normal / (step @ base.normal))
    first, last = int(min(indices.min(), 0)), int(max(indices.max(), len(base.voxels) - 1))
    shape = (last - first + 1, *base.voxels.shape[1:])
    if math.prod(shape) > MAX_VOXELS:
        raise CaseError(APART)
    origins = base.origins_mm[0] + np.arange(first, last + 1)[:, None] * step
    origins[-first : len(base.voxels) - first] = base.origins_mm
    return replace(base, voxels=np.zeros(shape, np.float32), origins_mm=origins, native=None, drawn=None)
