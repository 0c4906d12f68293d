"""Brain extraction at half the resolution, for `ctseg segment --fast`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ctseg.io.volume import Volume
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.brain_mask import brain_of

STEP = 2
SMALLEST = 256
"""Slices with fewer rows or columns are taken whole: they are coarse already."""


class CoarseBrain:
    """An extractor on every second row and column of the slices; each voxel of its mask becomes two by two."""

    def __init__(self, extractor: BrainExtractor) -> None:
        self.extractor = extractor

    def __call__(self, volume: Volume) -> NDArray[np.bool_]:
        """(K, h, w) bool on the volume's own grid."""
        rows, cols = volume.voxels.shape[1:]
        if min(rows, cols) < SMALLEST:
            return brain_of(self.extractor, volume)
        small = replace(
            volume,
            voxels=np.ascontiguousarray(volume.voxels[:, ::STEP, ::STEP]),
            row_step_mm=volume.row_step_mm * STEP,
            col_step_mm=volume.col_step_mm * STEP,
        )
        mask = brain_of(self.extractor, small).repeat(STEP, axis=1).repeat(STEP, axis=2)
        return mask[:, :rows, :cols]
