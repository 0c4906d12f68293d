"""How much of known haematomas, put into the patient's own head, a model finds again.

The scan's own noise, tilt, slices and artefacts stay as they are, so the numbers of bright ones say how well this model
sees blood of that size and HU on this scan. Faint and large ones are put in, too: of all of them it is known how sure
the model was and how right, and that gives a Dice for the mask of the scan (`ctseg.inference.recovery_curve`).
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
from ctseg.inference.models import ModelGroup, with_card
from ctseg.inference.predict import brain_box, half_maximum, native_probability
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.recovery_curve import Curve, fit_curve
from ctseg.inference.results import recovery_text
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
FAINT_RUN: tuple[tuple[float, Kind, float], ...] = (
    (45.0, "deep", 6.0), (20.0, "lobar", 12.0), (20.0, "deep", 3.0), (8.0, "lobar", 6.0), (3.0, "deep", 12.0),
)  # fmt: skip
"""What one more run is asked to find: mL, kind, HU above the scan's own brain."""
FAINT_WEIGHT = 3.0
"""Of each of these in the curve, against 1 for a bright one, so that both kinds count about alike."""
HU_KNOWN = (8.0, 105.0)
"""Blood outside it is not put in."""
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
    expected: float
    """Dice that the model's probabilities expect of that outline (`expected_dice`); 0 where it found nothing."""

    @property
    def is_hit(self) -> bool:
        """Whether any of it was segmented."""
        return self.share > 0

    @property
    def is_segmented(self) -> bool:
        """Whether it was given an outline, right or wrong."""
        return self.ml > 0


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
    """Mean HU inside the masks of `found`."""
    found: tuple[Found, ...]
    """Those of the three sizes."""
    faint: tuple[Found, ...]
    """Those of `FAINT_RUN`."""
    seconds: float

    def dice_at(self, ml: float) -> float | None:
        """Mean Dice of those of a size; None where none had room."""
        dices = [item.dice for item in self.found if item.implant.wanted.ml == ml]
        return float(np.mean(dices)) if dices else None

    def curve(self) -> Curve | None:
        """What became of those that were found at all, by how sure the model was; None where they were too few."""
        both = [(item, 1.0) for item in self.found] + [(item, FAINT_WEIGHT) for item in self.faint]
        seen = [(item, weight) for item, weight in both if item.is_segmented]
        return fit_curve(
            [item.expected for item, _ in seen], [item.dice for item, _ in seen], [weight for _, weight in seen]
        )

    def dice_of(self, expected: float | None) -> float | None:
        """Dice of a mask with this expected Dice; None where there is no mask or no curve."""
        curve = None if expected is None else self.curve()
        return None if curve is None or expected is None else curve.at(expected)

    def summary(self, expected: float | None = None) -> str:
        """`recovery 0.78; at 52 HU: 0.41 (2 mL), 0.78 (5 mL), 0.86 (15 mL)`, the first of a mask's expected Dice."""
        return recovery_text(self.dice_of(expected), self.hu, {ml: self.dice_at(ml) for ml in sorted(SIZES_ML)})

    @property
    def missing(self) -> tuple[float, ...]:
        """The sizes that had no room, in mL."""
        return tuple(ml for ml in sorted(SIZES_ML) if self.dice_at(ml) is None)


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
        CaseError: if the scan is no CT or has no room for any whole haematoma.
    """
    if ready.volume.domain != "ct":
        raise CaseError("the slices are no CT, so that blood has no HU in them")
    started, rng = time.perf_counter(), np.random.default_rng(0)
    head = Head.of(ready.volume.voxels, Grid.of(ready.volume), ready.brain)

    def run(wanted: Sequence[Wanted]) -> tuple[Found, ...]:
        places = Places(head)
        places.take(mask)
        drawn = [implant_into(head, rng, item, places) for item in wanted]
        implants = [item for item in drawn if item is not None and not item.is_section(len(mask))]
        return measure_implants(ready, groups, settings, implants, mask).found if implants else ()

    standard = [Wanted(kind, ml, settings.recovery_hu, oedema_mm=0.0) for ml, kind in ROUND]
    found = tuple(item for _ in range(ROUNDS) for item in run(standard))
    if not found:
        raise CaseError("no room for a whole haematoma in the brain beside what is segmented")
    faint = run([Wanted(kind, ml, _above(head, hu), oedema_mm=0.0) for ml, kind, hu in FAINT_RUN])
    return Recovery(settings.recovery_hu, found, faint, time.perf_counter() - started)


def _above(head: Head, hu: float) -> float:
    return float(np.clip(head.brain_hu + hu, *HU_KNOWN))


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
    new, likely = np.zeros_like(mask), np.zeros(mask.shape, dtype=np.float32)
    segmented, probability = segment_changed(ready, groups, settings, implants, slices)
    new[slices], likely[slices] = segmented & ~mask[slices], np.where(mask[slices], np.float32(0), probability)
    stray = new.copy()
    found = tuple(_measured(ready, implant, new, likely, stray) for implant in implants)
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
) -> tuple[Mask, NDArray[np.float32]]:
    """(n, h, w) what the models segment on some slices of a scan with haematomas in it, and its probabilities."""
    voxels = add(ready.volume.voxels, implants)[slices]
    volume = replace(
        ready.volume, voxels=voxels, origins_mm=ready.volume.origins_mm[slices], frames=(), slice_ids=(),
        slice_keys=(), labels=None,
    )  # fmt: skip
    brain = ready.brain[slices]
    prepared = tuple(_prepared(item, voxels, brain) for item in ready.prepared)
    settings, box = with_card(settings, groups), brain_box(ready.brain)
    probability, _ = native_probability(ReadyCase(volume, brain, prepared, 0.0), groups, settings)
    mask = drop_small(probability >= settings.threshold, volume, settings.min_lesion_ml)
    scan = half_maximum(ready, settings)
    mask[box] = replace(scan, voxels=voxels[box], brain=brain[box], grid=Grid.of(volume)).grown(mask[box])
    return mask, probability


def _prepared(old: Prepared, voxels: NDArray[np.float32], brain: Mask) -> Prepared:
    """Slices made as those of the scan were, with its own frame and map of HU to grey."""
    images, inside = to_images(voxels, brain, old.frame, old.intensity)
    return Prepared(images, inside, brain, old.frame, old.intensity)


def _measured(ready: ReadyCase, implant: Implant, new: Mask, likely: NDArray[np.float32], stray: Mask) -> Found:
    """What was segmented in and near one haematoma, in mL; it is taken out of `stray`."""
    rows, columns = (
        slice(max(part.start - margin, 0), part.stop + margin)
        for part, margin in zip(implant.box[1:], _margins(ready), strict=True)
    )
    box = (slice(max(implant.box[0].start - 1, 0), implant.box[0].stop + 1), rows, columns)
    truth = implant.whole_mask(new.shape)[box]
    spacing = (float(np.median(ready.volume.slab_mm)), *ready.volume.spacing_mm)
    near = ndimage.distance_transform_edt(~truth, spacing) <= max(NEAR_MM, spacing[0])
    found, chance = new[box] & near, likely[box] * near
    stray[box] &= ~near
    weights = ready.volume.voxel_ml[box[0]]
    both, whole, segmented, sure, spread = (
        float(part.sum(axis=(1, 2), dtype=np.float64) @ weights)
        for part in (truth & found, truth, found, chance * found, chance)
    )
    expected = 2 * sure / (spread + segmented) if segmented > 0 else 0.0
    return Found(implant, dice(both, segmented - both, whole - both), both / whole, segmented, expected)


def _margins(ready: ReadyCase) -> list[int]:
    return [int(np.ceil(NEAR_MM / mm)) for mm in ready.volume.spacing_mm]
