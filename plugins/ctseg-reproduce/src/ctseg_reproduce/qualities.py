"""Phantom scans made worse in known ways: noise, blur, motion, thick slices, metal, calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.phantom.ct_physics import beam_hardening, kernel_noise

Hu = NDArray[np.float32]

AS_IT_IS = 0.2
"""Share of scans that stay as they are."""
NOISE_HU = (4.0, 30.0)
"""SD of added noise: low-dose and portable scanners, large patients (5 mm slices of routine head CT: 3 to 4)."""
BLUR_MM = (0.8, 2.5)
"""SD of a softer kernel."""
MOTION_MM = (2.0, 9.0)
"""Distance by which a part of the projections of a slice sees the head moved."""
THICK = (2, 3)
"""Neighbouring slices that are averaged to one."""
METAL_MM = 7.0
"""Radius of a metal object; coils, clips and fillings are of this order."""
METAL_TIMES = (1.5, 4.0)
"""Beam hardening of metal against that of bone of the same size."""
CALIBRATION_HU = (-6.0, 6.0)
LOW_PIXEL_MM = 3.5
"""Of the slices that beam hardening is computed on."""
METAL_HU = 3000.0


@dataclass(frozen=True)
class Quality:
    """What is done to one scan; 0 or 1 does nothing."""

    noise_hu: float = 0.0
    blur_mm: float = 0.0
    motion_mm: float = 0.0
    thick: int = 1
    metal: float = 0.0
    calibration_hu: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Quality:
        """One or two faults, or none."""
        chosen = rng.permutation(5)[: 0 if rng.random() < AS_IT_IS else int(rng.integers(1, 3))]
        values: dict[str, Any] = {"calibration_hu": round(float(rng.uniform(*CALIBRATION_HU)), 1)}
        drawn: dict[str, Any] = {
            "noise_hu": round(float(np.exp(rng.uniform(*np.log(NOISE_HU)))), 1),
            "blur_mm": round(float(rng.uniform(*BLUR_MM)), 1),
            "motion_mm": round(float(rng.uniform(*MOTION_MM)), 1),
            "thick": int(rng.integers(THICK[0], THICK[1] + 1)),
            "metal": round(float(rng.uniform(*METAL_TIMES)), 1),
        }
        names = list(drawn)
        return cls(**values, **{names[n]: drawn[names[n]] for n in chosen})


def degrade(
    volume: Volume, masks: tuple[Mask, ...], quality: Quality, rng: np.random.Generator
) -> tuple[Volume, tuple[Mask, ...]]:
    """A scan made worse, and masks on its new grid.

    Motion, metal and noise are added to slices as scanned; then slices are averaged to thicker ones.
    """
    hu: NDArray[Any] = volume.voxels.astype(np.float32)
    pixel = volume.spacing_mm[0]
    if quality.metal:
        hu = hu + _metal(hu, pixel, quality.metal, rng)
    if quality.motion_mm:
        hu = _moved(hu, pixel, quality.motion_mm, rng)
    if quality.blur_mm:
        sigma = quality.blur_mm / pixel
        hu = np.asarray(ndimage.gaussian_filter(hu, (0, sigma, sigma)), dtype=np.float32)
    if quality.noise_hu:
        shape = hu.shape[0], hu.shape[1], hu.shape[2]
        hu = hu + np.float32(quality.noise_hu) * kernel_noise(rng, shape, pixel)
    hu = np.clip(hu + np.float32(quality.calibration_hu), -1024, 3071)
    new = volume.with_voxels(hu)
    return (new, masks) if quality.thick == 1 else _thick(new, masks, quality.thick)


def _thick(volume: Volume, masks: tuple[Mask, ...], count: int) -> tuple[Volume, tuple[Mask, ...]]:
    """Each `count` neighbouring slices become one; a voxel belongs to a mask that fills half of it.

    At exactly half the first slice decides, so that masks become neither larger nor smaller on average.
    """
    whole = len(volume.voxels) // count * count

    def mean(values: Any) -> Any:
        return values[:whole].reshape(-1, count, *values.shape[1:]).mean(axis=1)

    new = replace(
        volume, voxels=mean(volume.voxels).astype(np.float32), origins_mm=mean(volume.origins_mm), slice_ids=(),
        slice_keys=(), frames=(), labels=None,
    )  # fmt: skip
    weights = np.ones(count, dtype=np.float32)
    weights[0] += 0.01
    stacks = [mask[:whole].reshape(-1, count, *mask.shape[1:]) for mask in masks]
    return new, tuple(np.einsum("c,kchw->khw", weights, stack) > weights.sum() / 2 for stack in stacks)


def _moved(hu: Hu, pixel: float, motion_mm: float, rng: np.random.Generator) -> Hu:
    """Each slice is a mean of the head at rest and the head moved, in a direction of its own."""
    moved = np.empty_like(hu)
    for k, picture in enumerate(hu):
        angle, part = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.5)
        step = rng.uniform(0.3, 1.0) * motion_mm / pixel
        shifted = ndimage.shift(picture, (step * np.sin(angle), step * np.cos(angle)), order=1, mode="nearest")
        moved[k] = (1 - part) * picture + part * shifted
    return moved


def _metal(hu: Hu, pixel: float, times: float, rng: np.random.Generator) -> Hu:
    """Streaks of a metal object at the skull or in the brain, through a third of the slices."""
    block = max(1, round(LOW_PIXEL_MM / pixel))
    size = hu.shape[1] // block
    count = max(3, len(hu) // 3)
    first = int(rng.integers(0, len(hu) - count + 1))
    part = hu[first : first + count, : size * block, : size * block]
    low = part.reshape(count, size, block, size, block).mean(axis=(2, 4))
    inside = np.argwhere(low[count // 2] > -100)
    row, column = inside[int(rng.integers(len(inside)))]
    rows, columns = np.ogrid[:size, :size]
    disc = (rows - row) ** 2 + (columns - column) ** 2 <= (METAL_MM / (block * pixel)) ** 2
    with_metal = np.where(disc, np.float32(METAL_HU), low)
    streaks = beam_hardening(with_metal, block * pixel, 1.0)[0] - beam_hardening(low, block * pixel, 1.0)[0]
    change = np.zeros_like(hu)
    grown = ndimage.zoom(times * streaks, (1, block, block), order=1, grid_mode=True, mode="nearest")
    grown += np.kron(disc, np.ones((block, block))) * METAL_HU
    change[first : first + count, : size * block, : size * block] = grown
    return change
