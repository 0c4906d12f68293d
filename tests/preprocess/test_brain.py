from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_opening

from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.brain import MuschelliExtractor, enclosed, opened
from ctseg.preprocess.stripped import stripped_brain

EXTRACT = MuschelliExtractor()


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def some(volume: Volume, slices: list[int]) -> Volume:
    ids = tuple(volume.slice_ids[k] for k in slices)
    return replace(volume, voxels=volume.voxels[slices], origins_mm=volume.origins_mm[slices], slice_ids=ids, frames=())


def test_it_is_an_extractor():
    assert isinstance(EXTRACT, BrainExtractor)


def test_brain_of_a_head(head, volume_of):
    hu, brain = head
    found = EXTRACT(volume_of(hu))
    assert found.dtype == bool
    assert dice(found, brain) > 0.97
    assert (hu[found] < 150).all()


def test_blood_against_the_skull_and_calcium_are_kept(head, volume_of):
    hu, brain = head
    columns = np.flatnonzero(brain[15, 40])
    clot = np.zeros_like(brain)
    clot[13:18, 34:46, columns[-8] : columns[-1] + 1] = True
    clot &= brain
    hu[clot] = 80
    hu[15, 40:42, 40:42] = 400
    found = EXTRACT(volume_of(hu))
    assert found[clot].mean() > 0.95
    assert found[15, 40:42, 40:42].all()


def test_eyes_and_neck_are_cut_off(head, volume_of):
    hu, brain = head
    eye = np.zeros_like(brain)
    eye[12:15, 4:10, 28:36] = True
    hu[eye] = 15
    hu[13, 9:14, 31:33] = 20  # the optic canal joins eye and brain
    found = EXTRACT(volume_of(hu))
    assert not found[:, :9][eye[:, :9]].any()
    assert dice(found, brain) > 0.96


@pytest.mark.slow
def test_a_missing_piece_of_skull_costs_little(head, volume_of):
    hu, brain = head
    gap = np.zeros_like(brain)
    gap[16:24, 25:50, 55:] = True
    hu[gap & (hu > 200)] = 40
    hu[gap & (hu < -30) & (hu > -200)] = 40  # no fat either: scalp lies on the brain
    found = EXTRACT(volume_of(hu))
    assert dice(found, brain) > 0.93
    assert found[brain].mean() > 0.97


@pytest.mark.parametrize("slices", [[15], [14, 15], list(range(10, 20)), list(range(15)), list(range(15, 30))])
def test_parts_of_a_head_give_the_same_brain(slices, head, volume_of):
    hu, brain = head
    found = EXTRACT(some(volume_of(hu), slices))
    assert dice(found, brain[slices]) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("window", [(-200, 200), (0, 100), (0, 80)])
def test_clipped_scans_work(window, head, volume_of):
    hu, brain = head
    assert dice(EXTRACT(volume_of(np.clip(hu, *window))), brain) > 0.94


@pytest.mark.parametrize("value", [-1000.0, 0.0, 40.0])
def test_no_brain_where_there_is_none(value, volume_of):
    assert not EXTRACT(volume_of(np.full((4, 40, 40), value))).any()


@pytest.mark.parametrize("background", [0.0, -1024.0])
def test_stripped_scans_are_recognised(background, head, volume_of):
    hu, brain = head
    volume = volume_of(np.where(brain, np.rint(hu), background))
    np.testing.assert_array_equal(EXTRACT(volume), brain)
    assert stripped_brain(volume_of(hu)) is None


def test_enclosed_needs_bone_on_all_four_sides():
    bone = np.zeros((2, 9, 9), bool)
    bone[0, 2, 2:7] = bone[0, 6, 2:7] = bone[0, 2:7, 2] = bone[0, 2:7, 6] = True
    bone[1] = bone[0]
    bone[1, 2] = False
    assert enclosed(bone)[0, 3:6, 3:6].all()
    assert not enclosed(bone)[0, 0].any()
    assert not enclosed(bone)[1, 4, 4]


def ct(folder: Path) -> Volume:
    return read_case(discover([folder], "ct").cases[0])


@pytest.mark.slow
@pytest.mark.real_data
def test_dice_against_the_template(real_data):
    """Measured 0.956; the template is an average of many heads, so its skull base is blurred below 100 HU."""
    head = ct(real_data / "ct-template" / "scct_hu_2mm.nii.gz")
    truth = (
        read_case(
            replace(
                discover([real_data / "ct-template" / "scct_hu_2mm.nii.gz"], "ct").cases[0],
                files=(real_data / "ct-template" / "scct_brain_2mm.nii.gz",),
                domain="mr",
            )
        ).voxels
        > 0
    )
    assert dice(EXTRACT(head), truth) >= 0.95


@pytest.mark.slow
@pytest.mark.real_data
def test_the_stripped_atlas_is_its_own_mask(real_data):
    atlas = ct(real_data / "ct-template" / "ct_brain_atlas_1mm.nii.gz")
    assert dice(EXTRACT(atlas), atlas.voxels != 0) > 0.999


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_tilted_head(real_data):
    """Looked at slice by slice (docs/images/brain-extraction.png); these bounds hold what was seen."""
    volume = ct(real_data / "ct-ge-tilted")
    brain = EXTRACT(volume)
    millilitres = brain.sum(axis=(1, 2)) * volume.voxel_ml
    assert 1200 < millilitres.sum() < 1500
    assert not brain[:5].any()  # canal and neck
    assert not brain[27].any()  # bone of the vertex only
    assert brain[5:27].any(axis=(1, 2)).all()
    assert (volume.voxels[brain] > 200).mean() < 0.002
    assert (volume.voxels[brain] < -50).mean() < 0.001


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_head_with_a_piece_of_skull_missing(real_data):
    """Half the left vault becomes soft tissue; measured 0.983 against the intact head's brain."""
    volume = ct(real_data / "ct-ge-tilted")
    brain = EXTRACT(volume)
    voxels = volume.voxels.copy()
    window = voxels[14:25, 160:310, 256:]
    window[window > 100] = 35
    found = EXTRACT(volume.with_voxels(voxels))
    assert dice(found, brain) > 0.97
    assert found[brain].mean() > 0.985


@pytest.mark.slow
@pytest.mark.real_data
def test_a_slice_of_the_neck_has_no_brain(real_data):
    assert not EXTRACT(some(ct(real_data / "ct-ge-tilted"), [0])).any()


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 31, 26), (1, 1, 40), (2, 5, 3)])
def test_opening_by_rows_and_columns_is_that_by_squares(shape, steps, rng):
    mask = rng.random(shape) < 0.97
    square = np.ones((1, 3, 3), dtype=bool)
    np.testing.assert_array_equal(opened(mask, steps), binary_opening(mask, square, iterations=steps))
