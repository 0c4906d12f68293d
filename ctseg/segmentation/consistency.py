"""The term of self-training: what the teacher is sure of on CT, learnt from a view with less in it."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ctseg.augment.pipeline import StudentView
from ctseg.networks.modes import frozen_batch_norm
from ctseg.segmentation.batches import augmentation_of
from ctseg.segmentation.mean_teacher import consistency_loss, gate, teach
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
        seen, labels, weights = student_view(target, nets, rng).apply(target, labels, weights, shapes)
        with nets.autocast(), frozen_batch_norm(nets.segmenter, settings.freeze_batch_norm_on_target):
            logits = nets.segmenter(seen).logits
        return {"self_training": (settings.lambda_consistency, consistency_loss(logits, labels, weights))}

    return lesson


def student_view(target: Tensor, nets: Adaptation, rng: np.random.Generator) -> StudentView:
    """Draw what the student sees of target slices (B, 1, H, W)."""
    settings = nets.settings
    return StudentView.draw(
        rng,
        len(target),
        (target.shape[2], target.shape[3]),
        augmentation_of(settings),
        copy_paste=settings.copy_paste,
        mask_ratio=settings.mask_ratio,
        mask_patch=settings.mask_patch,
    )
