"""Gathers what the selection rules look at, on a fixed, seeded subset of slices. Target masks are never read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.augment.brightness import BrightnessShift
from ctseg.augment.flips import Flips
from ctseg.augment.pipeline import apply_all
from ctseg.augment.slices import Augmentation
from ctseg.io.slices import SliceSet
from ctseg.networks.gan_loss import decision_boundary
from ctseg.networks.intensity import to_images
from ctseg.networks.modes import evaluating
from ctseg.segmentation.steps import Adaptation
from ctseg.selection.rules import THRESHOLD, ValidationOutputs
from ctseg.training.sampling import Rows

TARGET_SLICES = 64
SOURCE_SLICES = 128
BATCH = 32
PIXELS_PER_SLICE = 16
"""Lesion pixels, and as many others, that one slice gives to the neighbourhood density."""
BRIGHTNESS_SHIFT = 0.1
"""Share of the range by which the augmented copies of target slices are brightened or darkened at most."""


@dataclass(frozen=True)
class ValidationSlices:
    """Which slices a run validates on, the same in every epoch."""

    target_rows: Rows
    source_rows: Rows
    """Empty where the source has no validation split."""
    seed: int


def choose_validation(source_rows: Rows, target_rows: Rows, seed: int) -> ValidationSlices:
    """Draw up to 128 source and 64 target slices."""
    rng = np.random.default_rng([seed, 0x5E1EC7])
    return ValidationSlices(_subset(target_rows, TARGET_SLICES, rng), _subset(source_rows, SOURCE_SLICES, rng), seed)


def _subset(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    return np.sort(rng.choice(rows, min(count, len(rows)), replace=False)) if len(rows) else rows


@torch.no_grad()
def gather(
    nets: Adaptation, source: SliceSet, target: SliceSet, chosen: ValidationSlices, epoch: int
) -> ValidationOutputs:
    """Predict the validation slices with the network as it is after `epoch`."""
    with evaluating(nets.final):
        on_source = _predict_source(nets, source, chosen.source_rows)
        on_target = _predict_target(nets, target, chosen)
    has_source = len(chosen.source_rows) > 0
    masks = source.require_masks("validation on the source needs them")[chosen.source_rows] if has_source else None
    return ValidationOutputs(
        epoch=epoch,
        target=on_target.probabilities,
        target_augmented=on_target.augmented,
        target_brain=target.images[chosen.target_rows] > 0,
        features=on_target.features,
        source=on_source[0] if has_source else None,
        source_masks=masks,
        discriminator_accuracy=_accuracy(on_source[1], on_target.judged),
    )


@dataclass(frozen=True)
class _OnTarget:
    probabilities: NDArray[np.float32]
    augmented: NDArray[np.float32]
    features: NDArray[np.float32]
    judged: float | None
    """Share of hidden positions taken for the source domain."""


def _predict_source(nets: Adaptation, source: SliceSet, rows: Rows) -> tuple[NDArray[np.float32], float | None]:
    """Probabilities, and the share of hidden positions taken for the source domain."""
    probabilities, judged = [np.zeros((0, *source.size), np.float32)], []
    for images, _ in _batches(nets, source, rows):
        found, hidden = predict(nets, images)
        probabilities.append(found)
        judged.append(_judge(nets, hidden))
    return np.concatenate(probabilities), _share(judged)


def _predict_target(nets: Adaptation, target: SliceSet, chosen: ValidationSlices) -> _OnTarget:
    rng = np.random.default_rng([chosen.seed, 0xA06])
    probabilities, augmented, features, judged = [], [], [], []
    for images, slices in _batches(nets, target, chosen.target_rows):
        found, hidden = predict(nets, images)
        probabilities.append(found)
        features.append(sample_features(found, hidden, slices > 0, rng))
        judged.append(_judge(nets, hidden))
        copies, _ = predict(nets, apply_all(_mirrored(len(slices), rng), images, images)[0])
        augmented.append(copies[:, :, ::-1])
    return _OnTarget(np.concatenate(probabilities), np.concatenate(augmented), np.concatenate(features), _share(judged))


def _mirrored(count: int, rng: np.random.Generator) -> tuple[Augmentation, ...]:
    """Left-right only: a head is nearly symmetric that way, and upside down it is none."""
    flips = Flips(left_right=np.ones(count, bool), front_back=np.zeros(count, bool))
    return flips, BrightnessShift.draw(rng, count, BRIGHTNESS_SHIFT)


def _batches(nets: Adaptation, slices: SliceSet, rows: Rows) -> Iterator[tuple[Tensor, NDArray[np.uint8]]]:
    for start in range(0, len(rows), BATCH):
        chosen = slices.images[rows[start : start + BATCH]]
        yield to_images(chosen, nets.device), chosen


def predict(nets: Adaptation, images: Tensor) -> tuple[NDArray[np.float32], Tensor]:
    """(B, 1, H, W) in [-1, 1] -> lesion probability (B, H, W) and the hidden map on its device."""
    with torch.no_grad(), nets.autocast():
        output = nets.final(images)
    return torch.sigmoid(output.logits.float())[:, 0].cpu().numpy(), output.hidden


def sample_features(
    probabilities: NDArray[np.float32], hidden: Tensor, brain: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Hidden vectors (m, C) at up to 16 lesion pixels of each slice and at as many other brain pixels of that slice."""
    vectors = []
    scale = hidden.shape[-2] / brain.shape[-2], hidden.shape[-1] / brain.shape[-1]
    for place, (found, inside) in enumerate(zip(probabilities >= THRESHOLD, brain, strict=True)):
        lesion, other = np.argwhere(found & inside), np.argwhere(~found & inside)
        count = min(PIXELS_PER_SLICE, len(lesion), len(other))
        chosen = [group[rng.choice(len(group), count, replace=False)] for group in (lesion, other) if count]
        for pixels in chosen:
            row, column = (pixels * scale).astype(np.int64).T
            vectors.append(hidden[place, :, row, column].T.float().cpu().numpy())
    return np.concatenate(vectors) if vectors else np.zeros((0, hidden.shape[1]), np.float32)


def _judge(nets: Adaptation, hidden: Tensor) -> tuple[int, int] | None:
    """(positions taken for the source, positions)."""
    if nets.discriminator is None:
        return None
    with nets.autocast():
        logits = nets.discriminator(hidden)
    boundary = decision_boundary(nets.settings.gan)
    return int((logits > boundary).sum()), logits.numel()


def _share(judged: list[tuple[int, int] | None]) -> float | None:
    counts = [item for item in judged if item is not None]
    return sum(taken for taken, _ in counts) / sum(count for _, count in counts) if counts else None


def _accuracy(source_judged: float | None, target_judged: float | None) -> float | None:
    return None if source_judged is None or target_judged is None else 0.5 * (source_judged + 1.0 - target_judged)
