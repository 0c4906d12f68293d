"""A volume made ready for a network: what `prepare_ct` and `prepare_mr` give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.preprocess.frame import Frame
from ctseg.preprocess.grid import filled_box

BRAIN_FRACTION = 0.5
"""A model pixel belongs to the brain (or the lesion) when at least this share of it does."""


@dataclass(frozen=True)
class Prepared:
    """All slices of one volume at model size."""

    images: NDArray[np.uint8]
    """(K, H, W); 0 outside the brain."""
    brain: NDArray[np.bool_]
    """(K, H, W)"""
    native_brain: NDArray[np.bool_]
    """(K, h, w) on the volume's own grid."""
    frame: Frame
    intensity: tuple[float, float]
    """(a, b) with uint8 = a * x + b inside the brain; x in HU for CT, scanner units for MR."""
    notes: tuple[str, ...] = ()


def to_images(
    values: NDArray[np.float32], brain: NDArray[np.bool_], frame: Frame, intensity: tuple[float, float]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Native values and brain mask (K, h, w) -> uint8 images and brain mask (K, H, W).

    Values are averaged over brain pixels only (masked values over the mask's own average), so that neither bone nor
    background bleeds into the rim of the brain.
    """
    slope, offset = intensity
    part = filled_box(brain, (0, 0, 0))[1:] if brain.any() else (slice(None), slice(None))
    share = frame.to_model((where[part] for where in brain), part=part)
    inside = share >= BRAIN_FRACTION
    grey = (
        np.where(where[part], np.clip(slope * picture[part] + offset, 0.0, 255.0), 0.0)
        for picture, where in zip(values, brain, strict=True)
    )
    mean = frame.to_model(grey, part=part) / np.maximum(share, 1e-6)
    images = np.where(inside, np.rint(np.clip(mean, 0.0, 255.0)), 0).astype(np.uint8)
    return images, inside


def to_masks(lesion: NDArray[np.bool_], frame: Frame) -> NDArray[np.uint8]:
    """Native lesion mask (K, h, w) -> (K, H, W) 0/1: pixels at least half covered."""
    return (frame.to_model(lesion) >= BRAIN_FRACTION).astype(np.uint8)
