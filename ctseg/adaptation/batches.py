"""Rows of slice sets become batches on the device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ctseg.adaptation.appearance import Ranges, change_grey, change_place
from ctseg.adaptation.augment import augment, draw_augmentation
from ctseg.adaptation.haematomas import repaint
from ctseg.adaptation.look_alikes import paint
from ctseg.adaptation.steps import Adaptation
from ctseg.io.slices import SliceSet
from ctseg.training import Rows, SliceSampler, to_images, to_masks
from ctseg.training_settings import AdaptationSettings

REFRESH = 0x4E04
"""Keeps these draws apart from training's."""


def source_batch(nets: Adaptation, source: SliceSet, rows: Rows, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Augmented labelled slices and their masks, (B, 1, H, W) each, on the device."""
    settings = nets.settings
    drawn = draw_augmentation(
        rng, len(rows), flip_probability=settings.flip_probability, brightness=settings.brightness
    )
    slices, labels = source.images[rows], source.require_masks("stage 2 trains on labelled slices")[rows]
    if settings.haematomas:
        slices, labels = repaint(slices, labels, settings.haematomas, rng)
    if settings.look_alikes:
        slices = paint(slices, labels, settings.look_alikes, rng)
    images, masks = augment(to_images(slices, nets.device), to_masks(labels, nets.device), drawn)
    ranges = ranges_of(settings)
    images, masks = change_place(images, masks, ranges, rng)
    return change_grey(images, ranges, rng), masks


def ranges_of(settings: AdaptationSettings) -> Ranges:
    """How far the settings let slices be changed."""
    return Ranges(settings.contrast, settings.noise, settings.shading, settings.turn_deg, settings.scale)


def refreshing_batches(
    nets: Adaptation, source: SliceSet, sampler: SliceSampler, epoch: int, seed: int
) -> Iterator[Tensor]:
    """Augmented slices (B, 1, H, W) of an epoch for `ctseg.adaptation.norms.refresh_norms`, as training sees them."""
    rows, _ = sampler.draws(epoch)
    for step in range(nets.settings.refresh_norm):
        rng = np.random.default_rng([seed, epoch, step, REFRESH])
        yield source_batch(nets, source, rows[step % len(rows)], rng)[0]


def target_batch(nets: Adaptation, target: SliceSet, rows: Rows) -> Tensor | None:
    """Target slices as they are, (B, 1, H, W); None, and nothing read, where no term looks at them."""
    return to_images(target.images[rows], nets.device) if nets.needs_target else None
