from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.io.dicom.reader import read_series

Write = Callable[..., list[Path]]


@pytest.fixture
def read_one(write_series: Write, head_ct: np.ndarray) -> Callable[..., np.ndarray]:
    """`read_one(pixels, **tags)` writes one slice with stored `pixels` and reads it back in HU."""

    def read(pixels: np.ndarray, **tags: Any) -> np.ndarray:
        return read_series(write_series(pixels[None], [(0.0, 0.0, 0.0)], **tags)).voxels[0]

    return read


def test_slope_and_intercept_are_those_of_each_slice(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    intercepts = (0.0, -1024.0, -1000.0, 0.0, -8192.0, 10.0)
    slopes = (1.0, 1.0, 2.0, 0.5, 1.0, 1.0)
    even = np.round(head_ct / 2) * 2
    stored = np.stack([(hu - b) / m for hu, b, m in zip(even, intercepts, slopes, strict=True)])
    volume = read_series(write_series(stored, straight, RescaleIntercept=intercepts, RescaleSlope=slopes))
    np.testing.assert_array_equal(volume.voxels, even)


def test_missing_rescale_tags_mean_stored_values_are_hu(
    read_one: Callable[..., np.ndarray], head_ct: np.ndarray
) -> None:
    np.testing.assert_array_equal(read_one(head_ct[0], RescaleSlope=None, RescaleIntercept=None), head_ct[0])


def test_a_slope_of_zero_is_refused(read_one: Callable[..., np.ndarray], head_ct: np.ndarray) -> None:
    with pytest.raises(CaseError, match="RescaleSlope is 0"):
        read_one(head_ct[0], RescaleSlope=0)


def test_padding_becomes_air_and_nothing_is_below_it(read_one: Callable[..., np.ndarray], head_ct: np.ndarray) -> None:
    stored = head_ct[0].copy()
    stored[0, :5], stored[1, :5] = -2000, -1900
    hu = read_one(stored, PixelPaddingValue=-2000)
    assert (hu[:2, :5] == -1024).all()
    np.testing.assert_array_equal(hu[2:], stored[2:])


def test_padding_that_looks_like_bone_after_the_intercept_becomes_air(
    read_one: Callable[..., np.ndarray], head_ct: np.ndarray
) -> None:
    stored = head_ct[0] + 1024
    stored[0], stored[1] = 63536, 63540
    hu = read_one(
        stored,
        PixelRepresentation=0,
        RescaleIntercept=-1024,
        PixelPaddingValue=63536,
        PixelPaddingRangeLimit=63540,
    )
    assert (hu[:2] == -1024).all()
    np.testing.assert_array_equal(hu[2:], head_ct[0][2:])


def test_a_padding_value_that_could_be_tissue_is_left_alone(
    read_one: Callable[..., np.ndarray], head_ct: np.ndarray
) -> None:
    stored = head_ct[0].copy()
    stored[12, 10] = 0
    np.testing.assert_array_equal(read_one(stored, PixelPaddingValue=0), stored)


def test_twelve_signed_bits_without_their_sign_spread(read_one: Callable[..., np.ndarray], head_ct: np.ndarray) -> None:
    stored = np.where(head_ct[0] < 0, head_ct[0] + 4096, head_ct[0])
    np.testing.assert_array_equal(read_one(stored, BitsStored=12, HighBit=11), head_ct[0])


def test_twelve_signed_bits_with_offset_keep_metal(read_one: Callable[..., np.ndarray], head_ct: np.ndarray) -> None:
    metal = head_ct[0].copy()
    metal[12, 10] = 2800
    hu = read_one(metal + 1024, BitsStored=12, HighBit=11, RescaleIntercept=-1024)
    np.testing.assert_array_equal(hu, metal)


def test_overlay_bits_above_the_stored_ones_are_dropped(
    read_one: Callable[..., np.ndarray], head_ct: np.ndarray
) -> None:
    stored = head_ct[0] + 1024
    stored[5] += 1 << 14
    hu = read_one(stored, PixelRepresentation=0, BitsStored=12, HighBit=11, RescaleIntercept=-1024)
    np.testing.assert_array_equal(hu, head_ct[0])


def test_colour_and_screenshots_are_refused(write_series: Write, head_ct: np.ndarray) -> None:
    files = write_series(head_ct[:1], [(0.0, 0.0, 0.0)], Modality="OT")
    with pytest.raises(CaseError, match="modality OT, not CT"):
        read_series(files)
