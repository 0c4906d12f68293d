from __future__ import annotations

import numpy as np
import pytest

from ctseg.preprocess.brain_slices import PIXEL_MM, brain_slices, windows


@pytest.mark.parametrize(
    ("step_mm", "count", "groups"), [(5.0, 4, 4), (2.6, 5, 5), (1.25, 8, 4), (0.6, 8, 2), (0.625, 8, 2), (3.0, 1, 1)]
)
def test_thin_slices_are_averaged_in_groups(step_mm, count, groups, volume_of):
    voxels = np.arange(count)[:, None, None] * np.ones((1, 20, 24))
    found = brain_slices(volume_of(voxels, PIXEL_MM, step_mm))
    assert len(found.hu) == len(found.z_mm) == groups
    parts = np.array_split(np.arange(count), groups)
    if all(len(part) == len(parts[0]) for part in parts):
        np.testing.assert_allclose(found.hu[:, 10, 10], [part.mean() for part in parts], atol=1e-4)
        np.testing.assert_allclose(found.z_mm, [part.mean() * step_mm for part in parts])


@pytest.mark.parametrize("pixel_mm", [0.4, 0.5, 1.0, 2.0, 3.0])
def test_pixels_of_2_mm_whatever_the_scans(pixel_mm, volume_of):
    side = round(96 / pixel_mm)
    row = (np.arange(side) + 0.5) * pixel_mm
    found = brain_slices(volume_of(np.broadcast_to(row, (1, side, side)).copy(), pixel_mm))
    assert found.hu.shape == (1, 48, 48)
    wanted = (np.arange(48) + 0.5) * PIXEL_MM
    np.testing.assert_allclose(found.hu[0, 20, 3:-3], wanted[3:-3], atol=0.2)


def test_a_slice_is_shown_with_those_6_mm_below_and_above(volume_of):
    voxels = np.arange(4)[:, None, None] * np.full((1, 16, 16), 10.0)
    found = brain_slices(volume_of(voxels, PIXEL_MM, 3.0))
    soft = found.images(2)[:3, 8, 8] * 80
    np.testing.assert_allclose(soft, [0, 20, 30], atol=1e-4)  # the last slice goes on
    half = brain_slices(volume_of(voxels, PIXEL_MM, 4.0)).images(1)[:3, 8, 8] * 80
    np.testing.assert_allclose(half, [0, 10, 25], atol=1e-4)


def test_a_single_slice_is_its_own_neighbour(volume_of):
    found = brain_slices(volume_of(np.full((1, 16, 16), 40.0), PIXEL_MM)).images(0)
    np.testing.assert_allclose(found[:3], 0.5)
    np.testing.assert_allclose(found[3:], 0.4)


def test_air_is_zero_in_both_windows():
    assert not windows(np.full((3, 2, 2), -1024, np.float32)).any()
