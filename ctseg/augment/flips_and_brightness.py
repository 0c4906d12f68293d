"""Augmentation of the source (paper 4.3.3): flips and brightness, drawn in one place and applied in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BACKGROUND = -1.0
"""What skull-stripped slices hold outside the brain, in networks."""


@dataclass(frozen=True)
class Augmentation:
    """What to do to each slice of a batch."""

    flip_lr: NDArray[np.bool_]
    """(B,) mirror left-right, the last axis."""
    flip_ap: NDArray[np.bool_]
    """(B,) mirror front-back, the second last axis."""
    brightness: NDArray[np.float64]
    """(B,) added to the brain, as a share of the intensity range; 0.2 is 51 grey values of 255."""


def draw_augmentation(
    rng: np.random.Generator, count: int, *, flip_probability: float = 0.5, brightness: float = 0.2
) -> Augmentation:
    """Draw for `count` slices: each flip with `flip_probability`, brightness uniform in +- `brightness`."""
    flips = rng.random((2, count)) < flip_probability
    return Augmentation(flips[0], flips[1], rng.uniform(-brightness, brightness, count))


def flip(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Mirror (B, 1, H, W) slices as drawn; its own inverse."""
    lr = _per_slice(augmentation.flip_lr, images)
    ap = _per_slice(augmentation.flip_ap, images)
    images = torch.where(lr, images.flip(-1), images)
    return torch.where(ap, images.flip(-2), images)


def brighten(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Shift the brightness of (B, 1, H, W) slices in [-1, 1], clipped to that range.

    The background stays exactly -1: brightness stands for another scanner or window, and those do not light up air.
    A lit background would also give away which slices were augmented, and they are all of the source domain.
    """
    shift = 2.0 * _per_slice(augmentation.brightness, images)
    return torch.where(images > BACKGROUND, (images + shift).clamp(BACKGROUND, 1.0), images)


def augment(images: Tensor, masks: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Images (B, 1, H, W) flipped and brightened, their masks (B, 1, H, W) flipped along."""
    return brighten(flip(images, augmentation), augmentation), flip(masks, augmentation)


def _per_slice(values: NDArray[np.generic], images: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1) on the images' device; numbers in their type."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(images.device)[:, None, None, None]
    return tensor if tensor.dtype == torch.bool else tensor.to(images.dtype)
