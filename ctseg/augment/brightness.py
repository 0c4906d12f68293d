"""Brightness in its two meanings: a factor on grey values, and a shift of them.

"Increasing or decreasing the brightness by 0.2" (paper 4.3.3) is the factor: the released code uses torchvision's
brightness, which multiplies grey values from 0 to 255. The shift is what a scanner's calibration does to CT.
Neither lights up the background: that would mark augmented slices, all of which are source, for the discriminator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctseg.augment.slices import BACKGROUND, RANGE, Floats, brain_of, per_slice


@dataclass(frozen=True, eq=False)
class BrightnessFactor:
    """What the grey values of each slice are multiplied by, on the scale 0 to 255 whose 0 is background."""

    factor: Floats
    """(B,) above 0."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, brightness: float) -> BrightnessFactor:
        """Draw for `count` slices, uniform in 1 +- `brightness`."""
        return cls(1.0 + rng.uniform(-brightness, brightness, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply (B, 1, H, W) images, clipped to 1 (255); the background stays exactly -1, masks stay."""
        scaled = (images - BACKGROUND) * per_slice(self.factor, images) + BACKGROUND
        return scaled.clamp(max=1.0), masks

    def describe(self) -> list[str]:
        """Say each slice's factor."""
        return [f"grey x {factor:.2f}" for factor in self.factor]


@dataclass(frozen=True, eq=False)
class BrightnessShift:
    """What is added to the grey values of each slice."""

    shift: Floats
    """(B,) share of the intensity range; 0.05 is 5 HU on slices of 0 to 100 HU."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, brightness_shift: float) -> BrightnessShift:
        """Draw for `count` slices, uniform in +- `brightness_shift`."""
        return cls(rng.uniform(-brightness_shift, brightness_shift, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Shift the brain of (B, 1, H, W) images, clipped to [-1, 1]; background and masks stay."""
        shifted = (images + RANGE * per_slice(self.shift, images)).clamp(BACKGROUND, 1.0)
        return torch.where(brain_of(images), shifted, images), masks

    def describe(self) -> list[str]:
        """Say each slice's shift."""
        return [f"grey {100 * shift:+.1f} % of the range" for shift in self.shift]
