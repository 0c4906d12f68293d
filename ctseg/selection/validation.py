"""Gathers the input of the selection rules on a fixed, seeded subset of slices. No target mask is among it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctseg.augment.brightness import BrightnessShift
from ctseg.augment.flips import Flips
from ctseg.augment.pipeline import apply_all
from ctseg.augment.slices import Augmentation
from ctseg.networks.intensity import checked_shape, to_images
from ctseg.networks.modes import evaluating
from ctseg.plugins.called import name_of
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.selection.rules import THRESHOLD, ValidationOutputs

Rows = NDArray[np.int64]
Autocast = Callable[[], AbstractContextManager[Any]]

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


def unchanged(images: Tensor) -> Tensor:
    """The images themselves."""
    return images


@dataclass(frozen=True)
class Validation:
    """What is predicted after each epoch, and how."""

    slices: ValidationSlices
    target: NDArray[np.uint8]
    """(N, H, W) images of the target set."""
    source: NDArray[np.uint8]
    """(M, H, W) images of the source set."""
    source_masks: NDArray[np.uint8]
    """(M, H, W) its 0/1 masks."""
    autocast: Autocast = nullcontext
    takes_for_source: Callable[[SegmenterOutput], Tensor] | None = None
    """Output -> bool at each position that D_seg takes for the source domain; None without D_seg."""
    of_source: Callable[[Tensor], Tensor] = unchanged
    """What source images (B, 1, H, W) go through before the network, as in training."""


@dataclass(frozen=True)
class _Predicted:
    probabilities: NDArray[np.float32]
    """(n, H, W)"""
    augmented: NDArray[np.float32]
    """(n, H, W) of mirrored and brightened copies, mirrored back; empty where they are not needed."""
    features: NDArray[np.float32]
    """(m, C) hidden vectors."""
    for_source: float | None
    """Share of hidden positions taken for the source domain."""


@torch.no_grad()
def gather(network: nn.Module, validation: Validation, epoch: int) -> ValidationOutputs:
    """Predict the validation slices with the network as it is after `epoch` (from 0)."""
    slices = validation.slices
    with evaluating(network):
        source = _predict_source(network, validation) if len(slices.source_rows) else None
        target = _predict_target(network, validation)
    return ValidationOutputs(
        epoch=epoch,
        target=target.probabilities,
        target_augmented=target.augmented,
        target_brain=validation.target[slices.target_rows] > 0,
        features=target.features,
        source=None if source is None else source.probabilities,
        source_masks=None if source is None else validation.source_masks[slices.source_rows],
        discriminator_accuracy=_accuracy(None if source is None else source.for_source, target.for_source),
    )


def _predict_source(network: nn.Module, validation: Validation) -> _Predicted:
    probabilities, taken = [], []
    for images, _ in _batches(network, validation.source, validation.slices.source_rows):
        found, output = predict(network, validation.of_source(images), validation.autocast)
        probabilities.append(found)
        taken.append(_taken(validation, output))
    none = np.zeros((0, 1), np.float32)
    return _Predicted(np.concatenate(probabilities), none, none, _share(taken))


def _predict_target(network: nn.Module, validation: Validation) -> _Predicted:
    rng = np.random.default_rng([validation.slices.seed, 0xA06])
    probabilities, augmented, features, taken = [], [], [], []
    for images, slices in _batches(network, validation.target, validation.slices.target_rows):
        found, output = predict(network, images, validation.autocast)
        probabilities.append(found)
        features.append(sample_features(found, output.hidden, slices > 0, rng))
        taken.append(_taken(validation, output))
        copies, _ = predict(network, apply_all(_mirrored(len(slices), rng), images, images)[0], validation.autocast)
        augmented.append(copies[:, :, ::-1])
    return _Predicted(np.concatenate(probabilities), np.concatenate(augmented), np.concatenate(features), _share(taken))


def _mirrored(count: int, rng: np.random.Generator) -> tuple[Augmentation, ...]:
    """Left-right only: a head is nearly symmetric left to right, and not front to back."""
    flips = Flips(left_right=np.ones(count, bool), front_back=np.zeros(count, bool))
    return flips, BrightnessShift.draw(rng, count, BRIGHTNESS_SHIFT)


def _batches(network: nn.Module, images: NDArray[np.uint8], rows: Rows) -> Iterator[tuple[Tensor, NDArray[np.uint8]]]:
    device = next(network.parameters()).device
    for start in range(0, len(rows), BATCH):
        chosen = images[rows[start : start + BATCH]]
        yield to_images(chosen, device), chosen


@torch.no_grad()
def predict(
    network: nn.Module, images: Tensor, autocast: Autocast = nullcontext
) -> tuple[NDArray[np.float32], SegmenterOutput]:
    """(B, 1, H, W) in [-1, 1] -> lesion probability (B, H, W), and the output on its device."""
    with autocast():
        output: SegmenterOutput = network(images)
    logits = checked_shape(output.logits, images, f"segmenter {name_of(network)}")
    return torch.sigmoid(logits.float())[:, 0].cpu().numpy(), output


def segment_slices(
    network: nn.Module,
    slices: NDArray[np.uint8],
    autocast: Autocast = nullcontext,
    seen_as: Callable[[Tensor], Tensor] = unchanged,
) -> NDArray[np.uint8]:
    """(N, H, W) uint8 slices -> (N, H, W) 0/1 masks, batch by batch, the network in evaluation mode.

    Source slices go through `seen_as` first, that is `Validation.of_source`.
    """
    with evaluating(network):
        found = [
            predict(network, seen_as(images), autocast)[0] >= THRESHOLD
            for images, _ in _batches(network, slices, np.arange(len(slices)))
        ]
    return np.concatenate(found).astype(np.uint8) if found else np.zeros(slices.shape, np.uint8)


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


def _taken(validation: Validation, output: SegmenterOutput) -> tuple[int, int] | None:
    """(positions taken for the source, positions)."""
    if validation.takes_for_source is None:
        return None
    taken = validation.takes_for_source(output)
    return int(taken.sum()), taken.numel()


def _share(taken: list[tuple[int, int] | None]) -> float | None:
    counts = [item for item in taken if item is not None]
    return sum(positions for positions, _ in counts) / sum(count for _, count in counts) if counts else None


def _accuracy(source_share: float | None, target_share: float | None) -> float | None:
    """Mean accuracy of both domains, from the shares of positions taken for the source."""
    return None if source_share is None or target_share is None else 0.5 * (source_share + 1.0 - target_share)
