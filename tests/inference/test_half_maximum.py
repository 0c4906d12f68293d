"""Growth of lesions to half their height above the brain."""

from __future__ import annotations

import numpy as np
import pytest

from ctseg.inference.half_maximum import LEAST_ML, HalfMaximum
from ctseg.io.stack import Grid, Mask

BRAIN_HU, BLOOD_HU = 30.0, 60.0
SHAPE = (3, 60, 80)
SPACING = (10.0, 0.5, 0.5)
CORE = (1, slice(20, 40), slice(20, 45))
"""What the network found of the blood: 1.25 mL."""


def head(blood: tuple[slice, slice], hu: float = BLOOD_HU, reach_mm: float = 4.0) -> HalfMaximum:
    """Three slices of brain with blood in the middle one; the outermost 5 pixels are bone, outside the brain mask."""
    voxels = np.full(SHAPE, BRAIN_HU, dtype=np.float32)
    voxels[(1, *blood)] = hu
    brain = np.zeros(SHAPE, dtype=bool)
    brain[:, 5:-5, 5:-5] = True
    voxels[~brain] = 900
    return HalfMaximum(voxels, brain, Grid.even(3, SPACING), BRAIN_HU, reach_mm)


def found(core: tuple[int, slice, slice] = CORE) -> Mask:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[core] = True
    return mask


def test_a_lesion_grows_to_where_its_blood_ends_and_no_farther() -> None:
    scan = head((slice(17, 43), slice(16, 50)))
    grown = scan.grown(found())
    blood = scan.voxels[1] == BLOOD_HU
    assert not (grown[1] & ~blood).any()
    assert (blood & ~grown[1]).sum() <= 4  # corners, which are less than half blood once they are smoothed
    assert not grown[[0, 2]].any()


def test_it_stays_within_reach() -> None:
    scan = head((slice(20, 40), slice(20, 75)), reach_mm=4.0)
    columns = np.flatnonzero(scan.grown(found())[1].any(axis=0))
    assert (columns[0], columns[-1]) == (20, 44 + 8)


def test_it_grows_up_to_the_edge_of_the_brain_and_bone_beside_it_draws_it_no_farther() -> None:
    scan = head((slice(20, 40), slice(5, 45)), reach_mm=10.0)
    columns = np.flatnonzero(scan.grown(found())[1].any(axis=0))
    assert (columns[0], columns[-1]) == (5, 44)


def test_what_is_far_brighter_than_the_lesion_is_bone() -> None:
    scan = head((slice(20, 40), slice(20, 45)))
    scan.voxels[1, 20:40, 45:50] = BRAIN_HU + 2.5 * (BLOOD_HU - BRAIN_HU)
    assert not scan.grown(found())[1, 22:38, 46:49].any()  # at its rim, half of it is blood or brain


def test_blood_that_does_not_touch_it_is_left() -> None:
    scan = head((slice(20, 40), slice(20, 45)))
    scan.voxels[1, 20:40, 49:52] = BLOOD_HU
    assert not scan.grown(found())[1, :, 47:].any()


@pytest.mark.parametrize(
    ("core", "hu", "why"),
    [
        ((1, slice(28, 32), slice(28, 34)), BLOOD_HU, "smaller than 1 mL"),
        (CORE, BRAIN_HU + 3, "less than 5 HU above the brain"),
        (CORE, BRAIN_HU - 20, "darker than the brain"),
    ],
)
def test_some_lesions_do_not_grow(core: tuple[int, slice, slice], hu: float, why: str) -> None:
    scan = head((slice(15, 45), slice(15, 50)), hu)
    mask = found(core)
    assert (scan.grown(mask) == mask).all(), why


def test_without_reach_or_lesion_nothing_changes() -> None:
    blood = (slice(15, 45), slice(15, 50))
    assert (head(blood, reach_mm=0.0).grown(found()) == found()).all()
    assert not head(blood).grown(np.zeros(SHAPE, dtype=bool)).any()


def test_each_lesion_grows_by_its_own_height() -> None:
    """The faint one's surroundings of 45 HU are half as bright as it is, not half as bright as the other one."""
    scan = head((slice(20, 40), slice(18, 40)), 90.0)
    scan.voxels[1, 20:40, 50:72] = 50.0
    scan.voxels[1, 15:45, 41:50] = 45.0
    mask = found((1, slice(20, 40), slice(18, 40))) | found((1, slice(20, 40), slice(50, 72)))
    columns = np.flatnonzero((scan.grown(mask) & ~mask)[1, 20:40].any(axis=0))
    assert (columns.min(), columns.max()) == (45, 49)  # nearer to the faint one


def test_bright_brain_around_a_lesion_is_no_blood() -> None:
    """Cortex beside bone has 45 HU: half way from the whole brain to the blood, but not from the cortex around it."""
    scan = head((slice(20, 40), slice(20, 45)), 58.0)
    scan.voxels[scan.voxels == BRAIN_HU] = 45.0
    assert (scan.grown(found()) == found()).all()


def test_a_part_of_the_scan_gives_the_same() -> None:
    scan = head((slice(17, 43), slice(16, 50)))
    rng = np.random.default_rng(0)
    scan.voxels[:] += rng.normal(0, 4, SHAPE).astype(np.float32)
    box = (slice(None), slice(5, 55), slice(5, 75))
    assert (scan.within(box).grown(found()[box]) == scan.grown(found())[box]).all()


def test_the_limit_is_that_of_the_test() -> None:
    assert LEAST_ML == 1
    assert Grid.even(3, SPACING).volume_ml(found()) == pytest.approx(1.25)
