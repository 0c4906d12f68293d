"""From a scan to lesion probabilities, a mask and its volume."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.inference.measure import Measures, drop_small, measure
from ctseg.inference.models import LoadedModel, recipes
from ctseg.inference.prepare import ReadyCase, prepare_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.volume import Volume
from ctseg.protocols import BrainExtractor

MIRRORS = ((), (-1,), (-2,), (-2, -1))
"""Axes to flip: none, left-right, front-back, both. The same flips that training augments with."""


@dataclass(frozen=True)
class Prediction:
    """What the models say about one scan, all (K, h, w) on the scan's own grid (canonical axes, see `Volume`)."""

    volume: Volume
    probability: NDArray[np.float32]
    """0 outside the brain."""
    mask: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    measures: Measures
    """Of the mask: mL, ABC/2, lesions."""
    brain_ml: float
    seconds: float


def predict_volume(
    volume: Volume, models: Sequence[LoadedModel], settings: SegmentSettings, extractor: BrainExtractor
) -> Prediction:
    """Outline haemorrhage on one CT volume.

    Args:
        volume: HU.
        models: one or more; their probabilities are averaged.
        settings: threshold, smallest lesion, batch size, test-time flips.
        extractor: finds the brain; nothing is outlined outside it.

    Raises:
        CaseError: if the volume is no CT or shows no brain.
    """
    return predict_ready(prepare_volume(volume, recipes(models), extractor), models, settings)


def predict_ready(ready: ReadyCase, models: Sequence[LoadedModel], settings: SegmentSettings) -> Prediction:
    """As `predict_volume`, for a scan that is already prepared with `recipes(models)`."""
    started = time.perf_counter()
    probability = _native_probability(ready, models, settings) * ready.brain
    mask = drop_small(probability >= settings.threshold, ready.volume, settings.min_lesion_ml)
    return Prediction(
        volume=ready.volume,
        probability=probability,
        mask=mask,
        brain=ready.brain,
        measures=measure(mask, ready.volume),
        brain_ml=float(np.count_nonzero(ready.brain, axis=(1, 2)) @ ready.volume.voxel_ml),
        seconds=ready.seconds + time.perf_counter() - started,
    )


def _native_probability(
    ready: ReadyCase, models: Sequence[LoadedModel], settings: SegmentSettings
) -> NDArray[np.float32]:
    """(K, h, w) mean probability of all models, brought back to the scan's own pixels once for each recipe."""
    total = np.zeros(ready.volume.voxels.shape, dtype=np.float32)
    for way, prepared in zip(recipes(models), ready.prepared, strict=True):
        maps = np.zeros(prepared.images.shape, dtype=np.float32)
        for model in models:
            if model.recipe == way:
                maps += predict_slices(prepared.images, model, settings)
        total += prepared.frame.to_native(maps)
    return np.clip(total / len(models), 0.0, 1.0)


def predict_slices(images: NDArray[np.uint8], model: LoadedModel, settings: SegmentSettings) -> NDArray[np.float32]:
    """(K, H, W) slices, 0..255, to (K, H, W) probabilities. Slices without a brain pixel are not run and stay 0."""
    result = np.zeros(images.shape, dtype=np.float32)
    filled = np.flatnonzero(images.any(axis=(1, 2)))
    for start in range(0, len(filled), settings.batch_size):
        rows = filled[start : start + settings.batch_size]
        batch = torch.from_numpy(np.ascontiguousarray(images[rows])).to(model.device)
        scaled = batch[:, None].float() / 127.5 - 1  # (B, 1, H, W) in [-1, 1]
        result[rows] = _probabilities(scaled, model, settings)[:, 0].cpu().numpy()
    return result


def _probabilities(images: Tensor, model: LoadedModel, settings: SegmentSettings) -> Tensor:
    """(B, 1, H, W) in [-1, 1] -> (B, 1, H, W) probabilities, averaged over mirror images with `tta`."""
    mirrors = MIRRORS if settings.tta else MIRRORS[:1]
    mixed = settings.precision == "bf16-mixed"
    total = torch.zeros_like(images)
    with torch.inference_mode(), torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=mixed):
        for axes in mirrors:
            logits = model.module(images.flip(axes)).logits.float()
            total += torch.sigmoid(logits).flip(axes)
    return total / len(mirrors)
