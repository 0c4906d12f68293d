"""Brain extraction on head CT, after Muschelli et al. 2017 but without FSL.

Muschelli, Ullman, Mould, Vespa, Hanley, Crainiceanu: "Validated automatic brain extraction of head CT images", NeuroImage 114 (2015)
379-385, and its robust form in `ichseg` (2017): threshold at 0..100 HU, smooth, threshold again, run FSL's BET, fill holes. What takes
BET's place, and why, is in docs/preprocess.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.volume import Volume
from ctseg.preprocess.grid import WorkingGrid, working_grid
from ctseg.preprocess.settings import MuschelliSettings

Mask = NDArray[np.bool_]


class MuschelliExtractor:
    """CT volume in HU -> brain mask: the contents of the skull that are connected by more than narrow passages."""

    def __init__(self, **settings: Any) -> None:
        self.settings = MuschelliSettings(**settings)

    def __call__(self, volume: Volume) -> Mask:
        """(K, h, w) bool on the volume's own grid; all False where there is no brain."""
        grid = working_grid(volume)
        coarse = self._coarse(grid, grid.to_grid(np.clip(volume.voxels, -1024, 1000)))
        if not coarse.any():
            return np.zeros(volume.voxels.shape, dtype=bool)
        return self._refine(volume, grid, coarse)

    def _coarse(self, grid: WorkingGrid, hu: NDArray[np.float32]) -> Mask:
        """The brain on the working grid."""
        low, high = self.settings.hu
        smooth = ndimage.gaussian_filter(hu, (0, *(self.settings.smoothing_mm / mm for mm in grid.spacing_mm[1:])))
        tissue = (smooth >= low) & (smooth <= high)
        core = _most_enclosed(grid.erode(tissue, self.settings.neck_mm), smooth > self.settings.bone_hu)
        grown = grid.dilate(core, self.settings.neck_mm + 2) & tissue
        return ndimage.binary_fill_holes(grid.close(grown, 3.0) & (smooth <= high))

    def _refine(self, volume: Volume, grid: WorkingGrid, coarse: Mask) -> Mask:
        """Bring the coarse mask to the volume's own grid, with the edge where the HU say it is."""
        low, high = self.settings.hu
        inner = grid.to_native(grid.erode(coarse, 2.5))
        outer = grid.to_native(grid.dilate(coarse, 1.5))
        # bone is cut to just above brain first: a whole kernel of it would otherwise eat blood that touches it
        clipped = np.clip(volume.voxels, low - high, 2 * high)
        smooth = ndimage.gaussian_filter(clipped, (0, *(self.settings.smoothing_mm / mm for mm in volume.spacing_mm)))
        return inner | (outer & (smooth >= low) & (smooth <= high))


def _most_enclosed(core: Mask, bone: Mask) -> Mask:
    """The connected part with the most voxels that have bone on all four sides in their slice."""
    parts, count = ndimage.label(core)
    if not count:
        return core
    scores = np.bincount(parts.ravel(), weights=_enclosed(bone).ravel(), minlength=count + 1)
    scores[0] = -1
    return parts == scores.argmax()


def _enclosed(bone: Mask) -> Mask:
    """Whether there is bone in front of, behind, left and right of each voxel."""
    before = [np.maximum.accumulate(bone, axis=axis) for axis in (1, 2)]
    after = [np.flip(np.maximum.accumulate(np.flip(bone, axis), axis=axis), axis) for axis in (1, 2)]
    return before[0] & before[1] & after[0] & after[1]
