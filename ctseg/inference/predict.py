"""From a scan to lesion probabilities, a mask and its volume."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.errors import CaseError, PluginError
from ctseg.inference.bone_edge import smoothed_flags
from ctseg.inference.disagreement import Disagreement, Members
from ctseg.inference.half_maximum import HalfMaximum
from ctseg.inference.measure import Measures, drop_faint, drop_small, expected_dice, measure, volume_ml
from ctseg.inference.models import LoadedModel, ModelGroup, with_card
from ctseg.inference.ood import ood_flags
from ctseg.inference.other_blood import OtherBlood, find_other_blood
from ctseg.inference.prepare import ReadyCase, prepare_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.volume import Volume
from ctseg.networks.intensity import checked_numbers, checked_shape, to_images
from ctseg.plugins.called import call_of
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.grid import filled_box

if TYPE_CHECKING:
    from ctseg.inference.recovery import Recovery

MIRRORS = ((), (-1,), (-2,), (-2, -1))
"""Axes to flip: none, left-right, front-back, both. The same flips that training augments with."""
NEARLY = 1 - 1e-5
"""An interpolated value may be rounded up by less than this share."""
MIRRORED_FROM = 0.05
"""A slice whose own image has no pixel of this probability is not mirrored: its members are taken to agree."""


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
    disagreement: Disagreement | None = None
    """Between mirror images and models; None where there is one member only."""
    ood: tuple[str, ...] = ()
    """Out-of-distribution flags: in which respects the scan lies outside the training scans."""
    expected_dice: float | None = None
    """Dice that the probabilities expect of the mask; None where nothing is segmented."""
    faint_ml: float = 0.0
    """Volume of the faint lesions that were dropped, see the setting `faint_hu`."""
    recovery: Recovery | None = None
    """What came back of known haematomas; None where it was not asked for or cannot be measured."""
    recovery_note: str = ""
    """What could not be measured of it, and why."""
    other_blood: OtherBlood | None = None
    """Blood outside the brain's tissue; None where it was not asked for."""


def predict_volume(
    volume: Volume, groups: Sequence[ModelGroup], settings: SegmentSettings, extractor: BrainExtractor
) -> Prediction:
    """Segment haemorrhage on one CT volume.

    Args:
        volume: HU.
        groups: one or more models, grouped by preprocessing; their probabilities are averaged.
        settings: threshold, smallest lesion, batch size, test-time flips.
        extractor: finds the brain; nothing is segmented outside it.

    Raises:
        CaseError: if the volume is no CT or shows no brain.
    """
    ready = prepare_volume(volume, [group.preprocessing for group in groups], extractor)
    return predict_ready(ready, groups, settings)


def predict_ready(ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings) -> Prediction:
    """As `predict_volume`, for a scan that is already prepared for each group."""
    started = time.perf_counter()
    settings = with_card(settings, groups)
    probability, disagreement = native_probability(ready, groups, settings)
    mask = drop_small(probability >= settings.threshold, ready.volume, settings.min_lesion_ml)
    kept = drop_faint(mask, ready.volume, ready.brain, settings.faint_hu or 0.0)
    faint_ml, mask = volume_ml(mask & ~kept, ready.volume), kept
    box = brain_box(ready.brain)
    mask[box] = half_maximum(ready, settings).grown(mask[box])
    return Prediction(
        volume=ready.volume,
        probability=probability,
        mask=mask,
        brain=ready.brain,
        measures=measure(mask, ready.volume),
        brain_ml=volume_ml(ready.brain, ready.volume),
        seconds=ready.seconds + time.perf_counter() - started,
        disagreement=disagreement,
        ood=_ood(ready, groups),
        faint_ml=faint_ml,
        expected_dice=expected_dice(probability, mask, ready.volume),
        other_blood=find_other_blood(ready, groups, settings, mask),
    )


def predict_with_recovery(ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings) -> Prediction:
    """As `predict_ready`; with the setting `recovery` also what comes back of known haematomas.

    Where it cannot be measured, `recovery_note` says why; the segmentation is kept.
    """
    prediction = predict_ready(ready, groups, settings)
    if not settings.recovery:
        return prediction
    from ctseg.inference.recovery import measure_recovery  # loads the phantom, from which its haematomas are

    try:
        recovery = measure_recovery(ready, groups, settings, prediction.mask)
    except CaseError as error:
        return replace(prediction, recovery_note=f"no recovery: {error}")
    sizes = ", ".join(f"{ml:g}" for ml in recovery.missing)
    note = f"recovery: no room for whole haematomas of {sizes} mL" if sizes else ""
    return replace(prediction, recovery=recovery, recovery_note=note)


def native_probability(
    ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings
) -> tuple[NDArray[np.float32], Disagreement | None]:
    """(K, h, w) mean probability of all members, each brought back to the scan's own pixels; 0 outside the brain."""
    settings = with_card(settings, groups)
    mean = np.zeros(ready.volume.voxels.shape, dtype=np.float32)
    box = brain_box(ready.brain)
    part, brain, growth = box[1:], ready.brain[box], half_maximum(ready, settings)
    total = np.zeros(brain.shape, dtype=np.float32)
    members = Members(ready.volume, settings.min_lesion_ml)
    count = sum(len(group.models) for group in groups) * len(_mirrors(settings))
    for group, prepared in zip(groups, ready.prepared, strict=True):
        for model in group.models:
            found = _members(prepared.images, model, settings)
            total += np.float32(len(found)) * prepared.frame.to_native(_mean(found), part=part)
            for maps in found if count > 1 else ():
                members.add(growth.grown(_segmented(maps, prepared.frame, settings.threshold, part) & brain))
    mean[box] = np.clip(total * brain / np.float32(count), np.float32(0), np.float32(1))
    return mean, members.disagreement(mean[box])


def brain_box(brain: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """All slices, and the rows and columns that hold anything of the brain (K, h, w)."""
    rows, cols = filled_box(brain, (0, 0, 0))[1:] if brain.any() else (slice(0, 0), slice(0, 0))
    return slice(None), rows, cols


def half_maximum(ready: ReadyCase, settings: SegmentSettings) -> HalfMaximum:
    """In which lesions grow, on the rows and columns of the brain."""
    return HalfMaximum.of(ready.volume, ready.brain, settings.grow_mm or 0.0).within(brain_box(ready.brain))


def _mean(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, K, H, W) to the mean (K, H, W); exact where all members say the same."""
    return np.asarray(maps.mean(axis=0, dtype=np.float64), dtype=np.float32)


def _segmented(
    maps: NDArray[np.float32], frame: Frame, threshold: float, within: tuple[slice, slice]
) -> NDArray[np.bool_]:
    """One member's mask on some native rows and columns (K, h, w) from its probabilities (K, H, W).

    Interpolated values are no larger than those around them, so only pixels beside such as reach the threshold are
    computed.
    """
    high = maps >= NEARLY * threshold
    mask = np.zeros((len(maps), *(part.stop - part.start for part in within)), dtype=bool)
    if high.any():
        slices, rows, cols = filled_box(high, (0, 0, 0))
        part = frame.native_part((rows, cols), within=within)
        here = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, within, strict=True))
        mask[slices, *here] = frame.to_native(maps[slices], part=part) >= threshold
    return mask


def _ood(ready: ReadyCase, groups: Sequence[ModelGroup]) -> tuple[str, ...]:
    """The out-of-distribution flags of any of the models, each text once."""
    flags = [
        flag
        for group, prepared in zip(groups, ready.prepared, strict=True)
        for model in group.models
        for flag in ood_flags(
            model.header.input.get("profile") or {}, prepared, ready.volume.z_mm, group.preprocessing.pixel_mm
        )
    ]
    finest_mm = min(group.preprocessing.pixel_mm for group in groups)
    return tuple(dict.fromkeys([*flags, *smoothed_flags(ready.volume, ready.brain, finest_mm)]))


def predict_slices(images: NDArray[np.uint8], model: LoadedModel, settings: SegmentSettings) -> NDArray[np.float32]:
    """(K, H, W) slices, 0..255, to (K, H, W) probabilities, averaged over mirror images with `tta`.

    Slices without a brain pixel are not run and stay 0.
    """
    return _mean(_members(images, model, settings))


def _mirrors(settings: SegmentSettings) -> tuple[tuple[int, ...], ...]:
    return MIRRORS if settings.tta else MIRRORS[:1]


def _members(images: NDArray[np.uint8], model: LoadedModel, settings: SegmentSettings) -> NDArray[np.float32]:
    """(K, H, W) slices to (M, K, H, W) probabilities, one map for each mirror image (see `MIRRORED_FROM`)."""
    result = np.zeros((len(_mirrors(settings)), *images.shape), dtype=np.float32)
    todo = np.flatnonzero(images.any(axis=(1, 2)))
    for place, axes in enumerate(_mirrors(settings)):
        for start in range(0, len(todo), settings.batch_size):
            rows = todo[start : start + settings.batch_size]
            scaled = to_images(images[rows], model.device)  # (B, 1, H, W) in [-1, 1]
            found = _probabilities(scaled, axes, model, settings)[:, 0].cpu().numpy()
            result[place if axes else slice(None), rows] = checked_numbers(found, model.label)
        if not axes:
            todo = np.flatnonzero(result[0].max(axis=(1, 2)) >= MIRRORED_FROM)
    return result


def _probabilities(images: Tensor, axes: tuple[int, ...], model: LoadedModel, settings: SegmentSettings) -> Tensor:
    """(B, 1, H, W) in [-1, 1] -> (B, 1, H, W) probabilities of the image mirrored along `axes`, turned back."""
    mixed = settings.precision == "bf16-mixed"
    with torch.inference_mode(), torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=mixed):
        who = model.who
        with call_of(model.header.package, who):
            output: Any = model.module(images.flip(axes))
        if not hasattr(output, "logits"):
            raise PluginError(f"{who}: gives a {type(output).__name__}, not a SegmenterOutput")
        return torch.sigmoid(checked_shape(output.logits, images, who).float().flip(axes))
