"""mL and slab thickness of a stack of slices by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ctseg.io.stack import Grid, slab_mm
from ctseg.io.volume import Volume


def test_slabs_go_half_the_way_to_each_neighbour():
    assert slab_mm(np.array([0.0, 4, 5, 9])).tolist() == [4, 2.5, 2.5, 4]
    assert slab_mm(np.array([9.0, 5, 4])).tolist() == [4, 2.5, 1]
    assert slab_mm(np.array([3.0]), 6.0).tolist() == [6]
    assert slab_mm(np.array([3.0])).tolist() == [1]


def test_a_sheared_pixel_has_the_area_of_its_parallelogram():
    volume = Volume(
        voxels=np.zeros((2, 3, 3), np.float32),
        origins_mm=np.array([[0.0, 0, 0], [0, 0, 5]]),
        row_step_mm=np.array([0.3, 0.4, 0.0]),
        col_step_mm=np.array([0.5, 0.0, 0.0]),
        domain="ct",
        case_id="a",
        patient_id="a",
    )
    assert volume.voxel_ml.tolist() == pytest.approx([0.4 * 0.5 * 5 / 1000] * 2)
    assert Grid.of(volume).volume_ml(np.ones((2, 3, 3), bool)) == pytest.approx(18 * 0.4 * 0.5 * 5 / 1000)


def test_a_cropped_grid_keeps_positions():
    grid = Grid.even(2, (5.0, 0.5, 0.7))
    mask = np.zeros((2, 6, 6), bool)
    mask[1, 3, 4] = True
    np.testing.assert_allclose(grid.cropped(2, 1).points_mm(mask[:, 2:, 1:]), grid.points_mm(mask))
