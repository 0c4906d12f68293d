import numpy as np
import pytest
from segment_helpers import Stack

from ctseg.inference.measure import abc2_ml, diameters_mm, drop_faint, drop_small, expected_dice, measure, volume_ml

STEPS = np.array([3, 4, 4, 5, 3, 5, 4, 4, 5, 3, 4, 5, 4, 3, 4, 5, 5, 4, 3, 4, 4.0])


def ellipsoid(stack: Stack, centre: tuple[float, float, float], axes_mm: tuple[float, float, float]) -> np.ndarray:
    return (((stack.points() - centre) / np.array(axes_mm)) ** 2).sum(axis=-1) <= 1


@pytest.mark.parametrize("tilt", [0.0, 18.5, -25.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (3.3, -5.1, 2.2), (-7.7, 4.4, -3.9)])
def test_known_ellipsoid_in_a_tilted_uneven_series_within_one_percent(tilt, shift):
    stack = Stack(np.cumsum(STEPS), tilt, size=128, pixel_mm=0.8)
    axes_mm = (22.0, 27.0, 31.0)
    mask = ellipsoid(stack, shift, axes_mm)
    truth = 4 / 3 * np.pi * np.prod(axes_mm) / 1000
    assert volume_ml(mask, stack.volume(mask)) == pytest.approx(truth, rel=0.01)


def test_volume_ignores_the_way_along_the_table():
    """The mean step between origins is longer than the slab by 1 / cos(tilt): 15 % at 30 degrees."""
    stack = Stack(np.arange(10) * 5.0, tilt_deg=30.0, size=4, pixel_mm=1.0)
    mask = np.ones((10, 4, 4), bool)
    assert volume_ml(mask, stack.volume(mask)) == pytest.approx(10 * 5.0 * 16 / 1000)
    assert np.linalg.norm(stack.origins[1] - stack.origins[0]) == pytest.approx(5 / np.cos(np.radians(30)))


def test_abc2_of_a_box_is_its_half_product():
    """Axis-aligned box: A is the diagonal, so use a bar one pixel wide: A = length, B = width."""
    stack = Stack(np.arange(6) * 4.0, tilt_deg=0.0, size=16, pixel_mm=2.0)
    mask = np.zeros((6, 16, 16), bool)
    mask[1:4, 5, 2:12] = True
    assert abc2_ml(mask, stack.volume(mask)) == pytest.approx(20.0 * 2.0 * 12.0 / 2 / 1000)


def test_abc2_weights_slices_by_their_share_of_the_largest_area():
    stack = Stack(np.arange(6) * 4.0, tilt_deg=0.0, size=16, pixel_mm=1.0)
    mask = np.zeros((6, 16, 16), bool)
    for k, length in [(0, 2), (1, 4), (2, 10), (3, 8), (4, 5)]:  # shares 20, 40, 100, 80, 50 %
        mask[k, 5, 2 : 2 + length] = True
    c_mm = 4.0 * (0 + 0.5 + 1 + 1 + 0.5)
    assert abc2_ml(mask, stack.volume(mask)) == pytest.approx(10.0 * 1.0 * c_mm / 2 / 1000)


def test_abc2_of_an_ellipsoid_is_close_to_its_volume_and_differs_from_the_sum_of_slices():
    """pi / 6 against 1 / 2 of the product of diameters, and C by its three weights."""
    stack = Stack(np.arange(40) * 2.0, tilt_deg=0.0, size=96, pixel_mm=1.0)
    mask = ellipsoid(stack, (0, 0, 0), (20.0, 30.0, 25.0))
    volume = stack.volume(mask)
    truth = 4 / 3 * np.pi * 20 * 30 * 25 / 1000
    share = 1 - (volume.z_mm - volume.z_mm.mean()) ** 2 / 25.0**2
    c_mm = 2.0 * ((share > 0.75).sum() + 0.5 * ((share <= 0.75) & (share >= 0.25)).sum())
    assert abc2_ml(mask, volume) == pytest.approx(60 * 40 * c_mm / 2 / 1000, rel=0.03)
    assert volume_ml(mask, volume) == pytest.approx(truth, rel=0.01)


def test_diameters_of_a_turned_bar():
    rows, cols = np.mgrid[:60, :60]
    along, across = (rows - 30 + cols - 30) / np.sqrt(2), (rows - cols) / np.sqrt(2)
    longest, width = diameters_mm((np.abs(along) <= 20) & (np.abs(across) <= 3), (0.5, 0.5))
    assert longest == pytest.approx(np.hypot(20.0, 3.0), rel=0.05)
    assert width == pytest.approx(3.0 * np.hypot(20.0, 3.0) / 20.0, abs=0.6)


def test_lesions_touch_by_26_neighbours_and_are_sorted():
    stack = Stack(np.arange(4) * 5.0, tilt_deg=0.0, size=8, pixel_mm=1.0)
    mask = np.zeros((4, 8, 8), bool)
    mask[0, 1, 1] = mask[1, 2, 2] = True  # joined over a corner
    mask[3, 6, 6] = mask[3, 6, 7] = mask[2, 6, 7] = True
    measures = measure(mask, stack.volume(mask))
    assert measures.lesions == 2
    assert measures.lesions_ml == pytest.approx((0.015, 0.010))
    assert measures.largest_ml == pytest.approx(0.015)
    assert measures.ml == pytest.approx(0.025)


def test_empty_mask_measures_nothing():
    stack = Stack(np.arange(4) * 5.0, size=8)
    measures = measure(np.zeros((4, 8, 8), bool), stack.volume(np.zeros((4, 8, 8))))
    assert (measures.ml, measures.abc2_ml, measures.lesions, measures.largest_ml) == (0.0, 0.0, 0, 0.0)


def test_drop_small_keeps_lesions_of_exactly_the_limit():
    stack = Stack(np.arange(4) * 5.0, tilt_deg=0.0, size=8, pixel_mm=1.0)
    mask = np.zeros((4, 8, 8), bool)
    mask[0, 1, 1:3] = True
    mask[3, 6, 6] = True
    kept = drop_small(mask, stack.volume(mask), 0.01)
    assert kept[0].sum() == 2
    assert kept.sum() == 2
    assert drop_small(mask, stack.volume(mask), 0.0) is mask


def spots(*hu: float, large_ml: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, mask and brain of a brain of 30 HU with spots of 0.04 mL, and one lesion of a size, of 33 HU."""
    stack = Stack(np.arange(6) * 5.0, tilt_deg=0.0, size=40, pixel_mm=2.0)
    voxels, mask = np.full((6, 40, 40), 30.0), np.zeros((6, 40, 40), bool)
    for place, value in enumerate(hu):
        part = (0, slice(4 * place, 4 * place + 2), slice(0, 1))
        mask[part], voxels[part] = True, value
    count = round(large_ml / 0.02)
    if count:
        mask[3].flat[: 40 * 40] = np.arange(1600) < count
        voxels[3][mask[3]] = 33.0
    return stack.volume(voxels), mask, np.ones_like(mask)


def test_faint_spots_are_dropped_where_nothing_large_was_segmented():
    volume, mask, brain = spots(37.0, 39.0, 60.0)
    kept = drop_faint(mask, volume, brain, 8.0)
    assert [bool(kept[0, 4 * place, 0]) for place in range(3)] == [False, True, True]
    np.testing.assert_array_equal(drop_faint(mask, volume, brain, 0.0), mask)
    assert not drop_faint(np.zeros_like(mask), volume, brain, 8.0).any()


def test_faint_spots_stay_beside_a_large_lesion_however_faint_that_is():
    volume, mask, brain = spots(37.0, 60.0, large_ml=1.2)
    np.testing.assert_array_equal(drop_faint(mask, volume, brain, 8.0), mask)
    volume, mask, brain = spots(37.0, 60.0, large_ml=0.9)
    assert drop_faint(mask, volume, brain, 8.0).sum() == 2


def test_expected_dice_weighs_voxels_by_their_slabs_and_is_unknown_of_an_empty_mask():
    stack = Stack(np.array([0, 2, 4, 10.0]), tilt_deg=0.0, size=4, pixel_mm=1.0)
    probability = np.zeros((4, 4, 4), np.float32)
    probability[0, 0, 0], probability[3, 0, 0], probability[3, 0, 1] = 0.8, 0.9, 0.4
    mask, volume = probability >= 0.5, stack.volume(probability)
    first, _, _, last = volume.voxel_ml
    both = 0.8 * first + 0.9 * last
    expected = 2 * both / (both + 0.4 * last + first + last)
    assert expected_dice(probability, mask, volume) == pytest.approx(expected, rel=1e-6)
    sure = mask.astype(np.float32)
    assert expected_dice(sure, mask, volume) == pytest.approx(1.0)
    assert expected_dice(probability, np.zeros_like(mask), volume) is None
