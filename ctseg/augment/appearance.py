"""Stronger augmentation than the paper's flips and brightness: contrast, shading, noise, turns and sizes.

Heads lie turned in CT and pseudo-CT has neither a scanner's noise nor its contrast; a segmenter that never met them
learns the synthesis network's own look (method of nnU-Net's default augmentation, Isensee et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ctseg.augment.flips_and_brightness import BACKGROUND

SHADES = (4, 4)
"""Knots of the slow field over a slice: what changes within 6 cm is anatomy."""


@dataclass(frozen=True)
class Ranges:
    """How far each change may go; 0 leaves it out."""

    contrast: float = 0.0
    """Share by which grey values spread or draw together around the slice's mean brain grey."""
    noise: float = 0.0
    """Largest standard deviation of Gaussian noise, as a share of the intensity range."""
    bias_field: float = 0.0
    """Largest slow change of grey over a slice, as a share of the intensity range: beam hardening at the skull base."""
    rotation_deg: float = 0.0
    zoom: float = 0.0
    """Share by which the head is made larger or smaller."""


def change_grey(images: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """Contrast, shading and noise on (B, 1, H, W) slices in [-1, 1]; the background stays exactly -1."""
    brain = images > BACKGROUND
    found = images
    if ranges.contrast:
        factor = _column(1.0 + rng.uniform(-ranges.contrast, ranges.contrast, len(images)), images)
        mean = (images * brain).sum(dim=(2, 3), keepdim=True) / brain.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        found = mean + (found - mean) * factor
    if ranges.bias_field:
        found = found + shades(images, ranges.bias_field, rng)
    if ranges.noise:
        deviation = _column(2.0 * rng.uniform(0.0, ranges.noise, len(images)), images)
        drawn = torch.from_numpy(rng.standard_normal(tuple(images.shape), dtype=np.float32)).to(images.device)
        found = found + deviation * drawn
    return torch.where(brain, found.clamp(BACKGROUND, 1.0), images)


def shades(images: Tensor, largest: float, rng: np.random.Generator) -> Tensor:
    """(B, 1, H, W) slow fields around 0, none larger than `largest` of the intensity range (2 wide)."""
    coarse = torch.from_numpy(rng.standard_normal((len(images), 1, *SHADES), dtype=np.float32)).to(images.device)
    field = functional.interpolate(coarse, images.shape[2:], mode="bicubic", align_corners=True)
    peak = field.abs().amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    return field / peak * _column(2.0 * rng.uniform(0.0, largest, len(images)), images)


def change_place(images: Tensor, masks: Tensor, ranges: Ranges, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Turn and scale (B, 1, H, W) slices and their masks about the centre.

    The brain's edge is kept sharp: a pixel that mixes brain and background becomes background if more than half of it
    is.
    """
    if not (ranges.rotation_deg or ranges.zoom):
        return images, masks
    grid = _grid(images, ranges, rng)
    brain = (images > BACKGROUND).float()
    sampled = functional.grid_sample(torch.cat([(images - BACKGROUND) * brain, brain, masks], 1), grid,
                                     align_corners=False)  # fmt: skip
    inside = sampled[:, 1:2] >= 0.5
    grey = BACKGROUND + sampled[:, :1] / sampled[:, 1:2].clamp(min=0.5)
    return torch.where(inside, grey.clamp(max=1.0), torch.full_like(grey, BACKGROUND)), (sampled[:, 2:] >= 0.5).float()


def _grid(images: Tensor, ranges: Ranges, rng: np.random.Generator) -> Tensor:
    """(B, H, W, 2) where each pixel of the turned slice comes from."""
    angle = np.radians(rng.uniform(-ranges.rotation_deg, ranges.rotation_deg, len(images)))
    factor = 1.0 / (1.0 + rng.uniform(-ranges.zoom, ranges.zoom, len(images)))
    aspect = images.shape[2] / images.shape[3]  # grid coordinates run from -1 to 1 over either side
    cos, sin, none = np.cos(angle) * factor, np.sin(angle) * factor, np.zeros(len(images))
    matrix = np.stack([np.stack([cos, -sin * aspect, none], -1), np.stack([sin / aspect, cos, none], -1)], 1)
    theta = torch.from_numpy(matrix.astype(np.float32)).to(images.device)
    return functional.affine_grid(theta, list(images.shape), align_corners=False)


def _column(values: NDArray[np.float64], images: Tensor) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(images.device)[:, None, None, None]
