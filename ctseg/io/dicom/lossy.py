"""Whether a picture has lost something to compression, by what its header says or by its own stream.

Some headers do not say it, and some say it in one of their fields alone.

JPEG 2000 and HTJ2K may be lossy under one transfer syntax, and programs write lossy streams under the syntaxes of
lossless ones. Of a lossless JPEG 2000 that was cut to a size nothing tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from ctseg.io.dicom.header import text, value_of

SAID = frozenset({"01", "1", "YES", "Y", "TRUE"})
"""LossyImageCompression of what has lost something; 01 is the standard's."""
WORDS = re.compile(r"(?<!no )(?<!non[ -])(?<!not )(?<!without )\b(lossy|irreversible|verlustbehaftet)", re.IGNORECASE)
"""What DerivationDescription has for it."""
CODE = "113040"
"""Lossy Compression, of DICOM's own codes."""
JPEG_2000 = b"\xff\x4f"
JPEG = b"\xff\xd8"
COD, SOS = 0x52, 0xDA
"""Markers of a JPEG 2000's coding style and of a JPEG's scan."""
ENDS = frozenset({0x90, 0x93, 0xD9})
"""Markers behind which there are no parameters of the whole picture."""
TRANSFORM = 9
"""Byte of a coding style that says which wavelet: 0 is the one that loses."""
JPEG_LS, LOSSLESS = 0xF7, frozenset({0xC3, 0xC7, 0xCB, 0xCF})
FRAMES = frozenset({*range(0xC0, 0xD0), JPEG_LS}) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a picture and say by which process it was made."""


def says_lossy(dataset: Dataset) -> bool:
    """Whether any field of a header says that pixels were compressed with loss, now or before."""
    codes = value_of(dataset, "DerivationCodeSequence") or ()
    return (
        text(dataset, "LossyImageCompression").upper() in SAID
        or any(ratio > 1 for ratio in _ratios(dataset))
        or bool(text(dataset, "LossyImageCompressionMethod"))
        or WORDS.search(text(dataset, "DerivationDescription")) is not None
        or (not isinstance(codes, bytes) and any(text(code, "CodeValue") == CODE for code in codes))
    )


def _ratios(dataset: Dataset) -> Iterator[float]:
    """One for each compression of the pixels; lossless ones are written as 1 by some."""
    for word in re.findall(r"[\d.]+", text(dataset, "LossyImageCompressionRatio")):
        with suppress(ValueError):
            yield float(word)


def is_lossy_stream(dataset: Dataset) -> bool:
    """Whether the first frame of a compressed slice says that it lost something; False where it says nothing."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return False
    try:
        stream = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)))
    except Exception:  # decoding says what is wrong
        return False
    return _is_lossy(bytes(stream))


def _is_lossy(stream: bytes) -> bool:
    if stream.startswith(JPEG_2000):
        styles = [body for marker, body in _segments(stream) if marker == COD]
        return any(len(body) > TRANSFORM and body[TRANSFORM] == 0 for body in styles)
    if not stream.startswith(JPEG):
        return False
    process = 0
    for marker, body in _segments(stream):
        process = marker if marker in FRAMES else process
        if marker == SOS:
            return _loses(process, body)
    return False


def _loses(process: int, scan: bytes) -> bool:
    """Whether a JPEG loses by its process, by JPEG-LS' NEAR, or by the bits that lossless JPEG drops."""
    after = 1 + 2 * scan[0] if scan else 0
    if len(scan) < after + 3:
        return False
    if process == JPEG_LS:
        return scan[after] > 0
    return process not in LOSSLESS or scan[after + 2] % 16 > 0


def _segments(stream: bytes) -> Iterator[tuple[int, Any]]:
    """(marker, its parameters) up to the pixels' own data."""
    place = 2
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker, length = stream[place + 1], int.from_bytes(stream[place + 2 : place + 4], "big")
        if marker in ENDS:
            return
        yield marker, stream[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)
