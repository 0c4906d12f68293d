"""Words that all augmentations share: background, brain, Hounsfield units as grey, and one number for each slice.

Slices are (B, 1, H, W) tensors in [-1, 1]; `BACKGROUND` marks what lies outside the brain.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.networks.intensity import on_device
from ctseg.preprocess.settings import WINDOW_HU

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
BACKGROUND = -1.0
"""What skull-stripped slices hold outside the brain, in networks."""
RANGE = 2.0
"""Width of the intensity range [-1, 1]."""
DARKEST = BACKGROUND + RANGE / 255
"""The darkest grey that still counts as brain: 1 of 0..255."""


class Describable(Protocol):
    """Something drawn that can say what it does."""

    def describe(self) -> list[str]:
        """Return B texts that say what happens to each slice; empty where nothing does."""
        ...


class Augmentation(Describable, Protocol):
    """A drawn augmentation: what happens to each slice of a batch is fixed, and applying it twice gives the same."""

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Change (B, 1, H, W) images in [-1, 1] and their 0/1 masks; the arguments stay as they are."""
        ...


def brain_of(images: Tensor) -> Tensor:
    """Return where the brain is, bool of the images' shape."""
    return images > BACKGROUND


def from_hu(hu: Floats) -> Floats:
    """Turn Hounsfield units into the grey of slices, [-1, 1] over the default window of preprocessing."""
    low, high = WINDOW_HU
    return RANGE * (hu - low) / (high - low) + BACKGROUND


def hu_share(hu: float) -> float:
    """Turn a difference in Hounsfield units into a difference of grey on the scale [-1, 1]."""
    return RANGE * hu / (WINDOW_HU[1] - WINDOW_HU[0])


def per_slice(values: NDArray[Any], images: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1) on the images' device; numbers become the images' type, truth values stay."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))[:, None, None, None]
    return on_device(tensor if tensor.dtype == torch.bool else tensor.to(images.dtype), images.device)


def within_brain(images: Tensor, changed: Tensor) -> Tensor:
    """Keep the change where the brain is, clipped so that brain stays brain."""
    return torch.where(brain_of(images), changed.clamp(DARKEST, 1.0), images)


def rows_of(chosen: Bools, images: Tensor) -> Tensor:
    """Return the indices of the chosen slices on the images' device."""
    return on_device(torch.from_numpy(np.flatnonzero(chosen)), images.device)


def mean_within(images: Tensor, where: Tensor) -> Tensor:
    """Return each slice's mean over `where`, (B, 1, 1, 1); 0 where that is empty."""
    total = torch.where(where, images, torch.zeros_like(images)).sum(dim=(2, 3), keepdim=True)
    return total / where.sum(dim=(2, 3), keepdim=True).clamp(min=1)


def median_within(images: Tensor, where: Tensor) -> Tensor:
    """Return each slice's (lower) median over `where`, (B, 1, 1, 1); not a number where that is empty."""
    marked = torch.where(where, images, torch.full_like(images, torch.nan))
    return marked.flatten(1).nanmedian(dim=1).values[:, None, None, None]
