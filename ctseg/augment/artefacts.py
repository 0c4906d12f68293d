"""What bone does to the brain beside it on CT: a mask that ends early, bright edges, bright ends of the head, streaks.

Phantoms have fluid under their skull and little of this; a segmenter that learnt them for long takes brain beside bone
for blood. Nothing here needs a label or looks at a scan: all of it follows from slices of several mm that meet slanting
bone, and from beam hardening. Labels stay where they are, but for what a mask that ends early cuts off. Not in the
paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.augment.morphology import distance_to_outside, draw_knots, field_of, gaussian_blur
from ctseg.augment.slices import BACKGROUND, RANGE, Floats, brain_of, per_slice, within_brain

REACH = (0.007, 0.07)
"""How far bone brightens brain, share of the width: 1.5 to 15 mm at 216 mm. A slice of 5 mm holds a share of bone that
falls over 5 mm where the skull is slanted by 45 degrees, and over 14 mm where it is by 20, as near the vertex."""
REACHES = 3.0
"""Beyond so many reaches nothing is added."""
FAINT = math.exp(-REACHES)
"""Share of the peak that is taken off everywhere, so that the fall ends at 0."""
SMALL_BRAIN = 0.12
"""Slices whose brain takes up less of the picture than this are near the vertex or in the skull base: 56 cm2 at
216 mm, a third of the largest slice of an adult."""
STREAKED = 0.3
"""Share of the slices that get streaks."""
STREAK_WAVE = (0.05, 0.3)
"""Wavelength of streaks, share of the width: 11 to 65 mm at 216 mm, for bands of 5 to 30 mm, as between the petrous
bones."""
STREAK_SPREAD = (0.02, 0.1)
"""Standard deviation of the band that streaks lie in, share of the width: few bands lie beside each other."""
SHARPNESS_PX = 0.8
"""Width of the Gaussian whose difference from the slice is taken away or added, pixels."""


@dataclass(frozen=True, eq=False)
class EdgeErosion:
    """How much of the brain's edge a mask leaves out, deeper here than there."""

    depth: Floats
    """(B,) largest depth, share of the slice's width."""
    knots: NDArray[np.float32]
    """(B, 1, 4, 4) where it is deep; only their order counts."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, edge_erosion: float) -> EdgeErosion:
        """Draw for `count` slices, the depth uniform up to `edge_erosion`."""
        return cls(rng.uniform(0.0, edge_erosion, count), draw_knots(rng, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Make background of the edge of (B, 1, H, W) images; the masks end there, too."""
        brain = brain_of(images)
        pixels = self.depth * images.shape[-1]
        distance = distance_to_outside(brain, max(1, math.ceil(pixels.max(initial=0.0))))
        kept = brain & (distance > per_slice(pixels, images) * _share(self.knots, images))
        return torch.where(kept, images, torch.full_like(images, BACKGROUND)), masks * kept

    def describe(self) -> list[str]:
        """Say each slice's depth."""
        return [f"edge cut by up to {100 * depth:.1f} % of the width" for depth in self.depth]


@dataclass(frozen=True, eq=False)
class EdgeBrightening:
    """Brain that gets brighter towards the bone: partial volume and beam hardening."""

    peak: Floats
    """(B,) what is added at the edge, share of the intensity range."""
    reach: Floats
    """(B,) distance over which it falls to 1 / e, share of the slice's width."""
    knots: NDArray[np.float32]
    """(B, 1, 4, 4) where it is strong; only their order counts."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, edge_brightening: float) -> EdgeBrightening:
        """Draw for `count` slices: the peak uniform up to `edge_brightening`, the reach log-uniform in `REACH`."""
        reach = np.exp(rng.uniform(math.log(REACH[0]), math.log(REACH[1]), count))
        return cls(rng.uniform(0.0, edge_brightening, count), reach, draw_knots(rng, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Brighten the edge of the brain of (B, 1, H, W) images; masks stay."""
        reach = self.reach * images.shape[-1]
        limit = math.ceil(REACHES * reach.max(initial=0.0)) + 1
        distance = distance_to_outside(brain_of(images), limit) - 0.5  # of a pixel's middle from the edge
        fall = (torch.exp(-distance / per_slice(reach, images)) - FAINT).clamp(min=0.0)
        change = per_slice(RANGE * self.peak, images) * fall * _share(self.knots, images)
        return within_brain(images, images + change), masks

    def describe(self) -> list[str]:
        """Say each slice's peak and reach."""
        pairs = zip(self.peak, self.reach, strict=True)
        return [f"edge up to {100 * p:.0f} % of the range brighter over {100 * r:.1f} % of the width" for p, r in pairs]


@dataclass(frozen=True, eq=False)
class EndBrightening:
    """Slices with little brain, near the vertex and in the skull base, that bone brightens as a whole."""

    peak: Floats
    """(B,) what is added where there is hardly any brain, share of the intensity range."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, end_brightening: float) -> EndBrightening:
        """Draw for `count` slices, uniform up to `end_brightening`."""
        return cls(rng.uniform(0.0, end_brightening, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Brighten (B, 1, H, W) images whose brain is smaller than `SMALL_BRAIN`; masks stay."""
        area = brain_of(images).float().mean(dim=(2, 3), keepdim=True)
        little = (1.0 - area / SMALL_BRAIN).clamp(min=0.0)
        return within_brain(images, images + per_slice(RANGE * self.peak, images) * little), masks

    def describe(self) -> list[str]:
        """Say each slice's peak."""
        return [f"little brain up to {100 * peak:.0f} % of the range brighter" for peak in self.peak]


@dataclass(frozen=True, eq=False)
class Streaks:
    """Parallel dark and bright bands, as between the petrous bones."""

    peak: Floats
    """(B,) amplitude, share of the intensity range; 0: none."""
    angle: Floats
    """(B,) direction across the bands, radians."""
    wave: Floats
    """(B,) wavelength, share of the slice's width."""
    spread: Floats
    """(B,) standard deviation of the bands' envelope, share of the width."""
    place: Floats
    """(B,) where the envelope's middle lies, share of the width from the picture's middle."""
    phase: Floats
    """(B,) radians."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, streaks: float) -> Streaks:
        """Draw for `count` slices: three in ten get streaks, their amplitude uniform up to `streaks`."""
        peak = np.where(rng.random(count) < STREAKED, rng.uniform(0.0, streaks, count), 0.0)
        angle, phase = rng.uniform(0.0, np.pi, count), rng.uniform(0.0, 2 * np.pi, count)
        wave = np.exp(rng.uniform(math.log(STREAK_WAVE[0]), math.log(STREAK_WAVE[1]), count))
        return cls(peak, angle, wave, rng.uniform(*STREAK_SPREAD, count), rng.uniform(-0.3, 0.3, count), phase)

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Add the bands to the brain of (B, 1, H, W) images; masks stay."""
        height, width = images.shape[2:]
        row, column = (
            (torch.arange(size, dtype=torch.float32, device=images.device) - (size - 1) / 2) / width
            for size in (height, width)
        )
        cos, sin = (per_slice(part.astype(np.float32), images) for part in (np.cos(self.angle), np.sin(self.angle)))
        across = cos * column[None, :] + sin * row[:, None]
        wave, spread, place, phase = (
            per_slice(values.astype(np.float32), images) for values in (self.wave, self.spread, self.place, self.phase)
        )
        bands = torch.cos(2 * math.pi * across / wave + phase) * torch.exp(-0.5 * ((across - place) / spread) ** 2)
        return within_brain(images, images + bands * per_slice(RANGE * self.peak, images)), masks

    def describe(self) -> list[str]:
        """Say each slice's amplitude."""
        return [f"streaks of {100 * peak:.1f} % of the range" if peak else "" for peak in self.peak]


@dataclass(frozen=True, eq=False)
class Sharpness:
    """Kernels that are softer or sharper than the slice's own."""

    change: Floats
    """(B,) above 0 sharpens, below 0 blurs, by this much of what is finer than the Gaussian."""

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, sharpness: float) -> Sharpness:
        """Draw for `count` slices, uniform in +- `sharpness`."""
        return cls(rng.uniform(-sharpness, sharpness, count))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Sharpen or blur the brain of (B, 1, H, W) images, background apart; masks stay."""
        brain = brain_of(images)
        soft = gaussian_blur((images - BACKGROUND) * brain, SHARPNESS_PX)
        soft = soft / gaussian_blur(brain.to(images.dtype), SHARPNESS_PX).clamp(min=1e-3) + BACKGROUND
        return within_brain(images, images + (images - soft) * per_slice(self.change, images)), masks

    def describe(self) -> list[str]:
        """Say each slice's change."""
        return [f"sharpness {100 * change:+.0f} %" for change in self.change]


def _share(knots: NDArray[np.float32], images: Tensor) -> Tensor:
    """From 0 to 1 over each slice, (B, 1, H, W), slowly."""
    field = field_of(knots, images)
    low, high = field.amin(dim=(2, 3), keepdim=True), field.amax(dim=(2, 3), keepdim=True)
    return (field - low) / (high - low).clamp(min=1e-6)
