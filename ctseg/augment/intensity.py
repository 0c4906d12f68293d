"""Contrast, bias field and noise: differences between scanners that pseudo-CT lacks.

A segmenter that never met them learns the look of the synthesis network (as in nnU-Net's default augmentation, Isensee
et al. 2021). Not in the paper. The background stays exactly -1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.augment.morphology import draw_knots, field_of
from ctseg.augment.slices import RANGE, Floats, brain_of, mean_within, per_slice, within_brain
from ctseg.networks.intensity import on_device


@dataclass(frozen=True, eq=False)
class Contrast:
    """By how much the grey values of each slice spread around its mean brain grey."""

    factor: Floats
    """(B,) 1 changes nothing."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, contrast: float) -> Contrast:
        """Draw for `count` slices, uniform in 1 +- `contrast`."""
        return cls(1.0 + rng.uniform(-contrast, contrast, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Spread the grey values of (B, 1, H, W) images; masks stay."""
        mean = mean_within(images, brain_of(images))
        return within_brain(images, mean + (images - mean) * per_slice(self.factor, images)), masks

    def describe(self) -> list[str]:
        """Say each slice's factor."""
        return [f"contrast x {factor:.2f}" for factor in self.factor]


@dataclass(frozen=True, eq=False)
class BiasField:
    """A slow change of grey over each slice: beam hardening at the skull base, coil sensitivity."""

    knots: NDArray[np.float32]
    """(B, 1, 4, 4) the field's values at its knots; only their ratios count."""
    peak: Floats
    """(B,) largest change within a slice, share of the intensity range."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, bias_field: float) -> BiasField:
        """Draw for `count` slices: knots normal, the peak uniform up to `bias_field`."""
        return cls(draw_knots(rng, count), rng.uniform(0.0, bias_field, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Add the field to the brain of (B, 1, H, W) images; masks stay."""
        return within_brain(images, images + self.field(images)), masks

    def field(self, images: Tensor) -> Tensor:
        """Return the field (B, 1, H, W) on the scale [-1, 1], whatever the images hold."""
        field = field_of(self.knots, images)
        largest = field.abs().amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
        return field / largest * per_slice(RANGE * self.peak, images)

    def describe(self) -> list[str]:
        """Say each slice's peak."""
        return [f"bias field up to {100 * peak:.1f} % of the range" for peak in self.peak]


@dataclass(frozen=True, eq=False)
class Noise:
    """Gaussian noise on each slice."""

    deviation: Floats
    """(B,) standard deviation, share of the intensity range."""
    seed: int
    """Of the noise itself, which is too large to keep; it is the same on every device."""
    first: int = 0
    """Where these slices lie in the batch that it was drawn for."""
    whole: int = 0
    """How many slices that batch has; 0: these."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, noise: float) -> Noise:
        """Draw for `count` slices, the deviation uniform up to `noise`."""
        return cls(rng.uniform(0.0, noise, count), int(rng.integers(2**63)))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Add noise to the brain of (B, 1, H, W) images; masks stay."""
        shape = (self.whole or len(images), *images.shape[1:])
        white = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))
        white = on_device(white[self.first : self.first + len(images)], images.device)
        return within_brain(images, images + white * per_slice(RANGE * self.deviation, images)), masks

    def part(self, rows: slice) -> Noise:
        """The noise of some slices of the batch."""
        return replace(
            self, deviation=self.deviation[rows], first=self.first + rows.start, whole=self.whole or len(self.deviation)
        )

    def describe(self) -> list[str]:
        """Say each slice's deviation."""
        return [f"noise of {100 * deviation:.1f} % of the range" for deviation in self.deviation]
