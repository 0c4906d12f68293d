"""Compressed pixels of the youngest transfer syntaxes: HTJ2K is read, what no decoder reads names the way out."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, HTJ2KLossless, HTJ2KLosslessRPCL, JPEGExtended12Bit

from ctseg.errors import CaseError
from ctseg.io.dicom.pixels import LOSSY, NO_DECODER, slice_values
from ctseg.io.dicom.reader import read_series
from ctseg.io.discover import discover

Write = Callable[..., list[Path]]
Places = list[tuple[float, ...]]

RISING = (np.arange(64).reshape(8, 8) * 16 - 1000).astype(np.int16)
HTJ2K = "1.2.840.10008.1.2.4.203"
LOSSLESS_STREAM = b64decode(
    "/0//UQApQAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQ"
    "iIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAFYAAf+TwAAmPf0Ch3QAAADAABLAABMAkAEHdACO/AKHdADAABNAABOAhvEAgnQAPvr4"
    "AINUAMAAJ4AAVIDu7qCnwnUA/n6/wCEB7LYA/9k="
)
LOSSY_STREAM = b64decode(
    "/0//UQApQAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABjwEB/1AACAACAAAAKv9SAAwAAgABAAUEBEAA/1wAIyK3GLbqtuq2vK8ArwCu"
    "4qdMp0ynZJADkAOQRpfSl9KXYf9kABcAAU9wZW5KUEggVmVyIDAuMjYuMy7/kAAKAAAAAABoAAH/k8AAATBpqgUHdAAAAMAABLAAATDaAYd0AOb+Awd0"
    "AMAAE8AAFSAAgOMAQrQADqA7AP0BBrQAwAAVkAAFpHYGoz2D+HJLypt2AL73vsXdwt3itrgBCApukmo4AP/Z"
)
"""`RISING`, encoded by OpenJPH (imagecodecs 2026.10.10) with and without loss."""


def packed(write_series: Write, head: np.ndarray, places: Places, stream: bytes, syntax: str) -> list[Path]:
    files = write_series(head, places)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.Rows, dataset.Columns = RISING.shape
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    return files


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_lossless_htj2k_is_read(write_series: Write, head_ct: np.ndarray, straight: Places, syntax: str) -> None:
    files = packed(write_series, head_ct, straight, LOSSLESS_STREAM, syntax)
    values, notes = slice_values(pydicom.dcmread(files[0]), "a", "ct")
    np.testing.assert_array_equal(values, RISING)
    assert notes == ()


def test_htj2k_with_loss_says_so(write_series: Write, head_ct: np.ndarray, straight: Places) -> None:
    files = packed(write_series, head_ct, straight, LOSSY_STREAM, HTJ2K)
    values, notes = slice_values(pydicom.dcmread(files[0]), "a", "ct")
    assert np.abs(values - RISING).max() < 8
    assert notes == (LOSSY,)


@pytest.mark.parametrize("syntax", [HTJ2K, JPEGExtended12Bit])
def test_a_decoder_that_is_not_installed_is_said(
    write_series: Write, head_ct: np.ndarray, straight: Places, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    """Of JPEG with 12 bits pydicom has another one, for 8 bits alone."""
    monkeypatch.setattr(get_decoder(HTJ2K), "_available", {})
    monkeypatch.setitem(sys.modules, "gdcm", None)
    files = packed(write_series, head_ct, straight, LOSSLESS_STREAM, syntax)
    with pytest.raises(CaseError) as raised:
        slice_values(pydicom.dcmread(files[0]), "a", "ct")
    what = f"a: its pixels are {UID(syntax).name}, {NO_DECODER}, or export the series uncompressed"
    assert str(raised.value) == what


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL, lossless"),
        ("1.2.840.10008.1.2.4.111", "JPEG XL, from JPEG"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.10008.1.2.8.1", "deflated frames"),
        ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2"),
        ("1.2.840.113619.5.2", "in a transfer syntax of no known name"),
    ],
)
def test_what_no_decoder_reads_names_the_way_out(
    write_series: Write, head_ct: np.ndarray, straight: Places, syntax: str, name: str
) -> None:
    files = packed(write_series, head_ct, straight, b"\xff\x0a" + bytes(62), syntax)
    (case,) = discover(files[0].parent, "ct").cases
    with pytest.raises(CaseError) as raised:
        read_series(case.files)
    assert f"its pixels are {name}" in str(raised.value)
    assert "export the series uncompressed (Explicit VR Little Endian)" in str(raised.value)
    assert "copy the file again" not in str(raised.value)
