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

from ctseg.inference.measure import LARGE_ML
from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.lesions import component_ml, components
from ctseg.preprocess.grid import filled_box

LEAST_ML = LARGE_ML
"""Smaller lesions do not grow: many of them are no blood."""
LEAST_HU = 5.0
"""A lesion's median above the brain's; below it, half of it is noise."""
BOUNDS = (0.5, 2.0)
"""What a lesion grows into, as shares of its height above the brain around it and above all of the brain: what is
brighter is bone."""
AROUND_MM = (6.0, 14.0)
"""How far from a lesion the brain around it lies."""
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
        other lesion is nearer to, and whose smoothed HU are within the lesion's own `_limits`.
        """
        if self.reach_mm <= 0 or not mask.any():
            return mask
        numbers, count = components(mask)
        medians = labeled_comprehension(self.voxels, numbers, np.arange(1, count + 1), np.median, float, 0.0)
        grows = (component_ml(numbers, count, self.grid) >= LEAST_ML) & (medians >= self.brain_hu + LEAST_HU)
        growing = np.concatenate([[False], grows])[numbers].any(axis=(1, 2))
        near = {int(k): self._near(int(k), numbers[k]) for k in np.flatnonzero(growing)}
        limits = self._limits(list(near.values()), medians, grows)
        out = mask.copy()
        for k, part in near.items():
            out[k][part.box] = self._grown_slice(part, limits)
        return out

    @property
    def _spacing(self) -> tuple[float, float]:
        """Mm between rows and between columns."""
        return float(np.linalg.norm(self.grid.row_step_mm)), float(np.linalg.norm(self.grid.col_step_mm))

    def _near(self, k: int, numbers: NDArray[np.int32]) -> Near:
        """What lies near the lesions of one slice (H, W)."""
        margins = [int(max(self.reach_mm, AROUND_MM[1]) / mm) + 1 for mm in self._spacing]
        _, *part = filled_box(numbers[None] > 0, (0, *margins))
        box = (part[0], part[1])
        here = numbers[box]
        away_mm, nearest = distance_transform_edt(here == 0, sampling=self._spacing, return_indices=True)
        return Near(box, away_mm, here[tuple(nearest)], self.voxels[k][box], self.brain[k][box])

    def _limits(self, near: list[Near], medians: NDArray[np.float64], grows: Mask) -> NDArray[np.float64]:
        """(2, count + 1) least and largest HU that each lesion grows into, by its number.

        The brain around a lesion counts where it is brighter than all of the brain together, as cortex beside bone is:
        half way from there to the blood is higher.
        """
        limits = np.full((2, len(medians) + 1), np.inf)
        for number in np.flatnonzero(grows) + 1:
            around = np.concatenate([item.around(int(number)) for item in near])
            base = max(self.brain_hu, float(np.median(around))) if len(around) else self.brain_hu
            if medians[number - 1] > base:
                low, high = BOUNDS
                limits[0, number] = base + low * (medians[number - 1] - base)
                limits[1, number] = self.brain_hu + high * (medians[number - 1] - self.brain_hu)
        return limits

    def _grown_slice(self, near: Near, limits: NDArray[np.float64]) -> Mask:
        """The part of one slice's mask that `near` is about, whose rim is farther away than the Gaussian reaches."""
        hu = smoothed(near.voxels, near.brain, [SMOOTHING_MM / mm for mm in self._spacing])
        least, largest = limits[:, near.numbers]
        alike = near.brain & (hu >= least) & (hu <= largest) & (near.away_mm <= self.reach_mm)
        lesion = near.away_mm == 0
        return np.asarray(binary_propagation(lesion, mask=lesion | alike))


@dataclass(frozen=True)
class Near:
    """The pixels (h, w) near the lesions of one slice."""

    box: tuple[slice, slice]
    """Rows and columns of the slice."""
    away_mm: NDArray[np.float64]
    """From the nearest lesion, 0 within."""
    numbers: NDArray[np.int32]
    """Of the nearest lesion."""
    voxels: Floats
    """HU."""
    brain: Mask

    def around(self, number: int) -> Floats:
        """HU of the brain around a lesion."""
        low, high = AROUND_MM
        chosen = self.brain & (self.numbers == number) & (self.away_mm > low) & (self.away_mm < high)
        return np.asarray(self.voxels[chosen], dtype=np.float32)


def smoothed(pixels: Floats, brain: Mask, sigma: Sequence[float]) -> Floats:
    """(H, W) pixels, smoothed by a Gaussian that takes those of the brain alone; `sigma` is in pixels."""
    weight = gaussian_filter(brain.astype(np.float32), sigma, mode="constant")
    values = gaussian_filter(np.where(brain, pixels, np.float32(0)), sigma, mode="constant")
    return np.asarray(values / np.maximum(weight, np.float32(1e-6)), dtype=np.float32)
