"""Smooth fields in space: template maps, random noise and displacements, all sampled at points in mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[Any]
"""Arrays of float32, by convention: half the memory, twice the speed."""
Mm = tuple[float, float, float]
PART = 100_000
"""Points that are sampled at a time, so that they stay in the cache."""


@dataclass(frozen=True)
class Field:
    """Channels on a regular grid of axes (z, y, x) in RAS mm."""

    values: torch.Tensor
    """(C, Z, Y, X) float32."""
    origin_mm: Mm
    """(x, y, z) of voxel [0, 0, 0]."""
    step_mm: float

    @classmethod
    def of(cls, values: NDArray[Any], origin_mm: Mm, step_mm: float) -> Field:
        """Field of an array (C, Z, Y, X); in memory the channels of a voxel lie side by side, as they are sampled."""
        beside = np.ascontiguousarray(np.moveaxis(values, 0, -1), dtype=np.float32)
        return cls(torch.from_numpy(beside).permute(3, 0, 1, 2), origin_mm, step_mm)

    def at(self, points: Floats) -> Floats:
        """Trilinear values (C, D, H, W) at `points` (D, H, W, 3) in mm; the border value holds outside."""
        sizes = np.array(self.values.shape[:0:-1], dtype=np.float32)
        scale = (2.0 / (self.step_mm * np.maximum(sizes - 1, 1))).astype(np.float32)
        shift = (-np.array(self.origin_mm, dtype=np.float32) * scale - 1).astype(np.float32)
        sampled = np.empty((len(self.values), *points.shape[:-1]), dtype=np.float32)
        deep = max(1, PART // (points.shape[1] * points.shape[2]))
        for start in range(0, len(points), deep):
            grid = torch.from_numpy(_stretched(points[start : start + deep], scale, shift))
            part = torch.nn.functional.grid_sample(
                self.values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
            )
            sampled[:, start : start + deep] = part[0]
        return sampled

    def points(self) -> Floats:
        """(Z, Y, X, 3) positions of the field's own voxels."""
        return grid_points(self.origin_mm, self.step_mm, tuple(self.values.shape[:0:-1]))


def _stretched(points: Floats, scale: Floats, shift: Floats) -> Floats:
    """Points (D, H, W, 3) times a scale and shifted; row by row, since a loop over three numbers alone is slow."""
    rows = np.ascontiguousarray(points).reshape(-1, 3 * points.shape[2])
    stretched: Floats = rows * np.tile(scale, points.shape[2])
    stretched += np.tile(shift, points.shape[2])
    return stretched.reshape(points.shape)


def f32(values: Any) -> Floats:
    """Values as a float32 array."""
    return np.asarray(values, dtype=np.float32)


def grid_points(origin_mm: Mm, step_mm: float, sizes: tuple[int, ...]) -> Floats:
    """(Z, Y, X, 3) positions of a regular grid of `sizes` (x, y, z)."""
    x, y, z = (f32(o) + f32(step_mm) * np.arange(n, dtype=np.float32) for o, n in zip(origin_mm, sizes, strict=True))
    grid = np.empty((len(z), len(y), len(x), 3), dtype=np.float32)
    grid[..., 0], grid[..., 1], grid[..., 2] = x, y[:, None], z[:, None, None]
    return grid


def noise(
    rng: np.random.Generator, scale_mm: float, low_mm: Mm, high_mm: Mm, channels: int = 1, oversample: int = 2
) -> Field:
    """Gaussian random field of unit variance, correlated over about `scale_mm`, covering a box.

    White noise on a grid of `scale_mm / oversample`, smoothed with a Gaussian of half the scale, so that trilinear
    sampling shows no creases.
    """
    step = scale_mm / oversample
    sizes = [int(np.ceil((high - low) / step)) + 2 for low, high in zip(low_mm, high_mm, strict=True)]
    white = rng.standard_normal((channels, *sizes[::-1]), dtype=np.float32)
    smooth = np.stack([ndimage.gaussian_filter(channel, 0.5 * oversample, mode="wrap") for channel in white])
    return Field.of(smooth / max(float(smooth.std()), 1e-6), low_mm, step)


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, a smooth S between; `low > high` falls instead."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    smooth: Floats = (t * t * (3 - 2 * t)).astype(np.float32)
    return smooth


def edge(depth_mm: Floats, width_mm: float = 1.0) -> Floats:
    """Coverage 0..1 of a voxel whose centre lies `depth_mm` inside a surface: the partial volume of one voxel."""
    return np.clip(depth_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)


def norm(vectors: Floats) -> Floats:
    """Lengths of vectors on the last axis."""
    lengths: Floats = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return lengths
