"""Lesions repainted as blood."""

import numpy as np
import pytest

from ctseg.augment.synthetic_haemorrhage import BLOOD_GREY, repaint, smooth_core


@pytest.fixture
def heads():
    """(8, 96, 96) discs of grey brain; a lesion with a hole and an arm in all but the last."""
    rows, columns = np.mgrid[:96, :96]
    images = np.where((rows - 48) ** 2 + (columns - 48) ** 2 < 40**2, 80 + rows % 5, 0).astype(np.uint8)
    images = images[None].repeat(8, 0)
    masks = np.zeros_like(images)
    masks[:-1, 35:55, 20:40] = 1
    masks[:-1, 43:46, 28:31] = 0
    masks[:-1, 44, 40:60] = 1
    return images, masks


def test_the_core_is_whole_and_has_no_arms(heads):
    for seed in range(10):
        core = smooth_core(heads[1][0] > 0, np.random.default_rng(seed))
        assert core[44, 29]
        assert not core[44, 50:].any()
        assert 300 < core.sum() < 420


def test_the_label_is_what_was_painted(heads):
    images, masks = heads
    painted, outlines = repaint(images, masks, 1.0, np.random.default_rng(0))
    assert (painted[-1] == images[-1]).all()
    assert not outlines[-1].any()
    for new, old, outline in zip(painted[:-1], images[:-1], outlines[:-1], strict=True):
        inside = new[40:50, 24:36].astype(float)
        assert outline[40:50, 24:36].all()
        assert BLOOD_GREY[0] - 35 < inside.mean() < BLOOD_GREY[1] + 25
        far = np.ones_like(outline, bool)
        far[30:60, 15:62] = False
        assert (new[far] == old[far]).all()
    assert not painted[images == 0].any()
    assert painted.dtype == outlines.dtype == np.uint8


def test_greys_differ_from_slice_to_slice(heads):
    painted, _ = repaint(*heads, 1.0, np.random.default_rng(0))
    assert painted[:-1, 42, 24].std() > 15


def test_the_texture_of_the_slice_stays(heads):
    images, masks = heads
    rng = np.random.default_rng(1)
    images = np.where(images > 0, images + rng.integers(-9, 10, images.shape), 0).astype(np.uint8)
    painted, _ = repaint(images, masks, 1.0, np.random.default_rng(0))
    fine = [np.diff(stack[:-1, 40:50, 22:28].astype(float), axis=2).ravel() for stack in (images, painted)]
    assert np.corrcoef(*fine)[0, 1] > 0.9


def test_probability_none_repaints_none_and_draws_repeat(heads):
    assert (repaint(*heads, 0.0, np.random.default_rng(0))[0] == heads[0]).all()
    first, second = (repaint(*heads, 0.5, np.random.default_rng(3)) for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, second, strict=True))
    changed = (first[0] != heads[0]).any(axis=(1, 2))
    assert 0 < changed.sum() < 7


def test_a_speck_stays_as_it_was_drawn(heads):
    images, masks = heads[0][:1], np.zeros_like(heads[1][:1])
    masks[0, 40, 40] = 1
    painted, outlines = repaint(images, masks, 1.0, np.random.default_rng(0))
    assert (painted == images).all()
    assert (outlines == masks).all()
