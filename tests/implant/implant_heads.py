"""Heads of known anatomy: an ellipsoid of brain with ventricles in a skull, at any pixel size, step and tilt."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ctseg.io.stack import Grid, Mask
from ctseg.phantom.fields import Floats

BRAIN_MM = (66.0, 82.0, 58.0)
"""Half axes of the brain: x, y, z."""
BRAIN_HU, CSF_HU, BONE_HU = 33.0, 8.0, 900.0


@lru_cache(maxsize=4)
def make_head(
    pixel_mm: float = 1.0, step_mm: float = 5.0, tilt_deg: float = 0.0, noise_hu: float = 3.0
) -> tuple[Floats, Grid, Mask, Mask]:
    """HU (K, h, w), grid, brain mask and ventricle mask."""
    count, size = round(130 / step_mm), round(200 / pixel_mm)
    tilt = np.deg2rad(tilt_deg)
    down = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    origins = np.zeros((count, 3))
    origins[:, 2] = (np.arange(count) - (count - 1) / 2) * step_mm
    origins -= (size - 1) / 2 * pixel_mm * (np.array([1.0, 0, 0]) + down)
    slab = np.full(count, step_mm * np.cos(tilt))
    grid = Grid(origins, down * pixel_mm, np.array([pixel_mm, 0.0, 0.0]), slab)
    points = grid.points_mm(np.ones((count, size, size), dtype=bool)).reshape(count, size, size, 3)
    radius = np.linalg.norm(points / BRAIN_MM, axis=-1)
    brain = radius < 1
    sides = np.abs(points[..., 0]) - 12
    ventricle = (np.linalg.norm(np.stack([sides, points[..., 1], points[..., 2]], -1) / (8, 30, 12), axis=-1)) < 1
    hu = np.where(brain, np.where(ventricle, CSF_HU, BRAIN_HU), np.where(radius < 1.12, BONE_HU, -1000.0))
    noise = np.random.default_rng(1).normal(0, noise_hu, hu.shape)
    return (hu + noise).astype(np.float32), grid, brain, ventricle
