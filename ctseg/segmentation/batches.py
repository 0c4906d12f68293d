"""Rows of slice sets become batches on the device, and all augmentation of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.augment.parts import part_of
from ctseg.augment.pipeline import AugmentationRanges, SourceAugmentation, StudentBatch, StudentView
from ctseg.io.slices import SliceSet
from ctseg.networks.intensity import to_images, to_masks
from ctseg.training.processes import own_rows, world_size
from ctseg.training.sampling import Rows, SliceSampler, lesion_parts
from ctseg.training.settings import AdaptationSettings, AugmentationSettings, SegmenterSettings

RECALIBRATION = 0x4E04
"""Keeps the draws of batch norm's recalibration apart from training's."""


def source_batch(
    source: SliceSet, rows: Rows, settings: AugmentationSettings, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Augmented labelled slices and their masks, (B, 1, H, W) each, on the device.

    Lesions and distractors are painted only where the settings have a say in it: those of `finetune` have not. `rng`
    draws for the batches of all processes, of which this one's slices get their part.
    """
    drawn = SourceAugmentation.draw(rng, len(rows) * world_size(), augmentation_ranges(settings))
    drawn = part_of(drawn, own_rows(len(rows)))
    labels = source.require_masks("a segmenter trains on labelled slices")[rows]
    return drawn.apply(to_images(source.images[rows], device), to_masks(labels, device))


def shows_lesion(source: SliceSet, rows: Rows) -> NDArray[np.bool_]:
    """(rows,) which labelled slices hold a lesion."""
    masks = source.require_masks("lesion_share goes by them")
    return np.array([masks[row].any() for row in rows], dtype=bool)


def check_lesion_share(source: SliceSet, rows: Rows, settings: SegmenterSettings) -> None:
    """Refuse, before a run folder is made, a share of lesions where no slice shows one.

    Raises:
        InputError: if none of `rows` does.
    """
    if settings.lesion_share:
        lesion_parts(shows_lesion(source, rows), settings.lesion_share, settings.batch_size)


def augmentation_ranges(settings: AugmentationSettings) -> AugmentationRanges:
    """What the augmentations need of the training settings, which have the same names; 0 where they have none."""
    return AugmentationRanges(**{item.name: getattr(settings, item.name, 0.0) for item in fields(AugmentationRanges)})


def student_view(
    target: Tensor,
    labels: Tensor,
    weights: Tensor,
    lesions: Tensor,
    settings: AdaptationSettings,
    rng: np.random.Generator,
) -> StudentBatch:
    """What the student sees of target slices, with the pseudo-labels that fit it; nothing is moved.

    Args:
        target: (B, 1, H, W) CT in [-1, 1].
        labels: (B, 1, H, W) 0/1 pseudo-labels.
        weights: (B, 1, H, W) 0/1, where they are sure.
        lesions: (b, 1, H, W) 0/1 masks of the step's source slices, for `copy_paste`.
        settings: of augmentation, painting and consistency.
        rng: of all draws.
    """
    drawn = StudentView.draw(
        rng,
        len(target) * world_size(),
        (target.shape[2], target.shape[3]),
        augmentation_ranges(settings),
        copy_paste=settings.copy_paste,
        mask_ratio=settings.mask_ratio,
        mask_patch=settings.mask_patch,
    )
    return part_of(drawn, own_rows(len(target))).apply(target, labels, weights, lesions)


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
