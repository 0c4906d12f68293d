import numpy as np
import pytest
from segment_helpers import UNEVEN_Z, Head, Stack

from ctseg.inference.resampled import needs_resampling, resample_evenly


def points_of(resampled, volume):
    rows, cols = (np.arange(count) for count in resampled.planes.shape[1:])
    in_plane = rows[:, None, None] * volume.row_step_mm + cols[None, :, None] * volume.col_step_mm
    return resampled.origins_mm[:, None, None] + in_plane


@pytest.mark.parametrize("tilt", [0.0, 18.5, -25.0])
def test_resampled_mask_stays_in_place_and_keeps_its_volume(tilt):
    stack = Stack(UNEVEN_Z, tilt)
    mask = Head().inside_blood(stack.points())
    volume = stack.volume(mask)
    resampled = resample_evenly(volume, mask)
    row, col = volume.spacing_mm
    ml = np.count_nonzero(resampled.planes) * row * col * resampled.step_mm / 1000
    weights = np.repeat(volume.voxel_ml, mask.sum(axis=(1, 2)))
    true_centre = np.average(stack.points()[mask], axis=0, weights=weights)
    assert ml == pytest.approx(weights.sum(), rel=0.02)
    np.testing.assert_allclose(points_of(resampled, volume)[resampled.planes].mean(axis=0), true_centre, atol=0.4)


def test_planes_are_even_and_at_right_angles():
    volume = Stack(UNEVEN_Z, 18.5).volume(np.zeros((17, 64, 64)))
    resampled = resample_evenly(volume, np.zeros((17, 64, 64), bool))
    steps = np.diff(resampled.origins_mm, axis=0)
    np.testing.assert_allclose(steps, np.tile(resampled.step_mm * volume.normal, (len(steps), 1)), atol=1e-9)
    assert resampled.step_mm == 1.5  # half the thinnest slab


@pytest.mark.parametrize("steps", [[3.0] * 7, [5.0] * 3 + [2.5] * 4, [2.5, 7.5, 2.5, 2.5]])
@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_slabs_that_are_multiples_of_the_thinnest_are_kept_to_the_last_voxel(steps, tilt):
    stack = Stack(np.concatenate([[0.0], np.cumsum(steps)]), tilt, size=16)
    mask = np.random.default_rng(0).random((len(steps) + 1, 16, 16)) > 0.5
    volume = stack.volume(mask)
    resampled = resample_evenly(volume, mask)
    ml = np.count_nonzero(resampled.planes) * np.prod(volume.spacing_mm) * resampled.step_mm / 1000
    assert ml == pytest.approx(np.repeat(volume.voxel_ml, mask.sum(axis=(1, 2))).sum(), rel=1e-6)


def test_an_even_untilted_stack_of_thin_slices_is_itself():
    stack = Stack(np.arange(6) * 1.5, 0.0, size=16)
    mask = np.random.default_rng(0).random((6, 16, 16)) > 0.5
    volume = stack.volume(mask)
    resampled = resample_evenly(volume, mask)
    np.testing.assert_array_equal(resampled.planes, mask)
    np.testing.assert_allclose(resampled.origins_mm, volume.origins_mm, atol=1e-9)


@pytest.mark.parametrize(
    ("stack", "wanted"),
    [
        (Stack(np.arange(5) * 4.0, 0.0), False),
        (Stack(np.arange(5) * 4.0, 5.0), True),
        (Stack(np.array([0, 4, 8, 13.0]), 0.0), True),
        (Stack(np.array([0.0]), 0.0), False),
    ],
)
def test_only_tilted_and_uneven_series_need_it(stack, wanted):
    volume = stack.volume(np.zeros((len(stack.z_mm), 64, 64)))
    assert needs_resampling(volume) is wanted
