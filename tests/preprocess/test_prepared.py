from __future__ import annotations

import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.preprocess.ct import prepare_ct, window_map
from ctseg.preprocess.mr import prepare_mr
from ctseg.preprocess.prepared import to_masks
from ctseg.preprocess.settings import PreprocessSettings

SETTINGS = PreprocessSettings(size=32, fov_mm=64.0)


@pytest.fixture
def square():
    brain = np.zeros((3, 80, 80), bool)
    brain[:, 20:60, 24:56] = True
    return brain


def test_window_map_is_the_papers():
    assert window_map((0.0, 100.0)) == (2.55, 0.0)
    slope, offset = window_map((-50.0, 150.0))
    assert slope * -50 + offset == pytest.approx(0)
    assert slope * 150 + offset == pytest.approx(255)


def test_ct_is_windowed_inside_the_brain_and_zero_outside(square, volume_of):
    hu = np.where(square, 40.0, 900.0)
    hu[:, 30, 30] = 3000
    prepared = prepare_ct(volume_of(hu, pixel_mm=1.0), SETTINGS, square)
    assert prepared.images.shape == (3, 32, 32)
    assert prepared.images.dtype == np.uint8
    assert not prepared.images[~prepared.brain].any()
    inside = prepared.images[prepared.brain]
    assert np.median(inside) == 102
    assert inside.min() == 102  # neither bone nor background bleeds into the rim
    assert prepared.brain.sum() == pytest.approx(square.sum() / 4, rel=0.05)
    assert prepared.intensity == (2.55, 0.0)


def test_hu_come_back_from_grey_values(square, volume_of, rng):
    hu = np.where(square, rng.uniform(5, 95, square.shape), -1000)
    settings = PreprocessSettings(size=80, fov_mm=80.0)
    prepared = prepare_ct(volume_of(hu, pixel_mm=1.0), settings, square)
    slope, offset = prepared.intensity
    native = prepared.frame.to_native((prepared.images.astype(float) - offset) / slope)
    np.testing.assert_allclose(native[square], hu[square], atol=0.21)


def test_a_ct_without_brain_is_a_case_error(square, volume_of):
    with pytest.raises(CaseError, match="case: no brain found"):
        prepare_ct(volume_of(square * 1.0), SETTINGS, np.zeros_like(square))


def test_a_stripped_ct_is_noted(square, volume_of):
    hu = np.where(square, 30.0, 0.0)
    assert prepare_ct(volume_of(hu), SETTINGS, square).notes == ("the skull was already removed",)


def test_a_stripped_ct_whose_edge_is_near_its_background_is_noted(square, volume_of):
    hu = np.where(square, 30.0, 0.0)
    hu[:, 60, 24:56] = 0.4
    assert prepare_ct(volume_of(hu), SETTINGS, square).notes == ("the skull was already removed",)


def test_a_skull_that_is_open_is_noted(square, volume_of):
    hu = np.where(square, 30.0, 900.0)
    hu[0, 0, 0] = -1000.0
    assert prepare_ct(volume_of(hu), SETTINGS, square).notes == ()
    rows, columns = np.flatnonzero(square[0].any(axis=1)), np.flatnonzero(square[0].any(axis=0))
    hu[0, :, columns[-1] + 1 :] = 30.0  # one slice has no bone on the left
    [note] = prepare_ct(volume_of(hu), SETTINGS, square).notes
    assert note.startswith(f"{100 / len(square):.0f} % of the brain: no bone on one side")
    hu[0, rows[0] : rows[-1] + 1, columns[-1] + 1 :] = 900.0
    assert prepare_ct(volume_of(hu), SETTINGS, square).notes == ()


def test_a_ct_is_stripped_only_where_every_slice_is(square, volume_of):
    hu = np.where(square, 30.0, 0.0)
    whole = np.ones_like(square)
    whole[1:] = square[1:]  # a first slice without anything outside
    assert prepare_ct(volume_of(hu), SETTINGS, whole).notes == ("the skull was already removed",)
    hu[-1, 0, 0] = 900.0
    assert "removed" not in " ".join(prepare_ct(volume_of(hu), SETTINGS, square).notes)
    levels = np.where(square, 30.0, np.arange(len(square))[:, None, None])  # one value a slice, not one in all
    assert "removed" not in " ".join(prepare_ct(volume_of(levels), SETTINGS, square).notes)


def test_mr_percentiles_become_black_and_white(square, volume_of, rng):
    voxels = np.where(square, rng.uniform(200, 1200, square.shape), 0)
    settings = PreprocessSettings(size=80, fov_mm=80.0, percentiles=(1.0, 99.0))
    prepared = prepare_mr(volume_of(voxels, pixel_mm=1.0, domain="mr"), settings)
    low, high = np.percentile(voxels[square].astype(np.float32), (1, 99))
    slope, offset = prepared.intensity
    assert slope * low + offset == pytest.approx(0, abs=1e-3)
    assert slope * high + offset == pytest.approx(255, abs=1e-3)
    inside = prepared.images[prepared.brain]
    assert 0.005 < (inside == 0).mean() < 0.02
    assert 0.005 < (inside == 255).mean() < 0.02


def test_mr_scaling_does_not_hang_on_scanner_units(square, volume_of, rng):
    voxels = np.where(square, rng.uniform(200, 1200, square.shape), 0)
    one = prepare_mr(volume_of(voxels, domain="mr"), SETTINGS)
    other = prepare_mr(volume_of(voxels * 37.5, domain="mr"), SETTINGS)
    assert np.abs(one.images.astype(int) - other.images).max() <= 1


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((2, 20, 20)), "every voxel is zero"),
        (np.ones((2, 20, 20)), "not skull-stripped"),
        (np.pad(np.ones((2, 10, 10)), ((0, 0), (5, 5), (5, 5))), "one grey value only"),
    ],
)
def test_unusable_mr_is_a_case_error(voxels, message, volume_of):
    with pytest.raises(CaseError, match=f"case: .*{message}"):
        prepare_mr(volume_of(voxels, domain="mr"), SETTINGS)


def test_masks_take_pixels_that_are_half_covered(square, volume_of):
    prepared = prepare_ct(volume_of(np.where(square, 30.0, 0), pixel_mm=1.0), SETTINGS, square)
    masks = to_masks(square, prepared.frame)
    np.testing.assert_array_equal(masks.astype(bool), prepared.brain)


@pytest.mark.parametrize("own_hu", [24.0, 31.0, 38.0])
def test_brain_hu_takes_the_brains_own_median_away(square, volume_of, own_hu):
    hu = np.where(square, own_hu, 900.0)
    hu[:, 30:34, 30:34] = own_hu + 20
    settings = SETTINGS.model_copy(update={"brain_hu": 31.0})
    prepared = prepare_ct(volume_of(hu, pixel_mm=1.0), settings, square)
    assert np.median(prepared.images[prepared.brain]) == round(31 * 2.55)
    assert prepared.images.max() == pytest.approx((31 + 20) * 2.55, abs=1)
    slope, offset = prepared.intensity
    assert (prepared.images.max() - offset) / slope == pytest.approx(own_hu + 20, abs=0.5)  # the scan's own HU


def test_the_median_that_is_taken_away_is_the_whole_brains_and_not_a_slices(square, volume_of):
    hu = np.where(square, 30.0, 900.0)
    hu[2] = np.where(square[2], 60.0, 900.0)
    prepared = prepare_ct(volume_of(hu, pixel_mm=1.0), SETTINGS.model_copy(update={"brain_hu": 31.0}), square)
    assert [int(np.median(image[image > 0])) for image in prepared.images] == [79, 79, 156]
