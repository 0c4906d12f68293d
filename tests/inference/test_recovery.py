from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from segment_helpers import AIR, BRAIN, NonAirIsBrain, Stack, bright_model, bright_models

from ctseg.errors import CaseError
from ctseg.implant.lay import add
from ctseg.inference.measure import expected_dice
from ctseg.inference.models import by_preprocessing
from ctseg.inference.predict import predict_with_recovery
from ctseg.inference.prepare import ReadyCase, prepare_volume
from ctseg.inference.recovery import (
    FAINT_RUN,
    SIZES_ML,
    Recovery,
    measure_implants,
    measure_recovery,
)
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.inference.slice_set import segment_slices
from ctseg.io.discover import discover
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import open_slices

MODEL = bright_models(80, 160.0)
BRIGHT = SegmentSettings(recovery=True, recovery_hu=75, preview=False)
FAINT = SegmentSettings(recovery=True, recovery_hu=45, preview=False)


def brain_volume(blood_hu: float | None = None):  # type: ignore[no-untyped-def]
    """A brain of 1.1 L, at 2 mm pixels and 5 mm slices; with or without a bleed of 14 mL."""
    stack = Stack(np.arange(0, 125, 5.0), tilt_deg=12, size=84, pixel_mm=2.0)
    points = stack.points()
    radius = np.linalg.norm(points / (62.0, 74.0, 56.0), axis=-1)
    hu = np.where(radius < 1, BRAIN, AIR) + np.random.default_rng(0).normal(0, 2, radius.shape)
    if blood_hu is not None:
        hu[np.linalg.norm(points - (25.0, 0.0, 0.0), axis=-1) < 15] = blood_hu
    return stack.volume(hu)


@pytest.fixture(scope="module")
def ready() -> ReadyCase:
    return prepare_volume(brain_volume(80.0), [group.preprocessing for group in MODEL], NonAirIsBrain())


@pytest.fixture(scope="module")
def bright(ready: ReadyCase) -> Recovery:
    found = predict_with_recovery(ready, MODEL, BRIGHT).recovery
    assert found is not None
    return found


@pytest.mark.slow
def test_a_model_that_sees_bright_blood_recovers_it_and_faint_blood_not(ready: ReadyCase, bright: Recovery) -> None:
    faint = predict_with_recovery(ready, MODEL, FAINT).recovery
    assert faint is not None
    for ml in SIZES_ML:
        assert bright.dice_at(ml) > 0.6  # type: ignore[operator]
        assert faint.dice_at(ml) < 0.25  # type: ignore[operator]
    assert bright.missing == ()


@pytest.mark.slow
def test_recovery_is_read_where_the_model_is_as_sure_and_an_empty_mask_has_none(bright: Recovery) -> None:
    assert bright.dice_of(None) is None
    low, high = bright.dice_of(0.6), bright.dice_of(0.95)
    assert low is not None
    assert high is not None
    assert 0 < low < high < 1
    few = replace(bright, found=bright.found[:5], faint=())
    assert few.dice_of(0.95) is None


@pytest.mark.slow
def test_faint_ones_are_above_the_scan_s_own_brain_and_change_no_column_of_the_bright_ones(
    ready: ReadyCase, bright: Recovery
) -> None:
    brain = float(np.median(ready.volume.voxels[ready.brain]))
    assert len(bright.faint) == len(FAINT_RUN)
    for item, (ml, _, above) in zip(bright.faint, FAINT_RUN, strict=True):
        assert item.implant.wanted.ml == ml
        assert item.implant.hu - brain == pytest.approx(above, abs=2)
        assert item.expected == 0 or 0 < item.expected <= 1
    assert {item.implant.wanted.hu for item in bright.found} == {75}
    assert {item.implant.wanted.ml for item in bright.found} == set(SIZES_ML)
    without = replace(bright, faint=())
    assert [without.dice_at(ml) for ml in SIZES_ML] == [bright.dice_at(ml) for ml in SIZES_ML]


@pytest.mark.slow
def test_a_part_of_a_head_gets_whole_haematomas_alone(ready: ReadyCase) -> None:
    """Of 25 mm: balls of 2 mL have 16 mm, of 15 mL 31 mm, and what would be cut is a section of a larger one."""
    volume = replace(ready.volume, voxels=ready.volume.voxels[10:15], origins_mm=ready.volume.origins_mm[10:15])
    part = prepare_volume(volume, [group.preprocessing for group in MODEL], NonAirIsBrain())
    prediction = predict_with_recovery(part, MODEL, BRIGHT)
    assert prediction.recovery is not None
    assert prediction.recovery.dice_at(2) > 0.5  # type: ignore[operator]
    assert prediction.recovery.dice_at(15) is None
    assert "no room for whole haematomas of" in prediction.recovery_note
    for item in prediction.recovery.found:
        area = item.implant.whole_mask(part.brain.shape).sum(axis=(1, 2))
        assert max(area[0], area[-1]) < area.max() / 2


@pytest.mark.slow
def test_known_haematomas_keep_away_from_what_was_segmented(ready: ReadyCase, bright: Recovery) -> None:
    mask = predict_with_recovery(ready, MODEL, SegmentSettings()).mask
    assert mask.sum() > 0
    for item in bright.found:
        assert not (item.implant.whole_mask(mask.shape) & mask).any()


def expected_of(ready: ReadyCase, scan, new) -> float:  # type: ignore[no-untyped-def]
    """Expected Dice of a haematoma alone: of what the changed scan shows more than the scan as it was."""
    before = predict_with_recovery(ready, MODEL, SegmentSettings())
    groups = [group.preprocessing for group in MODEL]
    after = predict_with_recovery(prepare_volume(scan, groups, NonAirIsBrain()), MODEL, SegmentSettings())
    more = np.where(before.mask, 0, after.probability)
    return float(expected_dice(more, new, ready.volume) or 0)


@pytest.mark.slow
def test_the_numbers_are_those_of_segmenting_the_changed_scan_whole(ready: ReadyCase, bright: Recovery) -> None:
    base = predict_with_recovery(ready, MODEL, SegmentSettings()).mask
    item = next(found for found in bright.found if found.implant.wanted.ml == 15)
    scan = ready.volume.with_voxels(add(ready.volume.voxels, [item.implant]))
    whole = predict_with_recovery(
        prepare_volume(scan, [group.preprocessing for group in MODEL], NonAirIsBrain()), MODEL, SegmentSettings()
    ).mask
    new, truth = whole & ~base, item.implant.whole_mask(base.shape)
    both = (new & truth).sum()
    assert item.dice == pytest.approx(2 * both / (new.sum() + truth.sum()), abs=0.02)
    assert item.expected == pytest.approx(expected_of(ready, scan, new), abs=0.02)
    (again,) = measure_implants(ready, MODEL, BRIGHT, [item.implant], base).found
    assert again.dice == pytest.approx(item.dice, abs=0.02)
    assert again.ml == pytest.approx(ready.volume.voxel_ml[0] * new.sum(), rel=0.05)


@pytest.mark.slow
def test_a_scan_gives_the_same_numbers_each_time(ready: ReadyCase, bright: Recovery) -> None:
    again = predict_with_recovery(ready, MODEL, BRIGHT).recovery
    assert again is not None
    assert [item.dice for item in again.found] == [item.dice for item in bright.found]


def test_where_it_cannot_be_measured_the_segmentation_stands_and_one_line_says_why(ready: ReadyCase) -> None:
    small = np.zeros_like(ready.brain)
    small[12, 40:44, 40:44] = True
    cramped = replace(ready, brain=small)
    prediction = predict_with_recovery(cramped, MODEL, BRIGHT)
    assert prediction.recovery is None
    assert prediction.recovery_note.startswith("no recovery: no room")
    assert "\n" not in prediction.recovery_note
    one = ReadyCase(
        replace(ready.volume, voxels=ready.volume.voxels[12:13], origins_mm=ready.volume.origins_mm[12:13]),
        ready.brain[12:13], ready.prepared, 0.0,
    )  # fmt: skip
    with pytest.raises(CaseError, match="no room for a whole haematoma"):
        measure_recovery(one, MODEL, BRIGHT, np.zeros_like(one.brain))
    mr = replace(ready, volume=replace(ready.volume, domain="mr"))
    with pytest.raises(CaseError, match="no CT"):
        measure_recovery(mr, MODEL, BRIGHT, np.zeros_like(ready.brain))


def save(path: Path, volume) -> None:  # type: ignore[no-untyped-def]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = volume.col_step_mm * (-1, -1, 1), volume.row_step_mm * (-1, -1, 1)
    affine[:3, 2] = (volume.origins_mm[1] - volume.origins_mm[0]) * (-1, -1, 1)
    affine[:3, 3] = volume.origins_mm[0] * (-1, -1, 1)
    nib.save(nib.Nifti1Image(np.rint(volume.voxels.transpose(2, 1, 0)).astype(np.int16), affine), path)


@pytest.mark.slow
def test_columns_preview_and_the_evaluation_hold_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "head.nii.gz", brain_volume(80.0))
    cases = discover([tmp_path / "in"], "ct").cases
    settings = BRIGHT.model_copy(update={"preview": True})
    (row,) = segment_cases(cases, MODEL, tmp_path / "out", settings, extractor=NonAirIsBrain())
    assert row.status == "ok", row.error
    assert row.recovery_hu == 75
    assert (row.recovery_15ml or 0) > 0.6
    (line,) = csv.DictReader((tmp_path / "out" / "volumes.csv").open())
    assert float(line["recovery_2ml"]) == row.recovery_2ml
    details = json.loads((tmp_path / "out" / "volumes.json").read_text())
    assert details["cases"][0]["recovery_5ml"] == row.recovery_5ml
    assert details["settings"]["recovery"] is True
    mask = np.asarray(nib.load(tmp_path / "out" / "head.nii.gz").dataobj) > 0
    volume = brain_volume(80.0)
    truth = (volume.voxels == 80).transpose(2, 1, 0)
    assert row.recovery == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()), abs=0.1)
    assert (tmp_path / "out" / "head.png").stat().st_size > 1000
    (plain,) = segment_cases(
        cases, MODEL, tmp_path / "plain", SegmentSettings(preview=False), extractor=NonAirIsBrain()
    )
    assert plain.recovery_2ml is None
    assert plain.ml == row.ml


@pytest.mark.slow
def test_slice_sets_give_recovery_too(tmp_path: Path, ready: ReadyCase) -> None:
    images = ready.prepared[0].images
    count = len(images)
    table = pd.DataFrame(
        {
            "slice_id": [f"one_{n}" for n in range(count)], "patient_id": "one", "series_id": "1.2",
            "case_id": "one", "index": range(count), "z_mm": ready.volume.z_mm, "spacing_row_mm": 2.0,
            "spacing_col_mm": 2.0, "brain_px": 200, "lesion_px": "", "split": "test",
        }
    )  # fmt: skip
    (tmp_path / "set").mkdir()
    write_slices(
        tmp_path / "set", domain="ct", images=images, masks=None, table=table,
        intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={},
    )  # fmt: skip
    groups = by_preprocessing([bright_model(80, 160.0)])
    (row,) = segment_slices(open_slices(tmp_path / "set"), groups, tmp_path / "out", BRIGHT)
    assert row.recovery_15ml is not None, row.note
    assert row.recovery_15ml > 0.6
