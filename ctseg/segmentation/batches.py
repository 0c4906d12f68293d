"""Rows of slice sets become batches on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from torch import Tensor

from ctseg.augment.pipeline import AugmentationSettings, SourceAugmentation
from ctseg.io.slices import SliceSet
from ctseg.networks.intensity import to_images, to_masks
from ctseg.segmentation.steps import Adaptation
from ctseg.training.sampling import Rows, SliceSampler
from ctseg.training.settings import AdaptationSettings

REFRESH = 0x4E04
"""Keeps these draws apart from training's."""


def source_batch(nets: Adaptation, source: SliceSet, rows: Rows, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Augmented labelled slices and their masks, (B, 1, H, W) each, on the device."""
    drawn = SourceAugmentation.draw(rng, len(rows), augmentation_of(nets.settings))
    labels = source.require_masks("stage 2 trains on labelled slices")[rows]
    return drawn.apply(to_images(source.images[rows], nets.device), to_masks(labels, nets.device))


def augmentation_of(settings: AdaptationSettings) -> AugmentationSettings:
    """Pick what the augmentations need from the training settings, which have the same names."""
    return AugmentationSettings(**{item.name: getattr(settings, item.name) for item in fields(AugmentationSettings)})


def recalibration_batches(
    nets: Adaptation, source: SliceSet, sampler: SliceSampler, epoch: int, seed: int
) -> Iterator[Tensor]:
    """Augmented slices (B, 1, H, W) of an epoch, as training sees them, for `batch_norm.recalibrate`."""
    rows, _ = sampler.draws(epoch)
    for step in range(nets.settings.recalibrate_batch_norm):
        rng = np.random.default_rng([seed, epoch, step, REFRESH])
        yield source_batch(nets, source, rows[step % len(rows)], rng)[0]


def target_batch(nets: Adaptation, target: SliceSet, rows: Rows) -> Tensor | None:
    """Target slices as they are, (B, 1, H, W); None, and nothing read, where no term looks at them."""
    return to_images(target.images[rows], nets.device) if nets.needs_target else None
