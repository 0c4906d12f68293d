from __future__ import annotations

import numpy as np
import pytest

from ctseg.phantom.fields import grid_points, norm
from ctseg.phantom.fitting import Samples, fit_cover, solve_hu


def _ball(radius: float = 9.0, room: float = 1.0, size: int = 40) -> Samples:
    """A ball on a grid of 1 x 1 x 2 mm, two samples through each slice."""
    points = grid_points((-20.0, -20.0, -20.0), 1.0, (size, size, size))
    score = (radius - norm(points)).reshape(size // 2, 2, size, size).astype(np.float32)
    box = (slice(0, size // 2), slice(0, size), slice(0, size))
    return Samples(box, score, np.full_like(score, room), 1.0, 0.5)


def _ml(mask) -> float:
    return float(mask.sum()) * 2 / 1000


VOXELS = np.full(20, 0.002, dtype=np.float32)


@pytest.mark.parametrize("ml", [0.05, 0.5, 3.0, 12.0])
def test_the_mask_holds_the_wanted_volume(ml):
    cover, mask = fit_cover(_ball(), ml, VOXELS)
    assert _ml(mask) == pytest.approx(ml, rel=0.2, abs=0.02)
    assert (cover[mask] > 0.5).all()
    assert (cover[~mask] <= 0.5).all()


def test_a_part_stays_one_piece():
    samples = _ball()
    samples.room[:, :, :, 22:24] = 0
    cover, mask = fit_cover(samples, 4.0, VOXELS)
    assert mask[:, :, :22].any() != mask[:, :, 24:].any()
    assert _ml(mask) == pytest.approx(4.0, rel=0.25) or _ml(mask) < 4.0
    assert (cover[~mask] <= 0.5).all()


def test_no_room_no_blood():
    cover, mask = fit_cover(_ball(room=0.2), 1.0, VOXELS)
    assert not mask.any()
    assert not cover.any()


@pytest.mark.parametrize("wanted", [34.0, 48.0, 60.0])
def test_the_mean_in_the_mask_is_the_wanted_one_in_spite_of_partial_volume(wanted):
    cover, mask = fit_cover(_ball(), 0.3, VOXELS)
    below = np.full(cover.shape, 31.0, dtype=np.float32)
    measured = below + np.linspace(-3, 3, cover.shape[0], dtype=np.float32)[:, None, None]
    texture = np.random.default_rng(0).normal(0, 4, cover.shape).astype(np.float32)
    blood = solve_hu(wanted, mask, cover, below, measured, texture)
    after = measured + cover * (blood - below)
    assert after[mask].mean() == pytest.approx(wanted, abs=0.1)


def test_blood_has_no_hu_that_blood_cannot_have():
    cover, mask = fit_cover(_ball(), 0.3, VOXELS)
    below = np.full(cover.shape, 31.0, dtype=np.float32)
    assert solve_hu(400.0, mask, cover, below, below, 0 * below).max() <= 105
