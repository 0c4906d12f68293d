"""Rows of slice sets become batches on the device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ctseg.augment.appearance import Ranges, change_grey, change_place
from ctseg.augment.distractors import paint
from ctseg.augment.flips_and_brightness import augment, draw_augmentation
from ctseg.augment.synthetic_haemorrhage import repaint
from ctseg.io.slices import SliceSet
from ctseg.networks.intensity import to_images, to_masks
from ctseg.segmentation.steps import Adaptation
from ctseg.training.sampling import Rows, SliceSampler
from ctseg.training.settings import AdaptationSettings

REFRESH = 0x4E04
"""Keeps these draws apart from training's."""


def source_batch(nets: Adaptation, source: SliceSet, rows: Rows, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Augmented labelled slices and their masks, (B, 1, H, W) each, on the device."""
    settings = nets.settings
    drawn = draw_augmentation(
        rng, len(rows), flip_probability=settings.flip_probability, brightness=settings.brightness
    )
    slices, labels = source.images[rows], source.require_masks("stage 2 trains on labelled slices")[rows]
    if settings.synthetic_haemorrhage:
        slices, labels = repaint(slices, labels, settings.synthetic_haemorrhage, rng)
    if settings.distractors:
        slices = paint(slices, labels, settings.distractors, rng)
    images, masks = augment(to_images(slices, nets.device), to_masks(labels, nets.device), drawn)
    ranges = ranges_of(settings)
    images, masks = change_place(images, masks, ranges, rng)
    return change_grey(images, ranges, rng), masks


def ranges_of(settings: AdaptationSettings) -> Ranges:
    """How far the settings let slices be changed."""
    return Ranges(settings.contrast, settings.noise, settings.bias_field, settings.rotation_deg, settings.zoom)


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
