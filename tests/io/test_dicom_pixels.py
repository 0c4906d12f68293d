from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from ctseg.errors import CaseError
from ctseg.io.dicom import pixels
from ctseg.io.dicom.reader import read_series

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]


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


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"RescaleSlope": -1}, "RescaleSlope is -1, so air would be the brightest"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "none of greys"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, "go through a table"),
        ({"Rows": 12}, "has 0.9 KiB of pixel data where Rows and Columns say 0.5"),
    ],
)
def test_values_that_are_no_hu_by_their_header_are_refused(
    read_one: Callable[..., np.ndarray], head_ct: np.ndarray, tags: dict[str, Any], words: str
) -> None:
    with pytest.raises(CaseError, match=words):
        read_one(head_ct[0], **tags)


def test_a_negative_slope_of_an_inverted_picture_is_refused_since_two_readings_of_it_are_known(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    tags = {"PixelRepresentation": 0, "RescaleIntercept": 3071, "PhotometricInterpretation": "MONOCHROME1"}
    (file, *_) = files = write_series(3071 - head_ct, straight, RescaleSlope=-1, **tags)
    whole = pydicom.dcmread(file)
    by_the_slope = -1.0 * whole.pixel_array + 3071  # as the standard has it, and pydicom.pixels.apply_rescale
    np.testing.assert_array_equal(by_the_slope, head_ct[round(whole.ImagePositionPatient[2] / 5)])
    by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0]  # it turns the stored values over first
    assert np.median(np.abs(by_itk - by_the_slope)) > 40
    with pytest.raises(
        CaseError, match=r"of a picture shown inverted \(MONOCHROME1\), which programs read in two ways"
    ):
        read_series(files)


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


@pytest.mark.parametrize(("value", "said"), [(30, True), (500, False), (-2000, False)])
def test_a_padding_value_that_tissue_has_is_said(
    write_series: Write, head_ct: np.ndarray, straight: Positions, value: int, said: bool
) -> None:
    stored = head_ct.copy()
    stored[:, 12, 10] = 30
    notes = read_series(write_series(stored, straight, PixelPaddingValue=value)).notes
    assert (f"{pixels.AMONG_TISSUE} (6 of 6 slices)" in notes) is said


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


def code(value: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", "x"
    return Sequence([item])


@pytest.mark.parametrize(("tags", "is_lossy"), [
    ({"LossyImageCompression": "00"}, False),
    ({"LossyImageCompression": "01"}, True),
    ({"LossyImageCompression": "YES"}, True),
    ({"LossyImageCompression": "00", "LossyImageCompressionRatio": 20}, True),
    ({"LossyImageCompressionRatio": [1, 12.5]}, True),
    ({"LossyImageCompressionRatio": 1}, False),
    ({"LossyImageCompressionMethod": "ISO_10918_1"}, True),
    ({"DerivationDescription": "Lossy compression with JPEG extended sequential 12 bits"}, True),
    ({"DerivationDescription": "Lossless JPEG compression, selection value 1"}, False),
    ({"DerivationDescription": "compressed without lossy steps"}, False),
    ({"DerivationCodeSequence": code("113040")}, True),
    ({"DerivationCodeSequence": code("113072")}, False),
])  # fmt: skip
def test_pixels_that_were_compressed_with_loss_are_noted(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tags: dict[str, Any], is_lossy: bool
) -> None:
    volume = read_series(write_series(head_ct, straight, **tags))
    assert any("compressed with loss" in note for note in volume.notes) == is_lossy


def test_colour_and_screenshots_are_refused(write_series: Write, head_ct: np.ndarray) -> None:
    files = write_series(head_ct[:1], [(0.0, 0.0, 0.0)], Modality="OT")
    with pytest.raises(CaseError, match="modality OT, not CT"):
        read_series(files)


WORDS = np.array([0x0F0F, 0xFFFF, 0xFF0F, 0x0FFF, 0x07FF, 0xF7FF, 0x0010, 0xA010], np.uint16)
"""Twelve stored bits under every kind of upper bits: zeros, ones, and neither."""


def mr_slice(rng: np.random.Generator, words: np.ndarray) -> np.ndarray:
    """An MR slice (24, 20) whose first row holds the words."""
    pixels = rng.integers(0, 1500, (24, 20)).astype(np.uint16)
    pixels[0, : len(words)] = words
    return pixels


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_pixels_value_is_in_its_stored_bits_whatever_lies_above(
    write_series: Write, rng: np.random.Generator, bits: int, signed: int, compressed: bool
) -> None:
    words = mr_slice(rng, WORDS)
    (file,) = write_series(
        words[None], [(0.0, 0.0, 0.0)], Modality="MR", BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed
    )
    if compressed:
        compress_rle(file)
    volume = read_series([file], domain="mr")
    low = words.astype(int) % (1 << bits)
    wanted = np.where(low >= 1 << (bits - 1), low - (1 << bits), low) if signed else low
    np.testing.assert_array_equal(volume.voxels[0], wanted)
    assert any("BitsStored" in note and "(1 of 1 slices)" in note for note in volume.notes)


def compress_rle(file: Path) -> None:
    """Pack all 16 bits of each word, as scanners do; pydicom's encoder refuses values beyond BitsStored."""
    whole = pydicom.dcmread(file)
    stored = whole.BitsStored, whole.HighBit
    whole.BitsStored, whole.HighBit = 16, 15
    whole.compress(RLELossless, generate_instance_uid=False)
    whole.BitsStored, whole.HighBit = stored
    whole.save_as(file)


@pytest.mark.parametrize(
    "fields",
    [
        {"BitsStored": 12, "HighBit": 15},
        {"BitsStored": 16, "HighBit": 11},
        {"BitsStored": 12, "HighBit": 10},
        {"BitsStored": 17, "HighBit": 16},
        {"BitsStored": 12, "HighBit": 0},
    ],
)
def test_bit_fields_that_contradict_each_other_are_refused(
    read_one: Callable[..., np.ndarray], head_ct: np.ndarray, fields: dict[str, int]
) -> None:
    with pytest.raises(CaseError, match="BitsAllocated 16, BitsStored .* contradict each other"):
        read_one(head_ct[0], **fields)


def test_every_slice_of_a_series_may_fill_its_words_its_own_way(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    """One slice's bright pixel has its sign spread, the next one's has not; both are the same value."""
    stored = head_ct.copy()
    stored[:, 12, 10] = [-241, 0x0F0F, -241, 0x0F0F, 0xFF0F - 65536, 0x0F0F]
    bare = np.where((np.arange(6) % 2 == 1)[:, None, None] & (stored < 0), stored % 4096, stored)
    volume = read_series(write_series(bare, straight, BitsStored=12, HighBit=11))
    wanted = head_ct.copy()
    wanted[:, 12, 10] = -241
    np.testing.assert_array_equal(volume.voxels, wanted)


@pytest.mark.parametrize("intercept", [-1024, -1000, -8192])
def test_metal_beyond_the_sign_bit_of_offset_values_is_said(
    write_series: Write, head_ct: np.ndarray, straight: Positions, intercept: int
) -> None:
    metal = head_ct.copy()
    metal[2, 12, 10] = 2800
    bits = 16 if intercept == -8192 else 12
    volume = read_series(
        write_series(metal - intercept, straight, BitsStored=bits, HighBit=bits - 1, RescaleIntercept=intercept)
    )
    np.testing.assert_array_equal(volume.voxels, metal)
    assert any("taken as positive" in note and "(1 of 6 slices)" in note for note in volume.notes) == (bits == 12)


@pytest.mark.parametrize("tags", [
    {}, {"PixelRepresentation": 1}, {"BitsStored": 12, "HighBit": 11}, {"PhotometricInterpretation": None},
    {"PhotometricInterpretation": "RGB"}, {"SamplesPerPixel": None}, {"NumberOfFrames": 1}, {"NumberOfFrames": 2},
    {"PixelRepresentation": None}, {"PixelRepresentation": 7}, {"BitsStored": None}, {"Rows": 0},
])  # fmt: skip
def test_plain_words_are_read_as_pydicom_reads_them(
    tags: dict[str, Any], write_series: Write, head_ct: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_series(head_ct[:1], [(0.0, 0.0, 0.0)])[0]
    dataset = pydicom.dcmread(file)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)

    def read() -> Any:
        try:
            values, notes = pixels.slice_values(dataset, "file", "ct")
        except CaseError as error:
            return str(error)
        return values.tolist(), notes

    ours = read()
    monkeypatch.setattr(pixels, "_is_plain", lambda _: False)
    assert ours == read()


def test_pixels_of_a_vr_that_no_standard_knows_are_one_line(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    """The error about it is not raised again while it is put into words."""
    files = write_series(head_ct, straight)
    data = files[0].read_bytes()
    files[0].write_bytes(data.replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x10\x00O9"))
    with pytest.raises(CaseError, match="cannot be decoded"):
        read_series(files)


def test_a_number_that_is_cut_short_is_one_line(write_series: Write, head_ct: np.ndarray, straight: Positions) -> None:
    """PixelRepresentation of one byte: pydicom raises when it is asked for, behind the header."""
    files = write_series(head_ct, straight)
    data = files[3].read_bytes()
    place = data.index(b"\x28\x00\x03\x01US\x02\x00")
    files[3].write_bytes(data[:place] + b"\x28\x00\x03\x01US\x01\x00\x01" + data[place + 10 :])
    with pytest.raises(CaseError, match=r"broken DICOM header .*; copy the file again"):
        read_series(files)
