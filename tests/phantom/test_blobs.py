from __future__ import annotations

import numpy as np
import pytest

from ctseg.phantom.blobs import make_blob
from ctseg.phantom.fields import grid_points, norm


def _ball(mass: float = 0.5, centre=(30.0, 0.0, 10.0), volume=30.0):
    return make_blob(np.random.default_rng(1), centre, volume, rough=0.0, mass=mass, lobes=0, long=(1.0, 1.0, 1.0))


def _around(centre, reach, step):
    low = tuple(c - reach for c in centre)
    return grid_points(low, step, (int(2 * reach / step) + 1,) * 3)


@pytest.mark.parametrize("volume", [5.0, 40.0])
def test_volume_is_about_what_was_asked_for(volume):
    sizes = []
    for seed in range(8):
        blob = make_blob(np.random.default_rng(seed), (34.0, 0.0, 20.0), volume)
        sizes.append(float((blob.depth(_around((34.0, 0.0, 20.0), 46.0, 2.0)) > 0).sum()) * 8 / 1000)
    assert 0.7 * volume < np.median(sizes) < 1.5 * volume


def test_no_part_crosses_the_falx():
    blob = make_blob(np.random.default_rng(5), (8.0, 0.0, 20.0), 40.0)
    points = _around((8.0, 0.0, 20.0), 46.0, 2.0)
    inside = blob.depth(points) > 0
    assert inside.any()
    assert points[inside][:, 0].min() > 0


def test_far_slices_are_skipped():
    depth = _ball().depth(_around((30.0, 0.0, 200.0), 4.0, 2.0))
    assert (depth == -1000).all()


def test_mass_effect_keeps_the_volume_of_the_tissue_it_moves():
    """What fills radius r after the push came from r^3 - mass R^3 before it, up to the fade with distance."""
    blob = _ball(mass=0.5)
    points = _around(blob.centre, 0.0, 1.0) + np.float32([0.0, blob.radius_mm * 1.1, 0.0])
    came_from = points + blob.push(points, np.full(points.shape[:3], -60, dtype=np.float32))
    distance, before = norm(points - blob.centre).item(), norm(came_from - blob.centre).item()
    fade = np.exp(-((distance / (3.2 * blob.radius_mm + 10)) ** 2))
    assert before**3 == pytest.approx(distance**3 - 0.5 * fade * blob.radius_mm**3, rel=1e-3)


def test_mass_effect_vanishes_at_the_skull_and_without_mass():
    points = _around((30.0, 0.0, 10.0), 30.0, 6.0)
    assert np.abs(_ball().push(points, np.zeros(points.shape[:3], dtype=np.float32))).max() == 0
    assert np.abs(_ball(mass=0.0).push(points, np.full(points.shape[:3], -60, dtype=np.float32))).max() < 1e-3
