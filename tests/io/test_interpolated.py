"""Slices put between measured ones are noticed; overlapping and smooth ones are not taken for them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.extent import INTERPOLATED, check_slices
from ctseg.io.interpolated import looks_interpolated
from ctseg.io.volume import Volume

Voxels = NDArray[np.float32]
NOT_OVERLAPPING, BY_HALF, BY_THREE_QUARTERS = [1.0], [0.5, 0.5], [0.25] * 4


def noise(blur: float, profile: list[float], hu: float, slices: int = 24) -> Voxels:
    """(slices, 96, 96) of brain with the noise of a scanner."""
    grain = np.random.default_rng(3).standard_normal((slices + len(profile), 96, 96))
    grain = ndimage.convolve1d(ndimage.gaussian_filter(grain, (0, blur, blur)), profile, axis=0)[:slices]
    return np.rint(30 + hu * grain / grain.std()).astype(np.float32)


@pytest.mark.parametrize("blur", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("profile", [NOT_OVERLAPPING, BY_HALF, BY_THREE_QUARTERS, [1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9]])
@pytest.mark.parametrize("hu", [1.5, 6.0])
def test_measured_slices_are_not_taken_for_interpolated_ones(blur: float, profile: list[float], hu: float) -> None:
    assert not looks_interpolated(noise(blur, profile, hu))


@pytest.mark.parametrize("blur", [0.0, 2.5])
@pytest.mark.parametrize(("factor", "order"), [(2.5, 1), (3, 1), (4, 1), (5, 1), (3, 3), (4, 3), (5, 3)])
def test_slices_between_measured_ones_are_noticed(blur: float, factor: float, order: int) -> None:
    made = ndimage.zoom(noise(blur, NOT_OVERLAPPING, 5.0), (factor, 1, 1), order=order)
    assert looks_interpolated(np.rint(made).astype(np.float32))
    assert looks_interpolated(made)


@pytest.mark.parametrize("order", [1, 3])
def test_a_stack_that_was_turned_meanwhile_is_noticed_too(order: int) -> None:
    measured = noise(0.8, NOT_OVERLAPPING, 5.0, 30)
    tall, wide, nod = 5.0, 0.5, np.radians(12)
    k, rows, cols = np.mgrid[:60, :120, :120] * 1.0
    across, up = (rows - 60) * np.cos(nod) + (k - 30) * np.sin(nod), (k - 30) * np.cos(nod) - (rows - 60) * np.sin(nod)
    places = up / tall + 15, across / (2 * wide) + 48, (cols - 60) / (2 * wide) + 48
    assert looks_interpolated(ndimage.map_coordinates(measured, places, order=order, mode="mirror"))


def test_what_has_no_tissue_or_few_slices_is_not_judged() -> None:
    between = ndimage.zoom(noise(1.0, NOT_OVERLAPPING, 5.0), (4, 1, 1), order=1)
    assert not looks_interpolated(between - 1000)
    assert not looks_interpolated(between[:3])
    assert not looks_interpolated(np.full((30, 96, 96), 30, np.float32))


@pytest.mark.parametrize(("domain", "notes"), [("ct", (INTERPOLATED,)), ("mr", ())])
def test_it_is_said_of_ct_alone(domain: str, notes: tuple[str, ...]) -> None:
    between = ndimage.zoom(noise(1.0, NOT_OVERLAPPING, 5.0), (4, 1, 1), order=1)
    origins = np.arange(len(between))[:, None] * np.array([0.0, 0.0, 1.0])
    scan = Volume(between, origins, np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]), domain, "a", "a")
    assert check_slices(scan).notes == notes
