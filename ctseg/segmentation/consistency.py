"""The term of self-training: what the teacher is sure of on CT, learnt from a view with less in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from ctseg.augment.appearance import change_grey
from ctseg.augment.copy_paste import paste
from ctseg.augment.flips_and_brightness import brighten, draw_augmentation
from ctseg.networks.modes import frozen_batch_norm
from ctseg.segmentation.batches import ranges_of
from ctseg.segmentation.mean_teacher import consistency_loss, gate, mask_patches, teach
from ctseg.segmentation.steps import Adaptation, Extra


def make_lesson(nets: Adaptation, epoch: int, rng: np.random.Generator, shapes: Tensor) -> Extra | None:
    """The extra term of a step; None without a teacher, or while it has not learnt enough itself.

    Args:
        nets: with the settings.
        epoch: from 0.
        rng: of the student's view.
        shapes: (B, 1, H, W) 0/1 lesions of the step's source slices, for `copy_paste`.
    """
    settings, teacher = nets.settings, nets.teacher
    if teacher is None or epoch < settings.consistency_from:
        return None

    def lesson(target: Tensor) -> dict[str, tuple[float, Tensor]]:
        labels, weights = teach(teacher, target, settings.pseudo_label_confidence, nets.autocast)
        if settings.pseudo_label_contrast:
            labels, weights = gate(labels, weights, target, settings.pseudo_label_contrast)
        if settings.copy_paste:
            chances = settings.copy_paste, settings.distractors
            target, labels, weights = paste(target, shapes, labels, weights, *chances, rng)
        seen = mask_patches(other_look(target, nets, rng), settings.mask_ratio, settings.mask_patch, rng)
        with nets.autocast(), frozen_batch_norm(nets.segmenter, settings.freeze_batch_norm_on_target):
            logits = nets.segmenter(seen).logits
        return {"self_training": (settings.lambda_consistency, consistency_loss(logits, labels, weights))}

    return lesson


def other_look(target: Tensor, nets: Adaptation, rng: np.random.Generator) -> Tensor:
    """The same slices in other grey values; nothing is moved, so that the teacher's labels still fit."""
    settings = nets.settings
    drawn = draw_augmentation(rng, len(target), flip_probability=0.0, brightness=settings.brightness)
    still = replace(ranges_of(settings), rotation_deg=0.0, zoom=0.0)
    return change_grey(brighten(target, drawn), still, rng)
