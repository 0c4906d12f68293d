"""Parts found from runs are those of `scipy.ndimage.label`, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ctseg.preprocess.grid import IN_PLANE, parts_touching, reached_from_border, without_islands
from ctseg.preprocess.runs import connected_parts

DENSITIES = (0.0, 0.03, 0.3, 0.5, 0.59, 0.7, 0.97, 1.0)
SHAPES = ((5, 17, 23), (1, 30, 31), (4, 1, 40), (6, 40, 1), (1, 1, 1))


def masks(rng):
    """Random masks from empty to full, and smooth ones, whose parts are large."""
    for shape in SHAPES:
        yield from (rng.random(shape) < density for density in DENSITIES)
        yield ndimage.gaussian_filter(rng.standard_normal(shape), (1, 2, 2)) > 0


@pytest.mark.parametrize("in_plane", [True, False])
def test_parts_and_their_sizes(rng, in_plane):
    for mask in masks(rng):
        labels, count = ndimage.label(mask, structure=IN_PLANE if in_plane else None)
        parts = connected_parts(mask, in_plane=in_plane)
        assert parts.count == count
        painted = np.zeros(parts.flat.shape, dtype=int)
        for start, stop, number in zip(parts.starts, parts.stops, parts.numbers, strict=True):
            painted[start:stop] = number + 1
        painted = painted.reshape(parts.shape)[:, :, :-1]
        pairs = set(zip(labels[mask].tolist(), painted[mask].tolist(), strict=True))
        assert len(pairs) == count  # one number of ours for each of scipy's
        assert not painted[~mask].any()
        assert sorted(parts.sizes) == sorted(np.bincount(labels.ravel(), minlength=count + 1)[1:])


def test_islands_are_left_out_as_before(rng):
    for mask in masks(rng):
        labels, count = ndimage.label(mask, structure=IN_PLANE)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        for smallest in (0, 0.4, 1, 2, 7.5, 40):
            large = sizes >= max(smallest, 1)
            large[0] = False
            np.testing.assert_array_equal(without_islands(mask, smallest), large[labels])


def test_parts_that_touch_seeds_are_kept_as_before(rng):
    for mask in masks(rng):
        for density in (0.0, 0.01, 0.2, 1.0):
            seeds = rng.random(mask.shape) < density
            labels = ndimage.label(mask)[0]
            wanted = np.isin(labels, labels[seeds & mask]) & mask
            np.testing.assert_array_equal(parts_touching(mask, seeds), wanted)
            flat = ndimage.label(mask[0])[0]
            wanted = np.isin(flat, flat[seeds[0] & mask[0]]) & mask[0]
            np.testing.assert_array_equal(parts_touching(mask[0], seeds[0]), wanted)


@pytest.mark.parametrize("in_plane", [True, False])
def test_what_the_border_reaches_is_found_as_before(rng, in_plane):
    for mask in masks(rng):
        rimmed = np.pad(mask, ((0, 0), (1, 1), (1, 1)), constant_values=True)
        labels = ndimage.label(rimmed, structure=IN_PLANE if in_plane else None)[0]
        wanted = np.isin(labels, labels[:, 0, 0])[:, 1:-1, 1:-1] & mask
        np.testing.assert_array_equal(reached_from_border(mask, in_plane=in_plane), wanted)
