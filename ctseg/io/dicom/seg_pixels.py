"""The pixels of a DICOM SEG, frame by frame: single bits that run on across frames, bytes, words, or compressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ctseg.errors import CaseError
from ctseg.failures import system_failure
from ctseg.io.dicom.header import integer, text
from ctseg.io.dicom.pixels import MAX_PIXELS, NO_DECODER, SYNTAXES, lacks_decoder
from ctseg.io.quiet import quiet

PLAIN = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
FIELDS = frozenset(
    {"NumberOfFrames", "PhotometricInterpretation", "PixelData", "PixelRepresentation", "SamplesPerPixel"}
)
"""What a decoder asks for beside the size of a frame."""
PROBABILITIES = (
    "holds probabilities (FRACTIONAL), and where a lesion begins is for you to say: threshold it, and write it as "
    "BINARY or as NIfTI"
)

Values = NDArray[Any]


def check_pixels(dataset: Dataset, count: int) -> None:
    """Compare the pixels that are there with what the header says, before any room is made for them.

    Args:
        dataset: the SEG with its pixels.
        count: of its frames.

    Raises:
        CaseError: without the file's name, if they cannot be all, or are of no kind that a SEG has.
    """
    if "PixelData" not in dataset:
        raise CaseError("has no pixel data that is read; copy the file again")
    rows, columns, bits = integer(dataset, "Rows"), integer(dataset, "Columns"), integer(dataset, "BitsAllocated")
    if not 0 < rows * columns <= MAX_PIXELS or rows < 1:
        raise CaseError(f"its header claims {rows} x {columns} pixels a frame; copy it again")
    if bits not in (1, 8, 16) or integer(dataset, "SamplesPerPixel", 1) != 1:
        raise CaseError(f"BitsAllocated is {bits}, which no segmentation has; export it again")
    if _syntax(dataset).is_encapsulated:
        return
    needed, held = -(-count * rows * columns * bits // 8), len(dataset.PixelData or b"")
    if not needed <= held <= needed + 1:
        raise CaseError(f"has {held} bytes of pixels where {count} frames need {needed}; copy it again")


def frame_values(dataset: Dataset, count: int) -> Iterator[Values]:
    """The stored values (rows, columns) of each frame, in the order of the file; `check_pixels` passed them.

    Raises:
        CaseError: without the file's name, if they are compressed in a way that is not read, or there are fewer.
    """
    if _syntax(dataset) in PLAIN:
        yield from _plain(dataset, count)
        return
    if _syntax(dataset) == RLELossless and integer(dataset, "BitsAllocated") == 1:
        yield from _run_lengths_of_bits(dataset, count)
        return
    yield from _decoded(dataset, count)


def _run_lengths_of_bits(dataset: Dataset, count: int) -> Iterator[Values]:
    """Frames of single bits, packed into bytes and compressed by RLE, as OHIF writes them; pydicom decodes bytes."""
    shape = integer(dataset, "Rows"), integer(dataset, "Columns")
    packed = Dataset()
    packed.update({element.tag: element for element in dataset if element.keyword in FIELDS})
    packed.file_meta = dataset.file_meta
    packed.Rows, packed.Columns = 1, -(-shape[0] * shape[1] // 8)
    packed.BitsAllocated = packed.BitsStored = 8
    packed.HighBit = 7
    for values in _decoded(packed, count):
        yield np.unpackbits(values, bitorder="little")[: shape[0] * shape[1]].reshape(shape)


def _decoded(dataset: Dataset, count: int) -> Iterator[Values]:
    """Frames as pydicom decodes them; arguments and errors as of `frame_values`."""
    try:
        decoder: Any = get_decoder(_syntax(dataset))
    except NotImplementedError:
        name = SYNTAXES.get(str(_syntax(dataset)), "in a way of no known name")
        raise CaseError(f"its frames are compressed ({name}), which is not read; write it uncompressed") from None
    if lacks_decoder(_syntax(dataset)):
        raise CaseError(f"its frames are {_syntax(dataset).name}, {NO_DECODER}, or write it uncompressed")
    shape, found = (integer(dataset, "Rows"), integer(dataset, "Columns")), 0
    for values in _frames(decoder, dataset):
        if values.shape != shape:
            raise CaseError(f"a frame has {values.shape} pixels, where its header says {shape}; copy it again")
        found += 1
        yield values
    if found != count:
        raise CaseError(f"says {count} frames and holds the pixels of {found}; copy the file again")


def _frames(decoder: Any, dataset: Dataset) -> Iterator[Values]:
    try:
        with quiet():
            yield from (values for values, _ in decoder.iter_array(dataset, raw=True))
    except CaseError:
        raise
    except Exception as error:  # decoders raise anything on broken streams
        reason = system_failure(error) or "its compressed frames cannot be decoded; copy it again"
        raise CaseError(reason) from None


def _syntax(dataset: Dataset) -> UID:
    return UID(str(dataset.file_meta.TransferSyntaxUID))


def _plain(dataset: Dataset, count: int) -> Iterator[Values]:
    shape, bits = (integer(dataset, "Rows"), integer(dataset, "Columns")), integer(dataset, "BitsAllocated")
    size = shape[0] * shape[1]
    if bits > 1:
        words = np.frombuffer(dataset.PixelData, "<u2" if bits == 16 else "u1", size * count)
        yield from words.reshape(count, *shape)
        return
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    for first in range(0, size * count, size):
        part = np.unpackbits(stored[first // 8 : -(-(first + size) // 8)], bitorder="little")
        yield part[first % 8 : first % 8 + size].reshape(shape)


def marked(values: Values, dataset: Dataset) -> NDArray[np.bool_]:
    """The voxels (rows, columns) that a frame of one segment marks.

    Raises:
        CaseError: without the file's name, if there is anything between all and nothing.
    """
    if text(dataset, "SegmentationType").upper() == "BINARY":
        if values.size and values.max() > 1:
            raise CaseError("says BINARY, and holds other values than 0 and 1; export it again")
        return np.asarray(values, dtype=bool)
    whole = integer(dataset, "MaximumFractionalValue", 255)
    if not np.isin(values, (0, whole)).all():
        raise CaseError(PROBABILITIES)
    return np.asarray(values == whole)


def numbered(values: Values, numbers: set[int], backgrounds: set[int]) -> NDArray[np.uint8]:
    """The numbers of segments (rows, columns) in a frame of a label map, 0 where there is none.

    Args:
        values: the stored ones.
        numbers: of the segments that are described, from 1 to 255.
        backgrounds: the values that mean no segment.

    Raises:
        CaseError: without the file's name, if there is a value of no segment.
    """
    unknown = set(np.unique(values).tolist()) - numbers - backgrounds
    if unknown:
        raise CaseError("holds voxels of no segment that its header describes; export it again")
    return np.where(np.isin(values, list(backgrounds)), 0, values).astype(np.uint8)
