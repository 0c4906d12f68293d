"""Rotation and zoom about the centre of a slice: heads on CT are rotated and differ in size. Not in the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ctseg.augment.slices import BACKGROUND, Floats, brain_of
from ctseg.networks.intensity import on_device


@dataclass(frozen=True, eq=False)
class Affine:
    """How far each slice is turned and enlarged."""

    rotation_deg: Floats
    """(B,)"""
    zoom: Floats
    """(B,) above 1 enlarges."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, rotation_deg: float, zoom: float) -> Affine:
        """Draw for `count` slices: rotation uniform in +- `rotation_deg`, zoom uniform in 1 +- `zoom`."""
        return cls(rng.uniform(-rotation_deg, rotation_deg, count), 1.0 + rng.uniform(-zoom, zoom, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Move (B, 1, H, W) images and their masks together.

        The brain's edge stays sharp: a pixel that mixes brain and background becomes background if more than half of
        it is.
        """
        grid = self._grid(images)
        brain = brain_of(images).float()
        stacked = torch.cat([(images - BACKGROUND) * brain, brain, masks], 1)
        sampled = functional.grid_sample(stacked, grid, align_corners=False)
        inside = sampled[:, 1:2] >= 0.5
        grey = BACKGROUND + sampled[:, :1] / sampled[:, 1:2].clamp(min=0.5)
        moved = torch.where(inside, grey.clamp(max=1.0), torch.full_like(grey, BACKGROUND))
        return moved, (sampled[:, 2:] >= 0.5).float()

    def _grid(self, images: Tensor) -> Tensor:
        """Return where each pixel of the moved slice comes from, (B, H, W, 2)."""
        angle, factor = np.radians(self.rotation_deg), 1.0 / self.zoom
        aspect = images.shape[2] / images.shape[3]  # grid coordinates run from -1 to 1 over either side
        cos, sin, none = np.cos(angle) * factor, np.sin(angle) * factor, np.zeros(len(images))
        matrix = np.stack([np.stack([cos, -sin * aspect, none], -1), np.stack([sin / aspect, cos, none], -1)], 1)
        theta = on_device(torch.from_numpy(matrix.astype(np.float32)), images.device)
        return functional.affine_grid(theta, list(images.shape), align_corners=False)

    def describe(self) -> list[str]:
        """Say each slice's rotation and zoom."""
        pairs = zip(self.rotation_deg, self.zoom, strict=True)
        return [f"rotated {angle:+.0f} degrees, zoom x {zoom:.2f}" for angle, zoom in pairs]
