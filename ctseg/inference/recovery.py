"""How much of known haematomas, put into the patient's own head, a model finds again.

The scan's own noise, tilt, slices and artefacts stay as they are, so the number says how well this model sees blood of
that size and HU on this scan. It says nothing of the bleed that may really be there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.errors import CaseError
from ctseg.implant.head import Head
from ctseg.implant.lay import Implant, add, implant_into
from ctseg.implant.places import Places
from ctseg.implant.wanted import Kind, Wanted
from ctseg.inference.measure import drop_small
from ctseg.inference.models import ModelGroup
from ctseg.inference.predict import Prediction, native_probability, predict_ready
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.settings import SegmentSettings
from ctseg.io.stack import Grid, Mask
from ctseg.metrics.overlap import dice
from ctseg.preprocess.prepared import Prepared, to_images

SIZES_ML = (15.0, 5.0, 2.0)
"""The largest first, so that it finds a place."""
ROUND: tuple[tuple[float, Kind], ...] = (
    (15.0, "deep"), (5.0, "lobar"), (5.0, "deep"), (2.0, "lobar"), (2.0, "deep"), (15.0, "lobar"),
)  # fmt: skip
"""What one run of the model is asked to find, as far as it fits into the head without touching."""
ROUNDS = 2
NEAR_MM = 6.0
"""What is segmented this near to a known haematoma counts as its outline: half the least gap between two."""
CONTEXT = 2
"""Slices on either side of changed ones that the model is given, too."""


@dataclass(frozen=True)
class Found:
    """What a model made of one known haematoma."""

    implant: Implant
    dice: float
    """Of the outline that the model gave it; 0 where it found nothing."""
    share: float
    """Of the haematoma's volume that was segmented."""
    ml: float
    """That the model gives it."""

    @property
    def is_hit(self) -> bool:
        """Whether any of it was segmented."""
        return self.share > 0


@dataclass(frozen=True)
class Pass:
    """Known haematomas that were in the head together."""

    found: tuple[Found, ...]
    stray_ml: float
    """Segmented because of them, but near none of them."""


@dataclass(frozen=True)
class Recovery:
    """All known haematomas of one scan."""

    hu: float
    """Mean HU inside their masks."""
    found: tuple[Found, ...]
    seconds: float

    def dice_at(self, ml: float) -> float | None:
        """Mean Dice of those of a size; None where none had room."""
        dices = [item.dice for item in self.found if item.implant.wanted.ml == ml]
        return float(np.mean(dices)) if dices else None

    def dice_of(self, ml: float) -> float | None:
        """Dice that haematomas of a volume would have, see `read_at`; None where `ml` is 0 or a size had no room."""
        dices = [self.dice_at(size) for size in sorted(SIZES_ML)]
        known = [found for found in dices if found is not None]
        return read_at(ml, known) if ml > 0 and len(known) == len(SIZES_ML) else None

    def summary(self) -> str:
        """`recovery at 52 HU: 0.41 (2 mL), 0.78 (5 mL), 0.86 (15 mL)`."""
        known = [(ml, found) for ml in sorted(SIZES_ML) if (found := self.dice_at(ml)) is not None]
        return f"recovery at {self.hu:g} HU: " + ", ".join(f"{found:.2f} ({ml:g} mL)" for ml, found in known)

    @property
    def missing(self) -> tuple[float, ...]:
        """The sizes that had no room, in mL."""
        return tuple(ml for ml in sorted(SIZES_ML) if self.dice_at(ml) is None)


def read_at(ml: float, dices: Sequence[float]) -> float:
    """Read the Dice of 2, 5 and 15 mL at another volume: linear in its logarithm, constant beyond both ends."""
    return float(np.interp(np.log(max(ml, 1e-3)), np.log(sorted(SIZES_ML)), dices))


def predict_with_recovery(ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings) -> Prediction:
    """As `predict_ready`; with the setting `recovery` also what comes back of known haematomas.

    Where it cannot be measured, `recovery_note` says why; the segmentation is kept.
    """
    prediction = predict_ready(ready, groups, settings)
    if not settings.recovery:
        return prediction
    try:
        recovery = measure_recovery(ready, groups, settings, prediction.mask)
    except CaseError as error:
        return replace(prediction, recovery_note=f"no recovery: {error}")
    sizes = ", ".join(f"{ml:g}" for ml in recovery.missing)
    note = f"recovery: no room for haematomas of {sizes} mL" if sizes else ""
    return replace(prediction, recovery=recovery, recovery_note=note)


def measure_recovery(ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings, mask: Mask) -> Recovery:
    """Put known haematomas into a scan, away from what is segmented, and segment it again.

    The brain mask, the frame and the map of HU to grey are those of the scan itself. A scan gives the same numbers each
    time.

    Args:
        ready: the scan, prepared for each group.
        groups: the models.
        settings: threshold and the haematomas' HU.
        mask: (K, h, w) what the models segment on the scan as it is.

    Raises:
        CaseError: if the scan is no CT or has no room for any haematoma.
    """
    if ready.volume.domain != "ct":
        raise CaseError("the slices are no CT, so that blood has no HU in them")
    started, rng = time.perf_counter(), np.random.default_rng(0)
    head = Head.of(ready.volume.voxels, Grid.of(ready.volume), ready.brain)
    found: list[Found] = []
    for _ in range(ROUNDS):
        places = Places(head)
        places.take(mask)
        wanted = [Wanted(kind, ml, settings.recovery_hu, oedema_mm=0.0) for ml, kind in ROUND]
        drawn = [implant_into(head, rng, item, places) for item in wanted]
        implants = [item for item in drawn if item is not None]
        if implants:
            found += measure_implants(ready, groups, settings, implants, mask).found
    if not found:
        raise CaseError("no room for a haematoma in the brain beside what is segmented")
    return Recovery(settings.recovery_hu, tuple(found), time.perf_counter() - started)


def measure_implants(
    ready: ReadyCase,
    groups: Sequence[ModelGroup],
    settings: SegmentSettings,
    implants: Sequence[Implant],
    mask: Mask,
) -> Pass:
    """Segment a scan with haematomas that keep apart, and measure each; the model runs on the changed slices alone.

    Args:
        ready: the scan without them.
        groups: the models.
        settings: threshold.
        implants: what is put in, all at once.
        mask: (K, h, w) what the models segment without them; it belongs to none of them.
    """
    slices = changed_slices(implants, len(mask))
    new = np.zeros_like(mask)
    new[slices] = segment_changed(ready, groups, settings, implants, slices) & ~mask[slices]
    stray = new.copy()
    found = tuple(_measured(ready, implant, new, stray) for implant in implants)
    return Pass(found, Grid.of(ready.volume).volume_ml(stray))


def changed_slices(implants: Sequence[Implant], count: int) -> NDArray[np.int64]:
    """Numbers of the slices that haematomas change, and their neighbours."""
    used = np.zeros(count, dtype=bool)
    for implant in implants:
        box = implant.box[0]
        used[max(box.start - CONTEXT, 0) : box.stop + CONTEXT] = True
    return np.flatnonzero(used)


def segment_changed(
    ready: ReadyCase,
    groups: Sequence[ModelGroup],
    settings: SegmentSettings,
    implants: Sequence[Implant],
    slices: NDArray[np.int64],
) -> Mask:
    """(n, h, w) what the models segment on some slices of a scan with haematomas in it."""
    voxels = add(ready.volume.voxels, implants)[slices]
    volume = replace(
        ready.volume, voxels=voxels, origins_mm=ready.volume.origins_mm[slices], frames=(), slice_ids=(),
        slice_keys=(), labels=None,
    )  # fmt: skip
    brain = ready.brain[slices]
    prepared = tuple(_prepared(item, voxels, brain) for item in ready.prepared)
    probability, _ = native_probability(ReadyCase(volume, brain, prepared, 0.0), groups, settings)
    return drop_small(probability >= settings.threshold, volume, settings.min_lesion_ml)


def _prepared(old: Prepared, voxels: NDArray[np.float32], brain: Mask) -> Prepared:
    """Slices made as those of the scan were, with its own frame and map of HU to grey."""
    images, inside = to_images(voxels, brain, old.frame, old.intensity)
    return Prepared(images, inside, brain, old.frame, old.intensity)


def _measured(ready: ReadyCase, implant: Implant, new: Mask, stray: Mask) -> Found:
    """What was segmented in and near one haematoma, in mL; it is taken out of `stray`."""
    rows, columns = (
        slice(max(part.start - margin, 0), part.stop + margin)
        for part, margin in zip(implant.box[1:], _margins(ready), strict=True)
    )
    box = (slice(max(implant.box[0].start - 1, 0), implant.box[0].stop + 1), rows, columns)
    truth = implant.whole_mask(new.shape)[box]
    spacing = (float(np.median(ready.volume.slab_mm)), *ready.volume.spacing_mm)
    near = ndimage.distance_transform_edt(~truth, spacing) <= max(NEAR_MM, spacing[0])
    found = new[box] & near
    stray[box] &= ~near
    weights = ready.volume.voxel_ml[box[0]]
    both, whole, segmented = (float(part.sum(axis=(1, 2)) @ weights) for part in (truth & found, truth, found))
    return Found(implant, dice(both, segmented - both, whole - both), both / whole, segmented)


def _margins(ready: ReadyCase) -> list[int]:
    return [int(np.ceil(NEAR_MM / mm)) for mm in ready.volume.spacing_mm]
