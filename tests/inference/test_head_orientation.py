"""A head that lies otherwise than its header says is noticed; one that lies as it says is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctseg.inference.head_orientation import WAYS, fits, head_cells, orientation_remarks
from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.phantom.bleeds import Findings
from ctseg.phantom.rsna import CtCase, make_ct_case
from ctseg.preprocess.brain_network import BrainNetworkExtractor

Voxels = NDArray[np.float32]
TURNS = {
    "turned front to back": lambda array: array[:, ::-1, ::-1],
    "upside down": lambda array: array[::-1],
    "upside down and turned front to back": lambda array: array[::-1, ::-1],
    "turned by a quarter": lambda array: np.rot90(array, 1, (1, 2)),
    "turned by three quarters": lambda array: np.rot90(array, 3, (1, 2)),
}


def with_brain(folder: Path) -> tuple[Volume, NDArray[np.bool_]]:
    [case] = discover([folder], "ct").cases
    volume = read_case(case)
    return volume, BrainNetworkExtractor()(volume)


@pytest.fixture(scope="module", params=[0, 1], ids=["straight", "tilted"])
def head(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    make_ct_case(
        folder, CtCase(request.param, "stage_2_test", Findings(iph=True), 128, 5.0, (5, 3, request.param), (0,) * 5)
    )
    return with_brain(folder / "rsna")


def turned(volume: Volume, turn) -> Volume:
    return replace(volume, voxels=np.ascontiguousarray(turn(volume.voxels)), native=None, frames=(), labels=None)


@pytest.mark.phantom
@pytest.mark.parametrize("way", TURNS)
def test_it_is_said_how_the_head_lies(head, way):
    volume, brain = head
    assert orientation_remarks(volume, brain) == []
    [remark] = orientation_remarks(turned(volume, TURNS[way]), TURNS[way](brain))
    assert remark.startswith(f"the head looks {way}: the header's orientation may be wrong, and left and right")


@pytest.mark.real_data
@pytest.mark.parametrize("way", TURNS)
def test_a_real_tilted_head(real_data, way):
    volume, brain = with_brain(real_data / "ct-ge-tilted")
    assert orientation_remarks(volume, brain) == []
    assert len(orientation_remarks(turned(volume, TURNS[way]), TURNS[way](brain))) == 1


@pytest.mark.phantom
def test_little_of_a_head_and_a_brain_alone_say_nothing(head):
    volume, brain = head
    for number in (1, len(brain) // 3):
        part = slice(len(brain) - number, None)
        some = replace(volume, voxels=volume.voxels[part][::-1], origins_mm=volume.origins_mm[part])
        assert orientation_remarks(some, brain[part][::-1]) == []
    stripped = replace(volume, voxels=np.where(brain, volume.voxels, 0)[::-1])
    assert orientation_remarks(stripped, brain[::-1]) == []
    assert orientation_remarks(volume, np.zeros_like(brain)) == []


@pytest.mark.phantom
def test_cells_hold_shares_wherever_the_head_is(head):
    volume, brain = head
    shares, covered = head_cells(volume, brain)
    assert shares.min() == 0
    assert 0.99 < shares[0][covered].max() <= 1
    moved = replace(volume, origins_mm=volume.origins_mm + np.array([300.0, -50.0, 1000.0]))
    assert np.allclose(head_cells(moved, brain)[0], shares, atol=0.02)
    found = fits(volume, brain)
    assert list(found) == list(WAYS)
    assert max(found, key=found.get) == ""
