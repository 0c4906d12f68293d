"""Painted rims and spots."""

import numpy as np
import pytest

from ctseg.augment.distractors import FLUID_GREY, arc, paint, pools, spot


@pytest.fixture
def heads():
    """(6, 96, 96) discs of dark brain, a lesion in each."""
    rows, columns = np.mgrid[:96, :96]
    brain = (rows - 48) ** 2 + (columns - 48) ** 2 < 40**2
    images = np.where(brain, 90 + (rows % 7), 0).astype(np.uint8)[None].repeat(6, 0)
    masks = np.zeros_like(images)
    masks[:, 40:50, 20:32] = 1
    return images, masks


def test_lesion_background_and_input_stay_as_they_are(heads):
    images, masks = heads
    before = images.copy()
    painted = paint(images, masks, 1.0, np.random.default_rng(0))
    assert (images == before).all()
    assert (painted[masks > 0] == images[masks > 0]).all()
    assert not painted[images == 0].any()
    assert (painted >= images).all()
    assert all((new != old).any() for new, old in zip(painted, images, strict=True))
    assert painted.dtype == np.uint8


def test_probability_none_paints_none_and_draws_repeat(heads):
    assert (paint(*heads, 0.0, np.random.default_rng(0)) == heads[0]).all()
    first, second = (paint(*heads, 0.5, np.random.default_rng(3)) for _ in range(2))
    assert (first == second).all()


def test_an_arc_hugs_the_edge_and_is_no_ring(heads):
    brain = heads[0][0] > 0
    for seed in range(20):
        band = arc(brain, np.random.default_rng(seed))
        assert band.any()
        rows, columns = np.nonzero(band)
        assert np.hypot(rows - 48, columns - 48).min() > 40 - 0.08 * 96 - 2
        assert band.sum() < 0.25 * brain.sum()


def test_a_spot_is_small_and_inside(heads):
    brain = heads[0][0] > 0
    for seed in range(20):
        found = spot(brain, np.random.default_rng(seed))
        assert 1 <= found.sum() <= 4 * 2.5**2
        assert brain[found].all()


def test_an_empty_slice_is_left_alone():
    empty = np.zeros((1, 32, 32), np.uint8)
    assert not paint(empty, empty, 1.0, np.random.default_rng(0)).any()


def test_blood_fills_dark_pools_and_nothing_else(heads):
    image, mask = heads[0][0].copy(), heads[1][0]
    image[30:44, 50:60] = 15  # a ventricle
    image[60:62, 50] = 15  # two pixels: noise
    image[44:48, 22:26] = 15  # dark within the lesion
    free = (image > 0) & (mask == 0)
    found = [pools(image, free, np.random.default_rng(seed)) for seed in range(40)]
    ventricle = np.zeros_like(free)
    ventricle[30:44, 50:60] = True
    assert not any((pool & ~ventricle).any() for pool in found)
    assert any((pool == ventricle).all() for pool in found)
    behind = [pool for pool in found if pool.any() and pool.sum() < ventricle.sum()]
    assert behind
    assert all(pool[43].any() and not pool[30].any() for pool in behind)
    painted = np.stack([paint(image[None], mask[None], 1.0, np.random.default_rng(seed))[0] for seed in range(40)])
    filled = painted[(painted[:, 38, 55] > 15), 38, 55]
    assert len(filled) > 5
    assert filled.max() <= FLUID_GREY[1]  # no rim or spot reaches it in these draws


def test_all_fluid_or_none_is_no_trouble(heads):
    image = np.full((8, 8), 20, np.uint8)
    assert not pools(image, image > 0, np.random.default_rng(0)).any()
