"""Growth of lesions to half their height above the brain.

A network that was trained to leave the brain beside bone alone leaves blood there alone, too. What touches a lesion and
is nearer in HU to its blood than to the brain is taken to be blood. Half of the maximum is also where readers of CT and
the references of most data sets draw the outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_propagation, distance_transform_edt, gaussian_filter, labeled_comprehension

from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.lesions import component_ml, components
from ctseg.preprocess.grid import filled_box

LEAST_ML = 0.5
"""Smaller lesions do not grow: most of them are no blood in a scan without a bleed."""
LEAST_HU = 5.0
"""A lesion's median above the brain's; below it, half of it is noise."""
BOUNDS = (0.5, 2.0)
"""What a lesion grows into, as shares of its height above the brain: what is brighter is bone."""
SMOOTHING_MM = 0.7
"""Standard deviation of the Gaussian, within the brain of each slice, that takes noise away before."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class HalfMaximum:
    """A scan, or a part of it, in which lesions can grow."""

    voxels: Floats
    """(K, H, W) HU."""
    brain: Mask
    """(K, H, W) what lesions may grow into."""
    grid: Grid
    """Where the voxels lie."""
    brain_hu: float
    """The median of the whole brain."""
    reach_mm: float
    """How far from the lesion, within its slices; 0: nothing grows."""

    @classmethod
    def of(cls, volume: Volume, brain: Mask, reach_mm: float) -> HalfMaximum:
        """A whole scan, given its brain mask (K, H, W)."""
        middle = float(np.median(volume.voxels[brain])) if reach_mm > 0 and brain.any() else 0.0
        return cls(volume.voxels, brain, Grid.of(volume), middle, reach_mm)

    def within(self, box: tuple[slice, slice, slice]) -> HalfMaximum:
        """Some rows and columns of all slices."""
        return replace(self, voxels=self.voxels[box], brain=self.brain[box])

    def grown(self, mask: Mask) -> Mask:
        """The mask (K, H, W) with its lesions grown; it holds every voxel that it held before.

        A lesion grows within each of its slices: into connected pixels that are not farther than `reach_mm`, that no
        other lesion is nearer to, and whose smoothed height above the brain is within `BOUNDS` of the lesion's own.
        """
        if self.reach_mm <= 0 or not mask.any():
            return mask
        numbers, count = components(mask)
        heights = self._heights(numbers, count)
        out = mask.copy()
        for k in np.flatnonzero(heights[numbers].any(axis=(1, 2))):
            out[k] = self._grown_slice(int(k), numbers[k], heights)
        return out

    def _heights(self, numbers: NDArray[np.int32], count: int) -> NDArray[np.float64]:
        """(count + 1,) HU of each lesion's median above the brain's, by its number; 0: it does not grow."""
        medians = labeled_comprehension(self.voxels, numbers, np.arange(1, count + 1), np.median, float, 0.0)
        heights = medians - self.brain_hu
        grows = (component_ml(numbers, count, self.grid) >= LEAST_ML) & (heights >= LEAST_HU)
        return np.concatenate([[0.0], np.where(grows, heights, 0.0)])

    def _grown_slice(self, k: int, numbers: NDArray[np.int32], heights: NDArray[np.float64]) -> Mask:
        """One slice (H, W) of the mask, given the lesions' numbers in it."""
        spacing = [float(np.linalg.norm(step)) for step in (self.grid.row_step_mm, self.grid.col_step_mm)]
        margins = [int(self.reach_mm / mm) + 1 for mm in spacing]
        _, *part = filled_box(numbers[None] > 0, (0, *margins))
        box = (part[0], part[1])
        here = numbers[box]
        away_mm, nearest = distance_transform_edt(here == 0, sampling=spacing, return_indices=True)
        height = heights[here[tuple(nearest)]]
        above = smoothed(self.voxels[k], self.brain[k], [SMOOTHING_MM / mm for mm in spacing])[box] - self.brain_hu
        low, high = BOUNDS
        alike = (height > 0) & (above >= low * height) & (above <= high * height) & (away_mm <= self.reach_mm)
        lesion: Mask = numbers > 0
        lesion[box] = binary_propagation(here > 0, mask=(here > 0) | (alike & self.brain[k][box]))
        return lesion


def smoothed(pixels: Floats, brain: Mask, sigma: Sequence[float]) -> Floats:
    """(H, W) pixels, smoothed by a Gaussian that takes those of the brain alone; `sigma` is in pixels."""
    weight = gaussian_filter(brain.astype(np.float32), sigma, mode="constant")
    values = gaussian_filter(np.where(brain, pixels, np.float32(0)), sigma, mode="constant")
    return np.asarray(values / np.maximum(weight, np.float32(1e-6)), dtype=np.float32)
