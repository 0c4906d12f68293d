"""All that happens to a batch before the segmenter sees it, as one drawn object for the source and one for the target.

A setting of 0 leaves its augmentation out, and draws nothing for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ctseg.augment.affine import Affine
from ctseg.augment.artefacts import EdgeBrightening, EdgeErosion, EndBrightening, Sharpness, Streaks
from ctseg.augment.brightness import BrightnessFactor, BrightnessShift
from ctseg.augment.copy_paste import CopyPaste
from ctseg.augment.distractors import Distractors
from ctseg.augment.flips import Flips
from ctseg.augment.intensity import BiasField, Contrast, Noise
from ctseg.augment.patch_masking import PatchMasking
from ctseg.augment.slices import Augmentation, Describable
from ctseg.augment.synthetic_haemorrhage import SyntheticHaemorrhage


@dataclass(frozen=True)
class AugmentationRanges:
    """How far each augmentation may go; the names are those of the training settings, 0 leaves one out."""

    flip_probability: float = 0.0
    """Of either mirror."""
    brightness: float = 0.0
    """Grey values are multiplied by 1 +- this."""
    brightness_shift: float = 0.0
    """Grey values are shifted by +- this share of the intensity range."""
    contrast: float = 0.0
    """Grey values spread around the mean brain grey by 1 +- this."""
    bias_field: float = 0.0
    """Largest slow change of grey, share of the intensity range."""
    noise: float = 0.0
    """Largest standard deviation of noise, share of the intensity range."""
    rotation_deg: float = 0.0
    """Largest rotation, degrees."""
    zoom: float = 0.0
    """Slices are enlarged by 1 +- this."""
    synthetic_haemorrhage: float = 0.0
    """Probability that a lesion is repainted as fresh blood."""
    distractors: float = 0.0
    """Probability of each kind of distractor."""
    edge_erosion: float = 0.0
    """Largest depth that the mask leaves out of the brain, share of the width."""
    edge_brightening: float = 0.0
    """Largest brightening of brain beside bone, share of the intensity range."""
    end_brightening: float = 0.0
    """Largest brightening of slices with little brain, share of the intensity range."""
    streaks: float = 0.0
    """Largest amplitude of streaks, share of the intensity range."""
    sharpness: float = 0.0
    """What is fine is made stronger or weaker by up to this share."""


@dataclass(frozen=True)
class SourceAugmentation:
    """What happens to a batch of labelled source slices, in the order of `steps`."""

    steps: tuple[Augmentation, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, settings: AugmentationRanges) -> SourceAugmentation:
        """Draw for `count` slices.

        Flips and brightness are drawn first and applied after what is painted, so that the draws of the paper's
        augmentation do not depend on what is added to it.
        """
        flips = Flips.draw(rng, count, settings.flip_probability)
        brightness = draw_brightness(rng, count, settings)
        painted: list[Augmentation] = []
        if settings.synthetic_haemorrhage:
            painted.append(SyntheticHaemorrhage.draw(rng, count, settings.synthetic_haemorrhage))
        if settings.distractors:
            painted.append(Distractors.draw(rng, count, settings.distractors))
        moved: list[Augmentation] = []
        if settings.rotation_deg or settings.zoom:
            moved.append(Affine.draw(rng, count, settings.rotation_deg, settings.zoom))
        beside_bone = draw_artefacts(rng, count, settings)
        return cls((*painted, flips, *brightness, *moved, *beside_bone, *draw_intensity(rng, count, settings)))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Change (B, 1, H, W) images in [-1, 1] and their 0/1 masks."""
        return apply_all(self.steps, images, masks)

    def describe(self) -> list[str]:
        """Say what happens to each slice."""
        return describe_all(self.steps)


class StudentBatch(NamedTuple):
    """What the student learns from; (B, 1, H, W) each."""

    images: Tensor
    """In [-1, 1]."""
    labels: Tensor
    """0/1."""
    weights: Tensor
    """0/1, where the labels count."""


@dataclass(frozen=True)
class StudentView:
    """What happens to a batch of target slices before the student sees them: nothing is moved, so that labels fit."""

    copy_paste: CopyPaste | None
    distractors: Distractors | None
    """Painted beside the lesions where lesions are pasted, too: otherwise bright would mean pasted."""
    steps: tuple[Augmentation, ...]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        count: int,
        size: tuple[int, int],
        settings: AugmentationRanges,
        *,
        copy_paste: float,
        mask_ratio: float,
        mask_patch: int,
    ) -> StudentView:
        """Draw for `count` slices of `size` (H, W).

        Args:
            rng: of the view.
            count: slices.
            size: rows and columns.
            settings: of the source; its flips, rotation and zoom are not used.
            copy_paste: probability that a source lesion is pasted into a slice.
            mask_ratio: share of patches that are hidden.
            mask_patch: side of a patch in pixels.
        """
        pasted = CopyPaste.draw(rng, count, copy_paste) if copy_paste else None
        beside = Distractors.draw(rng, count, settings.distractors) if pasted and settings.distractors else None
        grey = (*draw_brightness(rng, count, settings), *draw_intensity(rng, count, settings))
        masking = (PatchMasking.draw(rng, count, size, mask_ratio, mask_patch),) if mask_ratio else ()
        return cls(pasted, beside, (*grey, *masking))

    def apply(self, images: Tensor, labels: Tensor, weights: Tensor, lesions: Tensor) -> StudentBatch:
        """Make the student's batch.

        Args:
            images: (B, 1, H, W) CT in [-1, 1].
            labels: (B, 1, H, W) 0/1, what the teacher says of it.
            weights: (B, 1, H, W) 0/1, where the teacher is confident.
            lesions: (b, 1, H, W) 0/1 masks of source slices, to paste.

        Returns:
            Images, labels and weights; all that was painted has weight 1, since its label is known.
        """
        before = images
        if self.copy_paste is not None:
            images, labels = self.copy_paste.apply(images, labels, lesions)
        if self.distractors is not None:
            images, labels = self.distractors.apply(images, labels)
        if images is not before:
            weights = torch.maximum(weights, (images != before).to(weights.dtype))
        return StudentBatch(apply_all(self.steps, images, labels)[0], labels, weights)

    def describe(self) -> list[str]:
        """Say what happens to each slice."""
        painted = [part for part in (self.copy_paste, self.distractors) if part is not None]
        return describe_all((*painted, *self.steps))


def draw_brightness(rng: np.random.Generator, count: int, settings: AugmentationRanges) -> tuple[Augmentation, ...]:
    """Draw the factor and the shift, each where its setting is above 0."""
    drawn: list[Augmentation] = []
    if settings.brightness:
        drawn.append(BrightnessFactor.draw(rng, count, settings.brightness))
    if settings.brightness_shift:
        drawn.append(BrightnessShift.draw(rng, count, settings.brightness_shift))
    return tuple(drawn)


def draw_artefacts(rng: np.random.Generator, count: int, settings: AugmentationRanges) -> tuple[Augmentation, ...]:
    """Draw what bone and the kernel do to the brain, each where its setting is above 0; the mask's edge comes first."""
    kinds = (
        (EdgeErosion, settings.edge_erosion),
        (EdgeBrightening, settings.edge_brightening),
        (EndBrightening, settings.end_brightening),
        (Streaks, settings.streaks),
        (Sharpness, settings.sharpness),
    )
    return tuple(kind.draw(rng, count, most) for kind, most in kinds if most)


def draw_intensity(rng: np.random.Generator, count: int, settings: AugmentationRanges) -> tuple[Augmentation, ...]:
    """Draw contrast, bias field and noise, each where its setting is above 0."""
    drawn: list[Augmentation] = []
    if settings.contrast:
        drawn.append(Contrast.draw(rng, count, settings.contrast))
    if settings.bias_field:
        drawn.append(BiasField.draw(rng, count, settings.bias_field))
    if settings.noise:
        drawn.append(Noise.draw(rng, count, settings.noise))
    return tuple(drawn)


def apply_all(steps: tuple[Augmentation, ...], images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Apply drawn augmentations to (B, 1, H, W) images and masks, one after the other."""
    for step in steps:
        images, masks = step.apply(images, masks)
    return images, masks


def describe_all(steps: Sequence[Describable]) -> list[str]:
    """Join what the steps say of each slice."""
    texts = zip(*(step.describe() for step in steps), strict=True)
    return ["; ".join(filter(None, slice_texts)) or "unchanged" for slice_texts in texts]
