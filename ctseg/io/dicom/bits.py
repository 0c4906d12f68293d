"""Which bits of a stored word are a pixel's value, and whether the highest of them is a sign (PS3.5, 8.1.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ctseg.errors import CaseError
from ctseg.io.dicom.header import integer

Words = NDArray[np.integer[Any]]

OFFSET_INTERCEPT = -500.0
"""Below this intercept, signed pixels hold offset values that are never negative: their top bit is no sign."""

SWAPPED = 0.05
"""More words than this share beyond their bits are no overlay."""
DROPPED = "bits above BitsStored are set and dropped"
WIDER = "its compressed pixels have more bits than BitsStored says; all are used"
OFFSETS = "values beyond BitsStored's sign bit are taken as positive, since the intercept says that they are offsets"
MIXED = "some negative values have their sign spread over the upper bits, some not; all are taken as negative"


def true_values(
    stored: NDArray[Any], dataset: Dataset, *, raw: bool, intercept: float
) -> tuple[Words, tuple[str, ...]]:
    """The values that stored words (H, W) hold, in whole numbers, and notes on fields that disagree with the words.

    Args:
        stored: words as they lie in the file, or as a decoder gives them.
        dataset: the slice's header, which `check_fields` passed.
        raw: whether the words come bit by bit (uncompressed, RLE); a JPEG stream says itself which bits there are.
        intercept: of a CT slice; 0 of others, whose values may be below it.
    """
    allocated, bits = _bits(dataset)
    if bits >= allocated:
        return stored, ()
    words: Words = stored.astype(np.int32 if stored.dtype.itemsize <= 2 else np.int64)
    is_signed = integer(dataset, "PixelRepresentation") == 1
    if not raw and _is_wider(words, bits, is_signed):
        return words, (WIDER,)
    if is_signed:
        return _offsets(words, bits) if intercept < OFFSET_INTERCEPT else _signed(words, bits)
    values = words & ((1 << bits) - 1)
    return values, (DROPPED,) if (values != words).any() else ()


def _bits(dataset: Dataset) -> tuple[int, int]:
    """(bits of a word, bits of it that are the value); all of them where the header does not say."""
    allocated = integer(dataset, "BitsAllocated", 16)
    return allocated, integer(dataset, "BitsStored") or allocated


def check_fields(dataset: Dataset, name: str, *, raw: bool) -> None:
    """Compare all that says where in a word a value lies.

    Raises:
        CaseError: if BitsAllocated, BitsStored and HighBit contradict each other.
    """
    allocated, bits = _bits(dataset)
    high = bits - 1 if dataset.get("HighBit") is None else integer(dataset, "HighBit", 0)
    if not 0 < bits <= allocated or (raw and high != bits - 1):
        raise CaseError(
            f"{name}: BitsAllocated {allocated}, BitsStored {bits} and HighBit {high} contradict each other, so where "
            "in a word its values lie is unknown; export the series again"
        )


def check_order(stored: NDArray[Any], dataset: Dataset, name: str) -> None:
    """Refuse words (H, W) that need more bits than the header says, and fit into them with their bytes swapped.

    Raises:
        CaseError: if so.
    """
    allocated, bits = _bits(dataset)
    if allocated != 16 or bits == 16 or stored.dtype.itemsize != 2:
        return
    beyond = _beyond(stored, bits)
    if beyond.mean() > SWAPPED and not _beyond(stored.byteswap(), bits).any():
        raise CaseError(f"{name}: the two bytes of its pixels are swapped; export the series again")


def _beyond(words: NDArray[Any], bits: int) -> NDArray[np.bool_]:
    return np.asarray((words < -(1 << (bits - 1))) | (words.astype(np.int32) >= 1 << bits))


def _is_wider(words: Words, bits: int, is_signed: bool) -> bool:
    """Whether decoded values need more bits; signed ones may come with or without their sign spread."""
    lowest = -(1 << (bits - 1)) if is_signed else 0
    return bool(words.min() < lowest or words.max() >= 1 << bits)


def _offsets(words: Words, bits: int) -> tuple[Words, tuple[str, ...]]:
    """Signed words whose negative values would all lie below air: what is above the sign bit is metal, not air."""
    return words, (OFFSETS,) if (words >= 1 << (bits - 1)).any() else ()


def _signed(words: Words, bits: int) -> tuple[Words, tuple[str, ...]]:
    """The sign bit of each word spread, whatever lies above it."""
    low = words & ((1 << bits) - 1)
    is_negative = low >= 1 << (bits - 1)
    values = np.where(is_negative, low - (1 << bits), low)
    spread, bare = is_negative & (words == values), is_negative & (words == low)
    notes = (MIXED,) if spread.any() and bare.any() else ()
    return values, (*notes, DROPPED) if (~spread & (words != low)).any() else notes
