"""The location prior against masks made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ctseg_reproduce.location_prior import LEVELS, highest, location_prior, prior_masks, relative_heights

from ctseg.io.slices import SliceSet


@pytest.fixture
def pair(tmp_path: Path, make_slices: Callable[..., SliceSet]) -> tuple[SliceSet, SliceSet]:
    """A source with lesions at the left below and at the right above, and scans with brain everywhere."""
    source = make_slices(tmp_path / "mr", "mr", 3, 10, labelled=True)
    scans = make_slices(tmp_path / "ct", "ct", 2, 10, labelled=True)
    masks = np.zeros(source.images.shape, np.uint8)
    low = relative_heights(source) < 0.5
    masks[low, 12:18, 4:8] = 1
    masks[~low, 12:18, 24:28] = 1
    truth = np.zeros(scans.images.shape, np.uint8)
    truth[2, :4, :6] = 1
    images = np.full(scans.images.shape, 90, np.uint8)
    return replace(source, masks=masks), replace(scans, masks=truth, images=images)


def test_heights_are_of_each_series_by_mm(pair: tuple[SliceSet, SliceSet]) -> None:
    np.testing.assert_allclose(relative_heights(pair[0])[:10], np.linspace(0, 1, 10))
    assert relative_heights(pair[0])[10] == 0


def test_the_prior_is_where_lesions_of_that_height_lie(pair: tuple[SliceSet, SliceSet]) -> None:
    source = pair[0]
    prior = location_prior(source, np.arange(len(source)))
    assert prior.shape == (LEVELS, 32, 32)
    assert prior[0, 14, 5] == pytest.approx(1, abs=1e-3)
    assert prior[0, 14, 25] == pytest.approx(0, abs=1e-3)
    assert prior[-1, 14, 25] == pytest.approx(1, abs=1e-3)
    assert prior[:, 0, 0].max() == 0


def test_each_scan_gets_its_true_volume_at_the_likeliest_places(pair: tuple[SliceSet, SliceSet]) -> None:
    source, scans = pair
    found = prior_masks(source, scans, "all")
    assert found[:10].sum() == 24
    assert found[10:].sum() == 0  # the second scan has no haemorrhage
    assert found[:10, 12:18, 4:8].sum() + found[:10, 12:18, 24:28].sum() == 24


def test_nothing_is_predicted_outside_the_brain(pair: tuple[SliceSet, SliceSet]) -> None:
    source, scans = pair
    images = np.array(scans.images)
    images[:, 12:18, 4:8] = 0
    found = prior_masks(source, replace(scans, images=images), "all")
    assert found.sum() == 24
    assert not found[:, 12:18, 4:8].any()


def test_of_equal_values_the_first_are_taken() -> None:
    assert highest(np.array([[1.0, 2.0], [2.0, 2.0]]), 2).tolist() == [[0, 1], [1, 0]]
    assert highest(np.zeros((2, 2)), 0).sum() == 0
