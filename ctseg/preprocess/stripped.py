"""Recognising CT whose skull was already removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.io.volume import Volume
from ctseg.preprocess.grid import fill_holes

TISSUE_HU = (-50.0, 120.0)
"""Brain, CSF, blood and noise; scalp, air and bone reach far beyond."""
MIN_TISSUE = 0.9
"""Share of the foreground in `TISSUE_HU`: more than 0.98 after stripping, less than 0.7 in a whole head."""
MAX_CLIPPED = 0.02
"""Share of the foreground at the highest value; a head that was clipped to a brain window has its whole skull there."""
MOST = 8000
"""Values further above the lowest are counted as one."""
MIN_BACKGROUND = 0.2
"""Share of voxels that have the one background value."""


def stripped_brain(volume: Volume) -> NDArray[np.bool_] | None:
    """The foreground (K, h, w) of an already skull-stripped CT, holes filled; None where there is a skull.

    Stripped scans have one background value (0 or air) on a large part of the picture and nearly only brain HU
    elsewhere.
    """
    if _has_skull(volume):
        return None
    lowest = int(np.rint(volume.voxels.min()))
    counts = np.zeros(MOST + 1, dtype=np.int64)
    for picture in volume.voxels:
        above = np.rint(picture)
        above -= lowest
        np.minimum(above, MOST, out=above)
        counts += np.bincount(above.astype(np.int64).ravel(), minlength=MOST + 1)
    background = lowest + int(counts.argmax())
    if counts.max() < MIN_BACKGROUND * volume.voxels.size:
        return None
    values = np.rint(volume.voxels).astype(np.int32)
    foreground = values != background
    tissue = (volume.voxels >= TISSUE_HU[0]) & (volume.voxels <= TISSUE_HU[1]) & foreground
    size = np.count_nonzero(foreground)
    if not size or np.count_nonzero(tissue) / size < MIN_TISSUE:
        return None
    if np.count_nonzero(foreground & (values == values.max())) / size > MAX_CLIPPED:
        return None
    return fill_holes(foreground)


def _has_skull(volume: Volume) -> bool:
    """Whether `TISSUE_HU` cannot have `MIN_TISSUE` of the foreground, whichever value the background has.

    It spares heads the counting of all values. What is above that range is foreground, unless it is the background.
    """
    above = TISSUE_HU[1] + 1
    tissue = bright = maybe = 0
    for picture in volume.voxels:
        tissue += int(np.count_nonzero((picture >= TISSUE_HU[0]) & (picture <= TISSUE_HU[1])))
        bright += int(np.count_nonzero(picture > above + 1))
        maybe += int(np.count_nonzero(picture > above))
    return maybe < MIN_BACKGROUND * volume.voxels.size and tissue < MIN_TISSUE * (tissue + bright)
