"""Faults planted in a good head CT: what out-of-distribution flags have to tell from normal scans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume

Fault = Callable[[np.random.Generator, Volume, Mask], Volume]
AIR_HU = -1000.0


def wrong_hu(rng: np.random.Generator, volume: Volume, _: Mask) -> Volume:
    """Lose an offset of 15 to 40 HU, or a slope of 0.6 to 1.5, as wrong rescale tags do."""
    if rng.random() < 0.5:
        return _with(volume, volume.voxels + float(rng.choice([-1, 1]) * rng.uniform(15, 40)))
    slope = float(rng.choice([rng.uniform(0.55, 0.75), rng.uniform(1.3, 1.6)]))
    return _with(volume, slope * volume.voxels)


def contrast_medium(rng: np.random.Generator, volume: Volume, brain: Mask) -> Volume:
    """Iodine: parenchyma 3 to 8 HU brighter, vessels of 4 % of the brain 60 to 150 HU brighter."""
    field = ndimage.gaussian_filter(rng.standard_normal(volume.voxels.shape), (0.7, 4.0, 4.0))
    vessels = brain & (np.abs(field) < np.quantile(np.abs(field[brain]), 0.04))
    added = rng.uniform(3, 8) * brain + rng.uniform(60, 150) * ndimage.gaussian_filter(vessels.astype(float), 0.7)
    return _with(volume, volume.voxels + added * brain)


def faint_contrast(rng: np.random.Generator, volume: Volume, brain: Mask) -> Volume:
    """Iodine as in routine scans after contrast medium: vessels in the fluid spaces, next to nothing in the tissue.

    Whole brain slices hardly get brighter, grey matter by about 3 HU more than white (Kalvach and Jirout,
    Neuroradiology 1983;25:29). Vessels of 1.5 % of the brain lie in fluid and within 2 mm of it, 60 to 150 HU brighter.
    """
    row_mm, column_mm = volume.spacing_mm
    smooth = ndimage.gaussian_filter(volume.voxels, (0.0, 1.0 / row_mm, 1.0 / column_mm))
    middle = float(np.median(smooth[brain]))
    fluid = brain & (smooth < middle - 10.0)
    widths = [round(2.0 / mm) for mm in volume.spacing_mm]
    near = brain & ndimage.maximum_filter(fluid, (1, *(2 * width + 1 for width in widths)))
    field = np.abs(ndimage.gaussian_filter(rng.standard_normal(volume.voxels.shape), (0.7, 4.0, 4.0)))
    share = min(0.015 * int(brain.sum()) / max(int(near.sum()), 1), 1.0)
    vessels = near & (field < np.quantile(field[near], share)) if near.any() else near
    grey = np.clip((np.asarray(smooth, dtype=np.float64) - middle + 4.0) / 8.0, 0.0, 1.0) * ~fluid
    added = rng.uniform(2, 4) * grey + rng.uniform(60, 150) * ndimage.gaussian_filter(vessels.astype(float), 0.7)
    return _with(volume, volume.voxels + added * brain)


def mr(rng: np.random.Generator, volume: Volume, _: Mask) -> Volume:
    """An MR that is stored as CT: fluid bright, white matter darker than grey, bone dark, no air below 0."""
    hu = np.clip(volume.voxels, -20, 80)
    signal = np.where(volume.voxels > 100, 5.0, 90.0 - rng.uniform(1.0, 1.6) * hu)
    return _with(volume, np.where(volume.voxels < -200, 0.0, signal))


def neck_only(_: np.random.Generator, volume: Volume, __: Mask) -> Volume:
    """The lowest slices: skull base and neck."""
    return _slices(volume, 0, max(4, len(volume.voxels) // 5))


def cut_head(rng: np.random.Generator, volume: Volume, brain: Mask) -> Volume:
    """The scan ends within the brain: 30 to 50 % of its slices are missing above or below."""
    slices = np.flatnonzero(brain.any(axis=(1, 2)))
    missing = int(rng.uniform(0.3, 0.5) * len(slices))
    if rng.random() < 0.5:
        return _slices(volume, 0, int(slices[-1]) + 1 - missing)
    return _slices(volume, int(slices[0]) + missing, len(volume.voxels))


def motion(rng: np.random.Generator, volume: Volume, _: Mask) -> Volume:
    """The head moves between slices, 3 to 6 mm in each direction, and blurs."""
    spread = rng.uniform(3, 6) / np.array(volume.spacing_mm)
    moved = [
        ndimage.shift(ndimage.gaussian_filter(image, 0.8), rng.normal(0, spread), order=1, cval=AIR_HU)
        for image in volume.voxels
    ]
    return _with(volume, np.stack(moved))


def childs_head(rng: np.random.Generator, volume: Volume, _: Mask) -> Volume:
    """A head of 0.65 to 0.78 of the size: an infant's."""
    size = float(rng.uniform(0.65, 0.78))
    return replace(
        volume, origins_mm=volume.origins_mm * size, row_step_mm=volume.row_step_mm * size,
        col_step_mm=volume.col_step_mm * size,
    )  # fmt: skip


FAULTS: dict[str, Fault] = {
    "wrong HU": wrong_hu, "contrast medium": contrast_medium, "MR": mr, "neck only": neck_only,
    "cut head": cut_head, "motion": motion, "child's head": childs_head,
    "contrast in vessels alone": faint_contrast,
}  # fmt: skip
"""By name."""


def _with(volume: Volume, voxels: NDArray[np.float64] | NDArray[np.float32]) -> Volume:
    return replace(volume, voxels=voxels.astype(np.float32))


def _slices(volume: Volume, first: int, end: int) -> Volume:
    part = slice(first, max(end, first + 1))
    return replace(
        volume, voxels=volume.voxels[part], origins_mm=volume.origins_mm[part], slice_ids=volume.slice_ids[part]
    )
