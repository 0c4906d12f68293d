"""DICOM as it lies on old disks and in network nodes: without meta information, with headers that lie."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from ctseg.errors import CaseError
from ctseg.io.dicom import header as header_module
from ctseg.io.discover import discover, read_case

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]


def bare(path: Path, implicit: bool, little: bool, preamble: bool) -> None:
    """Write a file again without its meta group."""
    whole = pydicom.dcmread(path)
    if not little:
        whole.PixelData = np.frombuffer(whole.PixelData, "<i2").astype(">i2").tobytes()
    dataset, buffer = pydicom.Dataset(), io.BytesIO()
    dataset.update({element.tag: element for element in whole})
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    path.write_bytes((bytes(128) + b"DICM" if preamble else b"") + buffer.getvalue())


@pytest.mark.parametrize("preamble", [False, True])
@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_files_without_meta_information_are_read(
    write_series: Write, head_ct: np.ndarray, straight: Positions, implicit: bool, little: bool, preamble: bool
) -> None:
    files = write_series(head_ct, straight)
    for number, file in enumerate(files):
        bare(file, implicit, little, preamble)
        if number % 2:
            file.rename(file.with_suffix(""))
    (case,) = discover(files[0].parent).cases
    volume = read_case(case)
    np.testing.assert_array_equal(volume.voxels, head_ct)
    wanted = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    assert {frame.file_meta.TransferSyntaxUID for frame in volume.frames} == {wanted}


def test_meta_information_without_a_transfer_syntax(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    files = write_series(head_ct, straight)
    for file in files:
        dataset = pydicom.dcmread(file)
        del dataset.file_meta.TransferSyntaxUID
        dataset.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(read_case(discover(files[0].parent).cases[0]).voxels, head_ct)


def test_compressed_pixels_without_a_transfer_syntax_have_a_way_out_that_helps(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    files = write_series(head_ct, straight)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.save_as(file)
        bare(file, False, True, False)
    (case,) = discover(files[0].parent).cases
    with pytest.raises(CaseError, match=r"names no transfer syntax; export it again as DICOM Part 10 files"):
        read_case(case)


def test_deflated_files_are_read_and_bombs_refused(
    write_series: Write, head_ct: np.ndarray, straight: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_series(head_ct, straight)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(file, enforce_file_format=True)
    (case,) = discover(files[0].parent).cases
    np.testing.assert_array_equal(read_case(case).voxels, head_ct)
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    plain = files[0].read_bytes()
    start = 144 + int.from_bytes(plain[140:144], "little")
    swollen = zlib.decompressobj(-zlib.MAX_WBITS).decompress(plain[start:]) + bytes(50_000_000)
    files[0].write_bytes(plain[:start] + deflate.compress(swollen) + deflate.flush())
    monkeypatch.setattr(header_module, "MAX_INFLATED_BYTES", 10_000_000)
    found = discover(files[0].parent)
    assert [item.reason for item in found.rejected] == ["not a readable DICOM file (unpacks to more than 10 MiB)"]
    with pytest.raises(CaseError, match="unpacks to more than 10 MiB"):
        read_case(case)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 65535, "Columns": 65535}, "its header claims 65535 x 65535 pixels"),
        ({"Rows": 4000, "Columns": 4000}, "has 0.9 of 31250 KiB of pixel data"),
        ({"BitsAllocated": 12}, "BitsAllocated is 12"),
        ({"BitsAllocated": 0}, "BitsAllocated|cannot be decoded"),
        ({"NumberOfFrames": -5}, "cannot be decoded|pixel data"),
        ({"SamplesPerPixel": 0}, "cannot be decoded"),
    ],
)
def test_headers_that_lie_about_pixels(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tags: dict[str, Any], message: str
) -> None:
    files = write_series(head_ct, straight)
    for file in files:
        dataset = pydicom.dcmread(file)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(file)
    (case,) = discover(files[0].parent).cases
    with pytest.raises(CaseError, match=message):
        read_case(case)


@pytest.mark.parametrize("claim", [(65535, 65535), (30000, 30000)])
def test_compressed_pixels_are_not_believed_either(
    write_series: Write, head_ct: np.ndarray, straight: Positions, claim: tuple[int, int]
) -> None:
    files = write_series(head_ct, straight)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.Rows, dataset.Columns = claim
        dataset.save_as(file)
    with pytest.raises(CaseError, match="no slice has so many"):
        read_case(discover(files[0].parent).cases[0])


def test_many_frames_are_left_out_as_a_scan_that_is_lost(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    write_series(head_ct, straight)
    folder = write_series(head_ct, straight, "many", SeriesInstanceUID="1.9", NumberOfFrames=1_000_000)[0].parent
    found = discover([folder.parent / "ct", folder])
    assert found.incomplete
    assert "multi-frame" in found.rejected[0].reason


def test_an_element_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    import resource

    start = bytes(128) + b"DICM"
    meta = b"\x02\0\x10\0UI\x14\0" + b"1.2.840.10008.1.2.1\0"
    liar = b"\x08\0\x16\0UI\x04\0" + b"1.2\0" + b"\x08\0\x08\x00OB\0\0" + struct.pack("<I", 3_000_000_000)
    (tmp_path / "a.dcm").write_bytes(start + meta + liar + bytes(350_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Exception, match=r"a\.dcm|holds no"):
        discover(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_jpeg_lossless_without_pixels_is_one_line(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    files = write_series(head_ct, straight)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(file)
    with pytest.raises(CaseError, match="cannot be decoded"):
        read_case(discover(files[0].parent).cases[0])
