"""What a DICOM series says of its unit, thickness, parts and losses is said again where it changes volumes or HU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, JPEGLSLossless

from ctseg.errors import CaseError
from ctseg.inference.resampled import MOST_PLANES, resample_evenly
from ctseg.io.dicom.lossy import is_lossy_stream
from ctseg.io.dicom.reader import read_series
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask

Write = Callable[..., list[Path]]
Places = list[tuple[float, ...]]
PART = "one of 2 parts of its series"


def noted(files: list[Path], words: str) -> bool:
    return any(words in note for note in read_series(files, case_id="scan").notes)


@pytest.mark.parametrize("unit", ["HU_MOD", "MU", "CBF", "1/cm", "keV"])
def test_a_unit_that_is_not_hu_is_said(write_series: Write, head_ct: np.ndarray, straight: Places, unit: str) -> None:
    assert noted(write_series(head_ct, straight, RescaleType=unit), "another unit than HU")
    assert not noted(write_series(head_ct, straight, "quoted", RescaleType=unit), unit)


@pytest.mark.parametrize("unit", ["HU", "US", "hu ", None, ""])
def test_hu_and_what_old_scanners_write_are_not(
    write_series: Write, head_ct: np.ndarray, straight: Places, unit: str | None
) -> None:
    assert not noted(write_series(head_ct, straight, RescaleType=unit), "unit")


@pytest.mark.parametrize(
    ("thickness", "words"),
    [((2.5, 5.0) * 3, "slices 2.5 to 5 mm thick"), ((5.0,) * 5 + (10.0,), "slices 5 to 10 mm thick")],
)
def test_slices_of_several_thicknesses_are_said(
    write_series: Write, head_ct: np.ndarray, straight: Places, thickness: tuple[float, ...], words: str
) -> None:
    assert noted(write_series(head_ct, straight, SliceThickness=thickness), words)
    assert not noted(write_series(head_ct, straight, "same", SliceThickness=(5.0, 5.02, 4.99) * 2), "mm thick")


@pytest.mark.parametrize(
    "other",
    [
        {"PixelSpacing": ([0.5, 0.4],) * 3 + ([0.6, 0.5],) * 3},
        {"ImageOrientationPatient": ([1, 0, 0, 0, 1, 0],) * 3 + ([1, 0, 0, 0, 0.966, 0.259],) * 3},
    ],
)
def test_parts_of_a_series_that_cannot_be_stacked_say_that_they_are_parts(
    tmp_path: Path,
    write_series: Write,
    head_ct: np.ndarray,
    straight: Places,
    other: dict[str, tuple[list[float], ...]],
) -> None:
    write_series(head_ct, straight, **other)
    cases = discover(tmp_path, "ct").cases
    assert len(cases) == 2
    assert all(any(PART in note for note in read_case(case).notes) for case in cases)


@pytest.mark.parametrize(("slope", "is_said"), [(1.0, False), (1.1, True), (1.3, True)])
def test_air_far_below_any_scanners_is_said_before_it_is_cut(
    write_series: Write, rng: np.random.Generator, head_ct: np.ndarray, straight: Places, slope: float, is_said: bool
) -> None:
    noisy = np.round(head_ct + rng.normal(0, 12, head_ct.shape))
    assert noted(write_series(noisy, straight, RescaleSlope=slope), "far below -1000 HU") == is_said
    padded = noisy.copy()
    padded[:, :3] = -2000
    assert not noted(write_series(padded, straight, "padded"), "far below -1000 HU")


def streams(head_ct: np.ndarray, write_series: Write) -> pydicom.Dataset:
    """A slice of 12 bits to compress."""
    dataset = pydicom.dcmread(
        write_series(np.tile(head_ct[:1], (1, 4, 4)) + 1024, [(0.0, 0.0, 0.0)], PixelRepresentation=0)[0]
    )
    dataset.BitsStored, dataset.HighBit = 12, 11
    return dataset


@pytest.mark.parametrize(
    ("syntax", "options", "is_lossy"),
    [
        (JPEG2000, {"j2k_cr": [4]}, True),
        (JPEG2000Lossless, {}, False),
        (JPEGLSLossless, {}, False),
    ],
)
def test_a_lossy_stream_says_so_where_its_header_does_not(
    tmp_path: Path, write_series: Write, head_ct: np.ndarray, syntax: UID, options: dict[str, list[int]], is_lossy: bool
) -> None:
    dataset = streams(head_ct, write_series)
    dataset.compress(syntax, generate_instance_uid=False, **options)
    for name in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        dataset.pop(name, None)
    dataset.save_as(tmp_path / "ct" / "000.dcm")
    assert noted([tmp_path / "ct" / "000.dcm"], "compressed with loss") == is_lossy


SOS = b"\xff\xda\x00\x08\x01\x01\x00"
FRAME = b"\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00"


@pytest.mark.parametrize(
    ("stream", "is_lossy"),
    [
        (b"\xff\xd8\xff\xf7" + FRAME + SOS + b"\x00\x00\x00", False),
        (b"\xff\xd8\xff\xf7" + FRAME + SOS + b"\x02\x00\x00", True),
        (b"\xff\xd8\xff\xc3" + FRAME + SOS + b"\x01\x00\x00", False),
        (b"\xff\xd8\xff\xc3" + FRAME + SOS + b"\x01\x00\x03", True),
        (b"\xff\xd8\xff\xc1" + FRAME + SOS + b"\x00\x3f\x00", True),
        (b"\xff\xd8\xff\xc3", False),
        (b"\0\0", False),
        (b"\xff\x4f\xff\x52\x00\x0c" + b"\x00" * 9 + b"\x00", True),
        (b"\xff\x4f\xff\x52\x00\x0c" + b"\x00" * 9 + b"\x01", False),
        (b"\xff\x4f\xff\x52\x00\x00" * 3, False),
    ],
)
def test_near_lossless_dropped_bits_and_wavelets_are_read_off_the_stream(
    head_ct: np.ndarray, write_series: Write, stream: bytes, is_lossy: bool
) -> None:
    dataset = streams(head_ct, write_series)
    dataset.PixelData = encapsulate([stream])
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    assert is_lossy_stream(dataset) == is_lossy


def test_two_slices_at_nearly_one_place_make_no_grid_of_thousands(
    write_series: Write, head_ct: np.ndarray, straight: Places
) -> None:
    places = [*straight[:5], (-4.0, -6.0, 20.011)]
    volume = read_series(write_series(head_ct, places), case_id="scan")
    assert volume.slab_mm.min() < 0.02
    mask = np.zeros(volume.voxels.shape, dtype=bool)
    mask[1:4, 8:12, 8:12] = True
    resampled = resample_evenly(volume, mask)
    assert len(resampled.planes) <= MOST_PLANES + 1
    assert resampled.planes.sum() * resampled.step_mm == pytest.approx(16 * 15.0, rel=0.01)


@pytest.mark.parametrize(("values", "word"), [((1, 2), "lowest value is 1"), ((0, 1), ""), ((1, 1), "")])
def test_a_mask_without_background_is_refused(tmp_path: Path, values: tuple[int, int], word: str) -> None:
    labels = np.full((8, 8, 4), values[0], np.uint8)
    labels[2:4] = values[1]
    nib.save(nib.Nifti1Image(labels, np.diag([1.0, 1.0, 5.0, 1.0])), tmp_path / "m.nii.gz")
    if word:
        with pytest.raises(CaseError, match=word):
            load_mask(tmp_path / "m.nii.gz")
    else:
        assert load_mask(tmp_path / "m.nii.gz")[0].any()
