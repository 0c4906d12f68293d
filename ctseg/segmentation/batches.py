"""Rows of slice sets become batches on the device, and all augmentation of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctseg.augment.appearance import Ranges, change_grey, change_place
from ctseg.augment.copy_paste import paste
from ctseg.augment.distractors import paint
from ctseg.augment.flips_and_brightness import augment, brighten, draw_augmentation
from ctseg.augment.synthetic_haemorrhage import repaint
from ctseg.io.slices import SliceSet
from ctseg.networks.intensity import to_images, to_masks
from ctseg.segmentation.mean_teacher import mask_patches
from ctseg.training.sampling import Rows, SliceSampler
from ctseg.training.settings import AdaptationSettings, AugmentationSettings, PaintingSettings

RECALIBRATION = 0x4E04
"""Keeps the draws of batch norm's recalibration apart from training's."""


def source_batch(
    source: SliceSet, rows: Rows, settings: AugmentationSettings, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Augmented labelled slices and their masks, (B, 1, H, W) each, on the device.

    Lesions and distractors are painted only where the settings have a say in it: those of `finetune` have not.
    """
    drawn = draw_augmentation(
        rng, len(rows), flip_probability=settings.flip_probability, brightness=settings.brightness
    )
    slices, labels = source.images[rows], source.require_masks("a segmenter trains on labelled slices")[rows]
    if isinstance(settings, PaintingSettings):
        if settings.synthetic_haemorrhage:
            slices, labels = repaint(slices, labels, settings.synthetic_haemorrhage, rng)
        if settings.distractors:
            slices = paint(slices, labels, settings.distractors, rng)
    images, masks = augment(to_images(slices, device), to_masks(labels, device), drawn)
    ranges = _ranges(settings)
    images, masks = change_place(images, masks, ranges, rng)
    return change_grey(images, ranges, rng), masks


def student_view(
    target: Tensor,
    labels: Tensor,
    weights: Tensor,
    lesions: Tensor,
    settings: AdaptationSettings,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """What the student sees of target slices, with the pseudo-labels that fit it.

    With `copy_paste`, source lesions are pasted in as fresh blood, and labelled. Then grey values change and patches
    are masked; nothing is moved, so that the pseudo-labels still fit.

    Args:
        target: (B, 1, H, W) CT in [-1, 1].
        labels: (B, 1, H, W) 0/1 pseudo-labels.
        weights: (B, 1, H, W) 0/1, where they are sure.
        lesions: (b, 1, H, W) 0/1 masks of the step's source slices.
        settings: of augmentation, painting and consistency.
        rng: of all draws.

    Returns:
        View, labels and weights, (B, 1, H, W) each.
    """
    if settings.copy_paste:
        chances = settings.copy_paste, settings.distractors
        target, labels, weights = paste(target, lesions, labels, weights, *chances, rng)
    drawn = draw_augmentation(rng, len(target), flip_probability=0.0, brightness=settings.brightness)
    unmoved = replace(_ranges(settings), rotation_deg=0.0, zoom=0.0)
    view = change_grey(brighten(target, drawn), unmoved, rng)
    return mask_patches(view, settings.mask_ratio, settings.mask_patch, rng), labels, weights


def _ranges(settings: AugmentationSettings) -> Ranges:
    return Ranges(settings.contrast, settings.noise, settings.bias_field, settings.rotation_deg, settings.zoom)


def recalibration_batches(
    source: SliceSet,
    sampler: SliceSampler,
    settings: AugmentationSettings,
    count: int,
    *,
    epoch: int,
    seed: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """`count` batches of augmented slices (B, 1, H, W), as an epoch of training sees them."""
    rows, _ = sampler.draws(epoch)
    for step in range(count):
        rng = np.random.default_rng([seed, epoch, step, RECALIBRATION])
        yield source_batch(source, rows[step % len(rows)], settings, rng, device)[0]
