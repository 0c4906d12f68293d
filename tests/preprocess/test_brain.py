from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brain_helpers import dice, some
from scipy.ndimage import binary_dilation, binary_opening

from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.preprocess.brain import MuschelliExtractor, enclosed, in_a_skull, opened
from ctseg.preprocess.brain_network import BrainNetworkExtractor
from ctseg.preprocess.ct import without_bone

EXTRACT = MuschelliExtractor()


def test_eyes_and_neck_are_cut_off(head, volume_of):
    hu, brain = head
    eye = np.zeros_like(brain)
    eye[12:15, 4:10, 28:36] = True
    hu[eye] = 15
    hu[13, 9:14, 31:33] = 20  # the optic canal joins eye and brain
    found = EXTRACT(volume_of(hu))
    assert not found[:, :9][eye[:, :9]].any()
    assert dice(found, brain) > 0.96


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


def without_left_vault(volume: Volume) -> Volume:
    """A decompressive craniectomy: 12.5 cm of the left vault and all of it above become soft tissue."""
    voxels = volume.voxels.copy()
    window = voxels[14:, 128:384, 256:]
    bone = binary_dilation(window > 150, np.ones((1, 5, 5), bool))
    window[bone] = 30
    return volume.with_voxels(voxels)


def without_occiput(volume: Volume) -> Volume:
    """A field of view that ends within the head."""
    voxels = volume.voxels.copy()
    voxels[:, 400:] = -1500
    return volume.with_voxels(voxels)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("extract", [EXTRACT, BrainNetworkExtractor()], ids=["muschelli", "network"])
@pytest.mark.parametrize(
    ("change", "least", "kept"),
    [(without_left_vault, 0.92, 0.99), (without_occiput, 0.98, 0.97)],
    ids=["craniectomy", "field of view"],
)
def test_a_head_that_is_open_to_one_side_has_a_brain(real_data, extract, change, least, kept):
    """Every row that reaches the gap lacks bone on a side, which is most of the brain: none was found."""
    volume = ct(real_data / "ct-ge-tilted")
    opened_head = change(volume)
    brain, found = extract(volume) & (opened_head.voxels > -900), extract(opened_head)
    assert dice(found, brain) > least
    assert found[brain].mean() > kept
    assert 0.5 < without_bone(opened_head, found) < 0.7
    assert without_bone(volume, brain) < 0.01


def test_a_skull_is_shown_by_a_slice_that_is_closed():
    inside = np.zeros((3, 40, 40), bool)
    brain = np.zeros_like(inside)
    brain[:, 10:30, 10:30] = True
    assert not in_a_skull(brain, inside, 10.0)
    inside[1, 10:30, 10:28] = True  # 90 % of 40 cm2 in one slice of three
    assert in_a_skull(brain, inside, 10.0)
    assert not in_a_skull(brain, inside, 7.0)  # 28 cm2: such a ring can be a vertebra's or a jaw's
    inside[1, 10:30, 10:28] = False
    inside[1, 10:30, 10:27] = True
    assert not in_a_skull(brain, inside, 10.0)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 3), (0, 10), (0, 20), (12, 13)])
def test_a_neck_and_face_of_the_template_have_no_brain(real_data, first, last):
    """Jaw and spine enclose up to 42 % of what is found there, and no whole slice of it."""
    assert not EXTRACT(some(ct(real_data / "ct-template" / "scct_hu_2mm.nii.gz"), list(range(first, last)))).any()


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
