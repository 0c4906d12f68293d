"""Mirror slices left-right and front-back (paper 4.3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctseg.augment.slices import Bools, per_slice


@dataclass(frozen=True, eq=False)
class Flips:
    """Which slices of a batch are mirrored."""

    left_right: Bools
    """(B,) along the last axis."""
    front_back: Bools
    """(B,) along the second last axis."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, probability: float) -> Flips:
        """Draw for `count` slices: either mirror with `probability`, one apart from the other."""
        flips = rng.random((2, count)) < probability
        return cls(flips[0], flips[1])

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Mirror (B, 1, H, W) images and masks; its own inverse."""
        return self.mirror(images), self.mirror(masks)

    def mirror(self, images: Tensor) -> Tensor:
        """Mirror (B, 1, H, W) images alone."""
        images = torch.where(per_slice(self.left_right, images), images.flip(-1), images)
        return torch.where(per_slice(self.front_back, images), images.flip(-2), images)

    def describe(self) -> list[str]:
        """Say which mirrors each slice gets."""
        names = (("left-right", self.left_right), ("front-back", self.front_back))
        count = len(self.left_right)
        chosen = [[name for name, drawn in names if drawn[place]] for place in range(count)]
        return [f"mirrored {' and '.join(names)}" if names else "" for names in chosen]
