"""From a DICOM dataset to HU (CT) or scanner units (MR), checking what real files get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    RLELossless,
)

from ctseg.errors import CaseError
from ctseg.failures import system_failure
from ctseg.io.dicom.bits import check_fields, check_order, true_values
from ctseg.io.dicom.header import integer, is_no_number, number, text, value_of
from ctseg.io.dicom.jpeg12 import decode_extended, is_extended
from ctseg.io.dicom.lossy import is_lossy_stream, says_lossy
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.quiet import quiet

AIR_HU = -1024.0
"""What lies outside the field of view, and the lowest value that CT keeps."""

PADDING_HU_BELOW = -200.0
PADDING_HU_ABOVE = 3000.0
"""A declared padding value between these could be tissue, and some files declare one wrongly: it is left alone."""

LOSSY = "compressed with loss: values are near the scanner's, not the same"
LOSSY_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
"""Those that always lose something; of the others the stream says it."""

NO_HU = {
    "OD": "optical densities", "MGML": "mg of a material in mL", "Z_EFF": "effective atomic numbers",
    "ED": "electron densities", "EDW": "electron densities", "PCT": "percentages",
}  # fmt: skip
"""RescaleType of CT images that hold no HU (DICOM PS3.3, C.11.1.1.2); US, unspecified, is what old scanners write."""

LOWEST_AIR_HU, NO_TISSUE_HU = -1060.0, -500.0
"""Air lies at -1000 in the middle of its noise; and what is no tissue."""
FLAT = 0.02
"""One value that fills more of a slice is padding or clipped, not measured."""
SAMPLED = 3
"""One row and column of so many are looked at for it."""
TOO_LOW = "its air lies far below -1000 HU before it is cut: are RescaleSlope and RescaleIntercept right?"

NUMBERS = (
    "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation",
)  # fmt: skip
"""Tags that decide a pixel's value; one of them that cannot be read must not be taken for one that is not there."""

SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL, lossless", "1.2.840.10008.1.2.4.111": "JPEG XL, from JPEG",
    "1.2.840.10008.1.2.4.112": "JPEG XL", "1.2.840.10008.1.2.8.1": "deflated frames",
}  # fmt: skip
"""Names of transfer syntaxes that are younger than pydicom's list."""

NO_DECODER = "and the package that reads them is not installed; install ctseg with all that it needs"

PLAIN_SYNTAXES = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
PLAIN_FIELDS = {"BitsAllocated": 16, "SamplesPerPixel": 1}

GREYS = ("", "MONOCHROME1", "MONOCHROME2")
AMONG_TISSUE = "PixelPaddingValue is one that tissue has, and is not taken for padding"
MAX_PIXELS = 4096 * 4096
"""The largest matrix of one slice; CT has up to 2048 x 2048."""

Pixels = NDArray[Any]


def slice_values(dataset: Dataset, name: str, domain: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The pixels (H, W) of one slice with slope and intercept applied, and notes on fields that disagree with them.

    For CT padding is air and nothing is below it.

    Args:
        dataset: one single-frame slice with its pixels.
        name: the file, for messages.
        domain: 'ct' or 'mr'.

    Raises:
        CaseError: if the pixels are missing, cut short or cannot be decoded.
    """
    for tag in NUMBERS:
        if is_no_number(dataset, tag):
            raise CaseError(f"{name}: its {tag} is not one number, so its values are unknown; export the series again")
    stored = stored_pixels(dataset, name)
    slope, intercept = _rescale(dataset, name, domain)
    if _is_raw(dataset):
        check_order(stored, dataset, name)
    padding, among = _padding(dataset, stored, slope, intercept) if domain == "ct" else (None, ())
    words, notes = true_values(stored, dataset, raw=_is_raw(dataset), intercept=intercept if domain == "ct" else 0.0)
    notes = (*notes, *among, LOSSY) if _has_lost(dataset) else (*notes, *among)
    values: NDArray[np.float32] = words.astype(np.float32)
    values *= np.float32(slope)
    values += np.float32(intercept)
    if domain != "ct":
        return values, notes
    if padding is not None:
        values[padding] = AIR_HU
    notes = (*notes, TOO_LOW) if _is_too_low(values) else notes
    return np.maximum(values, np.float32(AIR_HU), out=values), notes


def _is_too_low(values: NDArray[np.float32]) -> bool:
    """Whether the air that is measured, not one value that fills much of the slice, lies below any scanner's."""
    if values.min() >= LOWEST_AIR_HU:
        return False
    some = values[::SAMPLED, ::SAMPLED]
    found, counts = np.unique(some[some < NO_TISSUE_HU], return_counts=True)
    measured = counts <= FLAT * some.size
    if counts[measured].sum() < FLAT * some.size:
        return False
    return bool(np.median(np.repeat(found[measured], counts[measured])) < LOWEST_AIR_HU)


def stored_pixels(dataset: Dataset, name: str) -> Pixels:
    """The stored values (H, W) of a slice, decompressed.

    Raises:
        CaseError: as `slice_values`.
    """
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise CaseError(f"{name}: its pixels are floating point, which is not read; convert it to NIfTI (dcm2niix)")
    if "PixelData" not in dataset:
        raise CaseError(f"{name}: has no pixel data; copy the file again")
    try:
        dataset["PixelData"]  # pydicom converts it now
    except NotImplementedError:
        raise CaseError(f"{name}: pixel data cannot be decoded (of an unknown VR); copy the file again") from None
    try:
        _check_matrix(dataset, name)
        check_fields(dataset, name, raw=_is_raw(dataset))
        _check_length(dataset, name)
        pixels = _decode(dataset)
    except CaseError:
        raise
    except Exception as error:  # decoders raise anything on broken streams
        raise CaseError(f"{name}: {_why_not_decoded(dataset, error)}") from None
    if pixels.ndim != 2:
        raise CaseError(f"{name}: pixels have shape {pixels.shape}, not rows and columns; not a CT or MR slice")
    return pixels


def _why_not_decoded(dataset: Dataset, error: Exception) -> str:
    if not _is_compressed(dataset) and dataset["PixelData"].is_undefined_length:
        return "compressed, but names no transfer syntax; export it again as DICOM Part 10 files"
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    unread = _unread_syntax(syntax)
    if unread:
        return f"its pixels are {unread}, which is not read; export the series uncompressed (Explicit VR Little Endian)"
    if isinstance(error, ImportError) or lacks_decoder(syntax):
        return f"its pixels are {syntax.name}, {NO_DECODER}, or export the series uncompressed"
    return system_failure(error) or f"pixel data cannot be decoded ({unquoted(error, dataset)}); copy the file again"


def lacks_decoder(syntax: UID) -> bool:
    """Whether none of the packages that read a transfer syntax is installed."""
    return syntax.is_encapsulated and not get_decoder(syntax).is_available


def _unread_syntax(syntax: UID) -> str:
    """The name of a transfer syntax that no decoder reads; empty where one does, or where it is not known."""
    try:
        get_decoder(syntax)
    except NotImplementedError:
        return SYNTAXES.get(syntax) or (
            syntax.name if syntax.name != syntax else "in a transfer syntax of no known name"
        )
    return ""


def _check_matrix(dataset: Dataset, name: str) -> None:
    """Decoders make room for Rows x Columns before they look at the stream."""
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if rows * columns > MAX_PIXELS:
        raise CaseError(f"{name}: its header claims {rows} x {columns} pixels, no slice has so many; copy it again")
    bits = integer(dataset, "BitsAllocated", 16)
    if bits not in (1, 8, 16, 32, 64):
        raise CaseError(f"{name}: BitsAllocated is {bits}; export the series again")


def _is_compressed(dataset: Dataset) -> bool:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        return bool(syntax is not None and syntax.is_compressed)
    except (AttributeError, ValueError):  # a broken UID names no transfer syntax; decoding says so
        return True


def _has_lost(dataset: Dataset) -> bool:
    """Whether the pixels were compressed with loss, now or before."""
    syntax = dataset.file_meta.TransferSyntaxUID
    return syntax in LOSSY_SYNTAXES or says_lossy(dataset) or is_lossy_stream(dataset)


def _is_raw(dataset: Dataset) -> bool:
    """Whether the words come bit by bit as they were stored."""
    return not _is_compressed(dataset) or dataset.file_meta.TransferSyntaxUID == RLELossless


def _decode(dataset: Dataset) -> Pixels:
    """The words with all their allocated bits: which of them count is decided in `ctseg.io.dicom.bits`."""
    if _is_plain(dataset):
        return _plain(dataset)
    decoder: Any = get_decoder(dataset.file_meta.TransferSyntaxUID)
    with quiet():
        if is_extended(dataset):
            return decode_extended(dataset)
        return np.array(decoder.as_array(dataset, raw=True, correct_unused_bits=False)[0])


def _is_plain(dataset: Dataset) -> bool:
    """Whether the pixels are 16-bit words of one grey picture, little endian, as nearly all scanners write them.

    Anything else, and whatever a decoder would refuse, is left to pydicom.
    """
    return (
        dataset.file_meta.TransferSyntaxUID in PLAIN_SYNTAXES
        and text(dataset, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
        and all(value_of(dataset, name) == value for name, value in PLAIN_FIELDS.items())
        and value_of(dataset, "PixelRepresentation") in (0, 1)
        and value_of(dataset, "NumberOfFrames") in (None, 1)
        and integer(dataset, "BitsStored") in range(1, 17)
        and min(integer(dataset, "Rows"), integer(dataset, "Columns")) > 0
    )


def _plain(dataset: Dataset) -> Pixels:
    """The words of pixels that `_is_plain` and `_check_length` passed: (Rows, Columns), read-only."""
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    words = np.frombuffer(dataset.PixelData, "<i2" if dataset.PixelRepresentation else "<u2", rows * columns)
    return words.reshape(rows, columns)


def _check_length(dataset: Dataset, name: str) -> None:
    """Uncompressed pixels must all be there; pydicom reads a file that is cut short without a word."""
    if _is_compressed(dataset) or dataset["PixelData"].is_undefined_length:
        return
    pixels = integer(dataset, "Rows") * integer(dataset, "Columns") * integer(dataset, "SamplesPerPixel", 1)
    expected = pixels * integer(dataset, "BitsAllocated", 16) // 8
    found = len(dataset.PixelData or b"")
    if found < expected:
        raise CaseError(f"{name}: has {_kib(found)} of {_kib(expected)} KiB of pixel data; copy it again")
    row = expected // max(1, integer(dataset, "Rows"))
    if found >= expected + row:
        raise CaseError(
            f"{name}: has {_kib(found)} KiB of pixel data where Rows and Columns say {_kib(expected)}; export the "
            "series again"
        )


def _kib(count: int) -> str:
    return f"{count / 1024:.{0 if count >= 10240 or not count else 1}f}"


def _rescale(dataset: Dataset, name: str, domain: str) -> tuple[float, float]:
    """(slope, intercept); 1 and 0 where the tags are missing, which `check_hu` then judges by the values."""
    if text(dataset, "PhotometricInterpretation") not in GREYS:
        raise CaseError(f"{name}: PhotometricInterpretation is none of greys, so its values are no HU; leave it out")
    unit = text(dataset, "RescaleType").upper()
    if domain == "ct" and unit in NO_HU:
        raise CaseError(f"{name}: its values are {NO_HU[unit]} (RescaleType {unit}), not HU; give the series in HU")
    slope, intercept = number(dataset, "RescaleSlope", 1.0), number(dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        raise CaseError(f"{name}: RescaleSlope is 0, so all its values are the same; export the series again")
    if slope < 0 and domain == "ct":
        why = "so air would be the brightest"
        if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
            why = "of a picture shown inverted (MONOCHROME1), which programs read in two ways"
        raise CaseError(f"{name}: RescaleSlope is {slope:g}, {why}; export the series again")
    if dataset.get("ModalityLUTSequence"):
        raise CaseError(f"{name}: its values go through a table (ModalityLUTSequence); export the series with a slope")
    return slope, intercept


def _padding(
    dataset: Dataset, stored: Pixels, slope: float, intercept: float
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """Where (H, W) the declared padding value or range lies; None, and a note, where it could be tissue.

    Compared modulo the allocated bits, because files write -2000 as 63536 and the other way round.
    """
    if "PixelPaddingValue" not in dataset:
        return None, ()
    bits, signed = integer(dataset, "BitsAllocated", 16), integer(dataset, "PixelRepresentation") == 1
    first = _as_stored(number(dataset, "PixelPaddingValue", 0.0), bits, signed)
    last = _as_stored(number(dataset, "PixelPaddingRangeLimit", first), bits, signed)
    low, high = min(first, last), max(first, last)
    padded = (stored >= low) & (stored <= high)
    if high * slope + intercept >= PADDING_HU_BELOW and low * slope + intercept <= PADDING_HU_ABOVE:
        return None, (AMONG_TISSUE,) if padded.any() else ()
    return padded, ()


def _as_stored(value: float, bits: int, signed: bool) -> int:
    """A value as the pixels hold it: wrapped into the signed or unsigned range of `bits` bits."""
    wrapped = int(value) % (1 << bits)
    return wrapped - (1 << bits) if signed and wrapped >= 1 << (bits - 1) else wrapped
