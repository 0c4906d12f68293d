from __future__ import annotations

import numpy as np
import pytest
from implant_heads import BRAIN_HU, BRAIN_MM, make_head

from ctseg.errors import CaseError
from ctseg.implant.head import Head
from ctseg.io.stack import Grid


def test_the_maps_know_brain_fluid_and_distance_to_bone(head: Head) -> None:
    _, _, _, ventricle = make_head()
    assert head.brain_hu == pytest.approx(BRAIN_HU, abs=1)
    assert -head.wall_mm.min() == pytest.approx(min(BRAIN_MM), abs=4)
    mapped = float((head.ventricle > 0.5).sum()) * head.block**2
    assert mapped == pytest.approx(float(ventricle.sum()), rel=0.25)
    assert (head.ventricle[head.wall_mm > -3] > 0.3).sum() == 0


def test_points_are_mm_from_the_middle_of_the_brain(head: Head) -> None:
    k, row, column = (n // 2 for n in head.voxels.shape)
    assert np.abs(head.point(k, row, column)).max() < 6
    assert head.point(k, row, column + 30)[0] == pytest.approx(head.point(k, row, column)[0] - 30)  # LPS to RAS
    assert head.point(k, row + 20, column)[1] == pytest.approx(head.point(k, row, column)[1] - 20)


def test_a_head_without_brain_is_refused() -> None:
    voxels = np.zeros((3, 20, 20), dtype=np.float32)
    with pytest.raises(CaseError, match="brain mask"):
        Head.of(voxels, Grid.even(3, (5, 1, 1)), np.zeros(voxels.shape, dtype=bool))
    with pytest.raises(CaseError, match="own grid"):
        Head.of(voxels, Grid.even(3, (5, 1, 1)), np.ones((3, 20, 21), dtype=bool))


def test_a_mask_that_fills_the_picture_and_one_slice_are_mapped() -> None:
    voxels = np.full((1, 40, 44), BRAIN_HU, dtype=np.float32)
    head = Head.of(voxels, Grid.even(1, (5, 1, 1)), np.ones(voxels.shape, dtype=bool))
    assert np.isfinite(head.wall_mm).all()
    assert head.ventricle.max() == 0


@pytest.mark.parametrize(("slope", "intercept"), [(0.0125, 0.0), (3.2, 0.0), (1.0, 1024.0), (0.02, -1.0), (-1.0, 0.0)])
def test_values_that_are_no_hu_are_refused(slope: float, intercept: float) -> None:
    """0 to 1, a window of 8 bits, a lost intercept, z-scores, inverted: blood of 60 HU would be put into them."""
    voxels, grid, brain, _ = make_head()
    with pytest.raises(CaseError, match="not HU: the median of the brain is .*, where CT has 10 to 70; give the scan"):
        Head.of(voxels * slope + intercept, grid, brain)
