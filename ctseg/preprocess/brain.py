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
from skimage.segmentation import watershed

from ctseg.io.volume import Volume
from ctseg.preprocess.grid import WorkingGrid, fill_holes, working_grid
from ctseg.preprocess.settings import MuschelliSettings

Mask = NDArray[np.bool_]
LEAK = 0.02
"""Share of the brain's core that may lie outside bone; an intact skull has less than 0.002 (foramen magnum)."""
SEED_HU = 25.0
"""Seeds of the flooding are at most this far above the brain's median HU: white and grey matter differ by 5-10 HU, blood by more."""
FAT_HU = -20.0
"""Below this lies fat or air: never brain."""
SCALP_MM = 5.0
"""Nothing this near to the air is brain: the scalp alone is 4-7 mm thick (Hori et al. 1972)."""
CROP_MM = 12.0
"""Room around what bone encloses, for a brain that bulges through a craniectomy and the scalp over it."""
CLOSING_MM = 3.0
"""Half the width of the gaps that are closed: sulci, and blood or calcium above the threshold."""
BRAIN, OTHER = 1, 2


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
        inside = enclosed(smooth > high)
        box = _box(inside, CROP_MM, grid)
        coarse = np.zeros(hu.shape, dtype=bool)
        coarse[box] = self._inside_skull(grid, smooth[box], inside[box])
        return coarse

    def _inside_skull(self, grid: WorkingGrid, smooth: NDArray[np.float32], inside: Mask) -> Mask:
        """The brain, from smoothed HU and the voxels that have bone on all four sides."""
        low, high = self.settings.hu
        tissue = fill_holes((smooth >= low) & (smooth <= high))
        core = most_enclosed(grid.erode(tissue, self.settings.neck_mm), inside)
        if not core.any():
            return core
        if inside[core].mean() < 1 - LEAK:
            grown = self._flood(grid, smooth, tissue, inside, float(np.median(smooth[core & inside])))
        else:
            grown = grid.dilate(core, self.settings.neck_mm + 2) & tissue
        return fill_holes(grid.close(grown, CLOSING_MM) & (smooth <= high))

    def _flood(self, grid: WorkingGrid, smooth: NDArray[np.float32], tissue: Mask, inside: Mask, brain_hu: float) -> Mask:
        """The brain where tissue leaks through the skull: missing bone (craniectomy), or bone too thin for the slices.

        Brain and other tissue grow from safe seeds until they meet on the ridge of HU that bone leaves even where it is thin.
        """
        neck_mm = self.settings.neck_mm
        depth = grid.distance_mm(tissue & (smooth <= brain_hu + SEED_HU))
        seed = most_enclosed(depth > neck_mm, inside)
        markers = np.zeros(seed.shape, np.int8)
        markers[(depth > neck_mm / 2) & ~grid.dilate(seed, neck_mm + 1)] = OTHER
        markers[grid.near_air(smooth, SCALP_MM) & ~seed | (smooth < FAT_HU)] = OTHER
        markers[seed] = BRAIN
        ridge = np.clip(smooth, FAT_HU, None)
        return watershed(ridge, markers, mask=tissue | (markers > 0)) == BRAIN

    def _refine(self, volume: Volume, grid: WorkingGrid, coarse: Mask) -> Mask:
        """Bring the coarse mask to the volume's own grid, with the edge where the HU say it is."""
        low, high = self.settings.hu
        inner = grid.to_native(grid.erode(coarse, 2.5))
        outer = grid.to_native(grid.dilate(coarse, 1.5))
        # bone is cut to just above brain first: a whole kernel of it would otherwise eat blood that touches it
        clipped = np.clip(volume.voxels, low - high, 2 * high)
        smooth = ndimage.gaussian_filter(clipped, (0, *(self.settings.smoothing_mm / mm for mm in volume.spacing_mm)))
        return inner | (outer & (smooth >= low) & (smooth <= high))


def most_enclosed(core: Mask, inside: Mask) -> Mask:
    """The connected part of `core` that has the most voxels inside bone."""
    parts, count = ndimage.label(core)
    if not count:
        return core
    scores = np.bincount(parts.ravel(), weights=inside.ravel(), minlength=count + 1)
    scores[0] = -1
    return parts == scores.argmax()


def enclosed(bone: Mask) -> Mask:
    """Whether there is bone in front of, behind, left and right of each voxel."""
    before = [np.maximum.accumulate(bone, axis=axis) for axis in (1, 2)]
    after = [np.flip(np.maximum.accumulate(np.flip(bone, axis), axis=axis), axis) for axis in (1, 2)]
    return before[0] & before[1] & after[0] & after[1]


def _box(inside: Mask, margin_mm: float, grid: WorkingGrid) -> tuple[slice, slice, slice]:
    """All slices, and the rows and columns with anything enclosed, with a margin."""
    box = [slice(None)]
    for axis, other in ((1, (0, 2)), (2, (0, 1))):
        used = np.flatnonzero(inside.any(axis=other))
        margin = round(margin_mm / grid.spacing_mm[axis])
        box.append(slice(max(0, used[0] - margin), used[-1] + margin + 1) if len(used) else slice(None))
    return box[0], box[1], box[2]
