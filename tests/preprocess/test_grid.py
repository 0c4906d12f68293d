from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ctseg.preprocess.grid import EDGE_PAD, WorkingGrid, fill_holes, near, parts_touching, without_islands, working_grid


def distance_mm(grid: WorkingGrid, mask: np.ndarray) -> np.ndarray:
    """mm from each voxel of the mask to the nearest one outside; the end slices continue."""
    padded = np.pad(mask, ((EDGE_PAD, EDGE_PAD), (0, 0), (0, 0)), mode="edge")
    return distance_transform_edt(padded, sampling=grid.spacing_mm)[EDGE_PAD:-EDGE_PAD].astype(np.float32)


def test_every_slice_is_on_the_grid_whatever_the_steps(volume_of, rng):
    volume = volume_of(rng.normal(size=(5, 12, 12)), pixel_mm=2.0)
    z_mm = np.array([0.0, 1.1, 5.1, 12.1, 19.1])
    volume = replace(volume, origins_mm=np.stack([0 * z_mm, 0 * z_mm, z_mm], axis=1))
    grid = working_grid(volume)
    assert grid.places.tolist() == [0, 1, 3, 7, 11]
    np.testing.assert_allclose(grid.to_grid(volume.voxels)[grid.places], volume.voxels, atol=1e-6)
    np.testing.assert_allclose(grid.positions[3:8], [2, 2.25, 2.5, 2.75, 3])


def test_one_slice_has_a_grid(volume_of):
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 10:30, 12:28] = True
    grid = working_grid(volume_of(mask, pixel_mm=0.75))
    assert grid.to_grid(mask.astype(np.float32)).shape == (1, 20, 20)
    np.testing.assert_array_equal(grid.to_native(grid.to_grid(mask.astype(np.float32)) >= 0.5), mask)


def test_distances_are_in_mm_and_do_not_end_with_the_scan(volume_of):
    mask = np.zeros((4, 41, 41), bool)
    mask[:, 10:31, 10:31] = True
    grid = working_grid(volume_of(mask, pixel_mm=2.0, step_mm=2.0))
    assert distance_mm(grid, mask)[0, 20, 20] == 22
    assert grid.erode(mask, 8.0)[:, 20].sum() == 4 * 13
    assert grid.dilate(mask, 4.0)[0, 20].sum() == 25
    np.testing.assert_array_equal(grid.open(mask, 4.0)[:, 12:29, 12:29], mask[:, 12:29, 12:29])


def test_the_air_in_a_sinus_is_not_the_air_around_the_head(volume_of):
    hu = np.full((2, 60, 60), 40.0)
    hu[:, :10] = -1000
    hu[:, 30:36, 30:36] = -1000
    grid = working_grid(volume_of(hu, pixel_mm=2.0))
    found = grid.near_air(hu.astype(np.float32), 6.0)
    assert found[:, 10:13, 20].all()
    assert not found[:, 14:50, 4:56].any()


def test_holes_are_filled_unless_they_reach_the_border():
    mask = np.ones((3, 9, 9), bool)
    mask[:, 4, 4] = False
    mask[1, 2, :3] = False
    filled = fill_holes(mask)
    assert filled[:, 4, 4].all()
    assert not filled[1, 2, :3].any()


def test_islands_and_parts():
    mask = np.zeros((2, 8, 8), bool)
    mask[:, 1:3, 1:3] = True
    mask[1, 5:8, 5:8] = True
    seeds = np.zeros_like(mask)
    seeds[0, 1, 1] = True
    assert parts_touching(mask, seeds).sum() == 8
    assert without_islands(mask, 5).sum() == 9


@pytest.mark.parametrize("radius_mm", [1.5, 3.0, 7.0])
def test_looking_only_where_the_mask_is_changes_nothing(volume_of, rng, radius_mm):
    blobs = gaussian_filter(rng.normal(size=(9, 50, 44)), 2.5)
    grid = working_grid(volume_of(blobs, pixel_mm=1.2))
    for where in (np.s_[:, :, :], np.s_[3:6, 20:30, 12:30], np.s_[5:, 30:, :9]):  # the last touches three edges
        mask = np.zeros(grid.to_grid(blobs.astype(np.float32)).shape, bool)
        mask[where] = grid.to_grid(blobs.astype(np.float32))[where] > 0
        np.testing.assert_array_equal(grid.erode(mask, radius_mm), distance_mm(grid, mask) > radius_mm)
        np.testing.assert_array_equal(grid.dilate(mask, radius_mm), distance_mm(grid, ~mask) <= radius_mm)
    assert not grid.dilate(np.zeros_like(mask), radius_mm).any()
    assert not grid.erode(np.zeros_like(mask), radius_mm).any()


@pytest.mark.parametrize("spacing_mm", [(2.0, 1.5, 1.5), (2.0, 1.47, 1.63), (1.0, 3.0, 0.7)])
def test_balls_are_those_of_distances_to_the_last_bit(rng, spacing_mm):
    """Radii that distances hit exactly, none at all, and balls larger than the grid."""
    mask = rng.random((7, 19, 23)) < 0.01
    distance = distance_transform_edt(~mask, sampling=spacing_mm).astype(np.float32)
    exact = np.unique(distance)
    radii = [0.0, 0.4, 1.5, 3.0, 4.5, 60.0, *exact[:: len(exact) // 12].tolist()]
    for radius_mm in radii:
        np.testing.assert_array_equal(near(mask, radius_mm, spacing_mm), distance <= np.float32(radius_mm))
    assert not near(np.zeros_like(mask), 3.0, spacing_mm).any()
