"""The term of self-training: what the teacher is sure of on CT, learnt from a view with less in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from ctseg.adaptation.appearance import change_grey
from ctseg.adaptation.augment import brighten, draw_augmentation
from ctseg.adaptation.batches import ranges_of
from ctseg.adaptation.pasting import paste
from ctseg.adaptation.steps import Adaptation, Extra, norms_frozen
from ctseg.adaptation.teacher import consistency_loss, gate, hide_patches, teach


def make_lesson(nets: Adaptation, epoch: int, rng: np.random.Generator, shapes: Tensor) -> Extra | None:
    """The extra term of a step; None without a teacher, or while it has not learnt enough itself.

    Args:
        nets: with the settings.
        epoch: from 0.
        rng: of the student's view.
        shapes: (B, 1, H, W) 0/1 lesions of the step's source slices, for `pasted`.
    """
    settings, teacher = nets.settings, nets.teacher
    if teacher is None or epoch < settings.teacher_from:
        return None

    def lesson(target: Tensor) -> dict[str, tuple[float, Tensor]]:
        labels, weights = teach(teacher, target, settings.teacher_certainty, nets.autocast)
        if settings.teacher_contrast:
            labels, weights = gate(labels, weights, target, settings.teacher_contrast)
        if settings.pasted:
            chances = settings.pasted, settings.look_alikes
            target, labels, weights = paste(target, shapes, labels, weights, *chances, rng)
        seen = hide_patches(other_look(target, nets, rng), settings.hidden_share, settings.hidden_patch, rng)
        with nets.autocast(), norms_frozen(nets.segmenter, settings.freeze_norm_on_target):
            logits = nets.segmenter(seen).logits
        return {"self_training": (settings.lambda_teacher, consistency_loss(logits, labels, weights))}

    return lesson


def other_look(target: Tensor, nets: Adaptation, rng: np.random.Generator) -> Tensor:
    """The same slices in other grey values; nothing is moved, so that the teacher's labels still fit."""
    settings = nets.settings
    drawn = draw_augmentation(rng, len(target), flip_probability=0.0, brightness=settings.brightness)
    still = replace(ranges_of(settings), turn_deg=0.0, scale=0.0)
    return change_grey(brighten(target, drawn), still, rng)
