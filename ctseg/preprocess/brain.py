"""Brain extraction on head CT, after Muschelli et al. but without FSL.

Muschelli, Ullman, Mould, Vespa, Hanley, Crainiceanu: "Validated automatic brain extraction of head CT images",
NeuroImage 114 (2015) 379-385: threshold at 0..100 HU, smooth, threshold again, run FSL's BET, fill holes. What takes
BET's place, and why, is in docs/preprocess.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.preprocess.grid import (
    WorkingGrid,
    fill_holes,
    filled_box,
    parts_touching,
    without_islands,
    working_grid,
)
from ctseg.preprocess.settings import MuschelliSettings
from ctseg.preprocess.stripped import stripped_brain

Hu = NDArray[np.float32]
LEAK = 0.02
"""Share of the brain's core that may lie outside bone; an intact skull has less than 0.002 (foramen magnum)."""
MIN_ENCLOSED = 0.5
"""Share of the brain that must lie inside bone where no slice shows a ring of it."""
RING, RING_MM2 = 0.9, 3000.0
"""A slice with so much of so large a piece inside bone shows a skull; of necks and faces no slice has any of it."""
LOBE = 0.05
"""Share of the largest part's size that a separate lobe has."""
BRIGHT_HU = 25.0
"""Tissue this far above the brain's median HU is blood or half bone: grey and white matter differ by 5-10 HU only."""
FAT_HU = -20.0
"""Below this lies fat or air: never brain."""
SCALP_MM = 5.0
"""Nothing this near to the air is brain: skin and galea alone are thicker, bone or none."""
CROP_MM = 12.0
"""Room around what bone encloses, for a brain that bulges through a craniectomy and the scalp over it."""
CLOSING_MM = 3.0
"""Half the width of the gaps that are closed: sulci, and blood or calcium above the threshold."""
CANAL_MM2 = 900.0
"""A smaller cross-section at the lower end is the spinal canal: the foramen magnum is about 35 x 30 mm."""
TENDRIL_MM = 3.0
"""Half the width below which tissue beside the brain is no brain: sinuses, nerves and marrow of the skull base."""
ISLAND_MM2 = 50.0
"""Smaller islands in a slice are left out."""
BONE_MM2 = 100.0
"""Calcified plexus, pineal gland and vessels are smaller in a slice than this, the bone of the sella is larger."""
HOLE_MM2 = 20.0
"""Smaller holes in a slice are filled."""
FILM_MM = 2.0
"""A bright layer on bone that is thinner than this is bone's partial volume."""
REFINED_MM = 15.0
"""Room around the coarse brain when its edge is refined: more than any kernel or film is wide."""
BRAIN, OTHER = 1, 2


class MuschelliExtractor:
    """CT volume in HU -> brain mask: the contents of the skull, joined by more than narrow passages."""

    def __init__(self, **settings: Any) -> None:
        self.settings = MuschelliSettings(**settings)

    def __call__(self, volume: Volume) -> Mask:
        """(K, h, w) bool on the volume's own grid; all False where there is no brain."""
        stripped = stripped_brain(volume)
        if stripped is not None:
            return stripped
        low, high = self._range(volume)
        grid = working_grid(volume)
        hu = grid.to_grid(volume.voxels)
        smooth = smoothed(hu, self.settings.smoothing_mm, grid.spacing_mm[1:])
        inside = enclosed(smooth > high)
        box = _box(inside, grid)
        coarse = np.zeros(hu.shape, dtype=bool)
        coarse[box] = self._inside_skull(grid, smooth[box], inside[box], (low, high))
        if not coarse.any():
            return np.zeros(volume.voxels.shape, dtype=bool)
        return self._refine(volume, grid, coarse, (low, high, float(np.median(smooth[coarse])) + BRIGHT_HU))

    def _range(self, volume: Volume) -> tuple[float, float]:
        """HU of brain; where the scan was clipped to a narrow window, its lowest value is air and its highest bone."""
        low, high = self.settings.hu
        return max(low, float(volume.voxels.min()) + 1), bone_from(volume.voxels, high)

    def _inside_skull(self, grid: WorkingGrid, smooth: Hu, inside: Mask, hu: tuple[float, float]) -> Mask:
        """The brain on the working grid, from smoothed HU and the voxels that have bone on all four sides."""
        neck_mm = self.settings.neck_mm
        tissue = fill_holes((smooth >= hu[0]) & (smooth <= hu[1]))
        core = most_enclosed(grid.erode(tissue, neck_mm), inside)
        if not core.any():
            return core
        if inside[core].mean() < 1 - LEAK:
            core = self._flood(grid, smooth, tissue, inside, float(np.median(smooth[core & inside])) + BRIGHT_HU)
            if not in_a_skull(core, inside, grid.spacing_mm[1] * grid.spacing_mm[2]):
                return np.zeros_like(core)
            grown = core
        else:
            grown = parts_touching(grid.dilate(core, neck_mm + 2) & tissue, core)
        grown = _with_vertex(grid.open(grown, TENDRIL_MM) | core, tissue & inside)
        grown = _without_canal(grown, grid)
        return fill_holes(grid.close(grown, CLOSING_MM) & (smooth <= hu[1]))

    def _flood(self, grid: WorkingGrid, smooth: Hu, tissue: Mask, inside: Mask, bright_hu: float) -> Mask:
        """The brain where tissue leaks through the skull: bone is missing (craniectomy) or too thin for the slices.

        Brain and other tissue grow from safe seeds until they meet on the ridge of HU that bone leaves even where it is
        thin. Blood, too bright for a seed, falls to the brain around it.
        """
        from skimage.segmentation import watershed

        neck_mm = self.settings.neck_mm
        sure = tissue & (smooth <= bright_hu)
        seed = most_enclosed(grid.erode(sure, neck_mm), inside)
        markers = np.zeros(seed.shape, np.int8)
        markers[grid.erode(sure, neck_mm / 2) & ~grid.dilate(seed, neck_mm + 1)] = OTHER
        markers[grid.near_air(smooth, SCALP_MM) | (smooth < FAT_HU)] = OTHER
        markers[seed] = BRAIN
        brain: Mask = watershed(np.maximum(smooth, FAT_HU), markers, mask=tissue | (markers > 0)) == BRAIN
        return brain

    def _refine(self, volume: Volume, grid: WorkingGrid, coarse: Mask, hu: tuple[float, float, float]) -> Mask:
        """Bring the coarse mask to the volume's own grid, with the edge where the HU say it is."""
        inner = grid.to_native(grid.erode(coarse, 2.5))
        rim = grid.to_native(grid.dilate(coarse, 1.5)) & ~inner
        brain = np.zeros(volume.voxels.shape, dtype=bool)
        if not inner.any():
            return brain
        part = filled_box(inner | rim, (0, *(round(REFINED_MM / mm) for mm in volume.spacing_mm)))
        brain[part] = self._refine_part(volume.voxels[part], volume.spacing_mm, inner[part], rim[part], hu)
        return brain

    def _refine_part(
        self, voxels: Hu, spacing_mm: tuple[float, float], inner: Mask, rim: Mask, hu: tuple[float, float, float]
    ) -> Mask:
        low, high, bright = hu
        # bone is cut to just above brain first: a whole kernel of it would otherwise eat blood that touches it
        smooth = smoothed(np.clip(voxels, low - high, 2 * high), self.settings.smoothing_mm, spacing_mm)
        light = (smooth > bright) & (smooth <= high)
        film = light & ~opened(light, max(1, round(FILM_MM / 2 / min(spacing_mm))))
        brain = parts_touching(inner | (rim & ~film & (smooth >= low) & (smooth <= high)), inner)
        return _tidied(brain, smooth > high, spacing_mm[0] * spacing_mm[1])


def bone_from(hu: Hu, bone_hu: float) -> float:
    """HU above which voxels are bone; a scan that was clipped to a narrow window has its highest value for bone."""
    return min(bone_hu, 0.95 * float(hu.max()))


def smoothed(hu: Hu, sigma_mm: float, spacing_mm: tuple[float, ...]) -> Hu:
    """(K, H, W) smoothed in the slices only: thick slices are smooth across already."""
    smooth: Hu = ndimage.gaussian_filter(hu, (0, *(sigma_mm / mm for mm in spacing_mm)))
    return smooth


def opened(mask: Mask, steps: int) -> Mask:
    """Each slice without what is narrower than 2 `steps` + 1 pixels along the rows or columns; outside is no mask."""
    return _grown(~_grown(~mask, steps, outside=True), steps, outside=False)


def _grown(mask: Mask, steps: int, *, outside: bool) -> Mask:
    """Every pixel with any of the mask at most `steps` rows and columns away, in its slice."""
    for axis in (1, 2):
        for _ in range(steps):
            wide = mask.copy()
            here, there = np.moveaxis(wide, axis, 0), np.moveaxis(mask, axis, 0)
            here[1:] |= there[:-1]
            here[:-1] |= there[1:]
            here[[0, -1]] |= outside
            mask = wide
    return mask


def most_enclosed(core: Mask, inside: Mask) -> Mask:
    """The connected part of `core` that has the most voxels inside bone.

    In a scan that ends within the head, lobes can be apart that would join in the slices above: parts that are all
    inside bone and reach the last slice are kept too.
    """
    parts, count = ndimage.label(core)
    enclosed_voxels = np.bincount(parts.ravel(), weights=inside.ravel(), minlength=count + 1)
    sizes = np.maximum(1, np.bincount(parts.ravel(), minlength=count + 1))
    enclosed_voxels[0] = 0
    best = int(enclosed_voxels.argmax())
    wanted = np.zeros(count + 1, dtype=bool)
    wanted[parts[-1]] = True
    wanted &= (enclosed_voxels > (1 - LEAK) * sizes) & (enclosed_voxels > LOBE * enclosed_voxels[best])
    wanted[best] = True
    wanted[0] = False
    kept: Mask = wanted[parts]
    return kept


def enclosed(bone: Mask) -> Mask:
    """Whether there is bone in front of, behind, left and right of each voxel, in its slice."""
    before = [np.maximum.accumulate(bone, axis=axis) for axis in (1, 2)]
    after = [np.flip(np.maximum.accumulate(np.flip(bone, axis), axis=axis), axis) for axis in (1, 2)]
    return before[0] & before[1] & after[0] & after[1]


def in_a_skull(brain: Mask, inside: Mask, pixel_mm2: float) -> bool:
    """Whether most of a mask has bone on all four sides, or a slice shows a closed skull.

    A flap of bone that is missing, or a field of view that ends within the head, takes a side from every voxel of the
    rows that it reaches; slices below it still show the skull. Without either it is a neck, a face or no head.
    """
    if not brain.any():
        return False
    if inside[brain].mean() >= MIN_ENCLOSED:
        return True
    area = brain.sum(axis=(1, 2)) * pixel_mm2
    return bool(np.any((area >= RING_MM2) & ((brain & inside).sum(axis=(1, 2)) * pixel_mm2 >= RING * area)))


def _with_vertex(brain: Mask, tissue: Mask) -> Mask:
    """Add the cap under the vertex, too flat to have a core: tissue inside bone above brain, slice by slice upwards."""
    brain = brain.copy()
    widest = int(brain.sum(axis=(1, 2)).argmax())
    for k in range(widest + 1, len(brain)):
        above = parts_touching((tissue | brain)[k], brain[k - 1] | brain[k])
        if above.sum() <= brain[k - 1].sum():
            brain[k] = above
    return brain


def _without_canal(brain: Mask, grid: WorkingGrid) -> Mask:
    """Cut the spinal canal off below the foramen magnum."""
    areas = brain.sum(axis=(1, 2)) * grid.spacing_mm[1] * grid.spacing_mm[2]
    large = np.flatnonzero(areas >= CANAL_MM2)
    if len(large):
        brain = brain.copy()
        brain[: large[0]] = False
    return brain


def _tidied(brain: Mask, hard: Mask, pixel_mm2: float) -> Mask:
    """Without large pieces of bone (the sella) and small islands; small holes (noise at the edge) filled."""
    brain = brain & ~without_islands(brain & hard, BONE_MM2 / pixel_mm2)
    brain = without_islands(brain, ISLAND_MM2 / pixel_mm2)
    return ~without_islands(~brain, HOLE_MM2 / pixel_mm2)


def _box(inside: Mask, grid: WorkingGrid) -> tuple[slice, slice, slice]:
    """All slices, and the rows and columns with anything enclosed, with a margin."""
    box = [slice(None)]
    for axis, other in ((1, (0, 2)), (2, (0, 1))):
        used = np.flatnonzero(inside.any(axis=other))
        margin = round(CROP_MM / grid.spacing_mm[axis])
        box.append(slice(max(0, used[0] - margin), used[-1] + margin + 1) if len(used) else slice(None))
    return box[0], box[1], box[2]
