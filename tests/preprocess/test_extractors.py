"""What both brain extractors find in the same painted heads."""

from __future__ import annotations

import numpy as np
import pytest
from brain_helpers import dice, some

from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess import stripped
from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.brain_network import BrainNetworkExtractor
from ctseg.preprocess.stripped import stripped_brain

CLOT_KEPT = {"muschelli": 0.95, "brain-network": 0.9}
"""Least share of a clot against the skull that each keeps."""
KEPT_WITHOUT_BONE = {"muschelli": 0.97, "brain-network": 0.96}
"""Least share of the brain below a missing piece of skull."""


@pytest.fixture(params=["muschelli", "brain-network"])
def name(request):
    return request.param


@pytest.fixture
def extract(name):
    return MuschelliExtractor() if name == "muschelli" else BrainNetworkExtractor()


def test_it_is_an_extractor(extract):
    assert isinstance(extract, BrainExtractor)


def test_brain_of_a_head(extract, head, volume_of):
    hu, brain = head
    found = extract(volume_of(hu))
    assert found.dtype == bool
    assert dice(found, brain) > 0.97
    assert (hu[found] < 150).all()


def test_blood_against_the_skull_and_calcium_are_kept(extract, name, head, volume_of):
    hu, brain = head
    columns = np.flatnonzero(brain[15, 40])
    clot = np.zeros_like(brain)
    clot[13:18, 34:46, columns[-8] : columns[-1] + 1] = True
    clot &= brain
    hu[clot] = 80
    hu[15, 40:42, 40:42] = 400
    found = extract(volume_of(hu))
    assert found[clot].mean() > CLOT_KEPT[name]
    assert found[15, 40:42, 40:42].all()


@pytest.mark.slow
def test_a_missing_piece_of_skull_costs_little(extract, name, head, volume_of):
    hu, brain = head
    gap = np.zeros_like(brain)
    gap[16:24, 25:50, 55:] = True
    hu[gap & (hu > 200)] = 40
    hu[gap & (hu < -30) & (hu > -200)] = 40  # no fat either: scalp lies on the brain
    found = extract(volume_of(hu))
    assert dice(found, brain) > 0.93
    assert found[brain].mean() > KEPT_WITHOUT_BONE[name]


@pytest.mark.parametrize("slices", [[15], [14, 15], list(range(10, 20)), list(range(15)), list(range(15, 30))])
def test_parts_of_a_head_give_the_same_brain(slices, extract, head, volume_of):
    hu, brain = head
    assert dice(extract(some(volume_of(hu), slices)), brain[slices]) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("window", [(-200, 200), (0, 100), (0, 80)])
def test_clipped_scans_work(window, extract, head, volume_of):
    hu, brain = head
    assert dice(extract(volume_of(np.clip(hu, *window))), brain) > 0.94


@pytest.mark.parametrize("value", [-1000.0, 0.0, 40.0])
def test_no_brain_where_there_is_none(value, extract, volume_of):
    assert not extract(volume_of(np.full((4, 40, 40), value))).any()


@pytest.mark.parametrize("background", [0.0, -1024.0])
def test_stripped_scans_are_recognised(background, extract, head, volume_of):
    hu, brain = head
    volume = volume_of(np.where(brain, np.rint(hu), background))
    np.testing.assert_array_equal(extract(volume), brain)
    assert stripped_brain(volume_of(hu)) is None


def test_counting_less_finds_the_same_stripped_scans(volume_of, monkeypatch, rng):
    """Foregrounds with more or less tissue on any background, against the count of every value."""
    volumes = []
    for background in (-1024.0, -60.0, 0.0, 60.0, 119.6, 120.0, 121.0, 121.6, 122.0, 122.4, 123.0, 3000.0):
        for bone in (0.0, 0.05, 0.095, 0.105, 0.3):
            for empty in (0.0, 0.19, 0.21, 0.7):
                hu = np.where(rng.random((3, 30, 30)) < bone, rng.uniform(118, 130, (3, 30, 30)), 30 + 0.1 * bone)
                volumes.append(volume_of(np.where(rng.random(hu.shape) < empty, background, hu)))
    quick = [stripped_brain(volume) for volume in volumes]
    monkeypatch.setattr(stripped, "_has_skull", lambda _volume: False)
    slow = [stripped_brain(volume) for volume in volumes]
    assert 20 < sum(found is not None for found in slow) < len(slow) - 20
    for one, other in zip(quick, slow, strict=True):
        assert (one is None) == (other is None)
        np.testing.assert_array_equal(one, other)
