"""Rows of slice sets become batches on the device."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ctseg.adaptation.augment import augment, draw_augmentation
from ctseg.adaptation.steps import Adaptation
from ctseg.io.slices import SliceSet
from ctseg.training import Rows, to_images, to_masks


def source_batch(nets: Adaptation, source: SliceSet, rows: Rows, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Augmented labelled slices and their masks, (B, 1, H, W) each, on the device."""
    images = to_images(source.images[rows], nets.device)
    masks = to_masks(source.require_masks("stage 2 trains on labelled slices")[rows], nets.device)
    settings = nets.settings
    drawn = draw_augmentation(
        rng, len(rows), flip_probability=settings.flip_probability, brightness=settings.brightness
    )
    return augment(images, masks, drawn)


def target_batch(nets: Adaptation, target: SliceSet, rows: Rows) -> Tensor | None:
    """Target slices as they are, (B, 1, H, W); None, and nothing read, without an adversary."""
    return None if nets.discriminator is None else to_images(target.images[rows], nets.device)
