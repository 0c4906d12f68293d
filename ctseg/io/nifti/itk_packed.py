"""Are the packed voxels of a NRRD or MetaImage whole? ITK reads damaged ones without a word.

Where its decompression fails it returns what was in memory before, which can be the scan of another patient, and it
compares no checksum of MetaImage. So the stream is unpacked once more, by zlib, before ITK's voxels are used.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from ctseg.errors import CaseError
from ctseg.io.kinds import CONVERT
from ctseg.io.nifti.itk_header import fields_of, is_packed
from ctseg.io.source import Bounded

PIECE = 1 << 20
"""Bytes that are unpacked at once."""
ANY_HEADER = 32 + zlib.MAX_WBITS
"""zlib finds out whether a stream is its own or one of gzip."""
GZIP = b"\x1f\x8b"
MOST_DIGITS = 16


def check_packed(path: Path, start: int, head: bytes, expected: int, plane: int) -> None:
    """Refuse voxels whose compressed stream is damaged, cut short, or of another length than the header says.

    Args:
        path: the file that holds them.
        start: where in it they begin.
        head: the header of the scan.
        expected: bytes of all voxels.
        plane: bytes of one slice.

    Raises:
        CaseError: without the file's name.
    """
    fields = fields_of(head)
    if not is_packed(fields):
        return
    held = path.stat().st_size - start
    if "dimsize" in fields and start:
        held = _stated(fields.get("compresseddatasize", ""), held)
    if any(fields.get(name, "0") not in ("0", "-1") for name in ("byte skip", "line skip")):
        raise CaseError(
            f"its packed voxels begin somewhere else (byte skip, line skip); write it without, or {CONVERT}"
        )
    found = _unpacked(path, start, held, expected + plane)
    if found < expected:
        raise CaseError(f"damaged: it unpacks to {found} bytes of {expected}, or its checksum is wrong; copy it again")
    if found >= expected + plane:
        raise CaseError(f"unpacks to more than the {expected} bytes that its header says; write its header again")


def _stated(size: str, held: int) -> int:
    """The bytes that a header with its voxels behind it says are packed; ITK reads no more, and none without it.

    Raises:
        CaseError: without the file's name, if there are none or not so many.
    """
    stated = int(size) if size.isdecimal() and len(size) < MOST_DIGITS else 0
    if not 0 < stated <= held:
        found = "not given" if not size else "no number" if not stated else f"{stated}, {held} bytes are there"
        raise CaseError(
            f"its CompressedDataSize is {found}, so that ITK cannot unpack its voxels; write it uncompressed"
        )
    return stated


def _unpacked(path: Path, start: int, held: int, most: int) -> int:
    """Bytes that come out of all streams up to `most`; of a damaged or unfinished one none."""
    total, stream = 0, zlib.decompressobj(ANY_HEADER)
    with path.open("rb") as file:
        file.seek(start)
        whole = Bounded(file, start + held)
        left = b""
        while piece := left or whole.read(PIECE):
            try:
                total += len(stream.decompress(piece, PIECE))
            except zlib.error:
                return 0
            left = stream.unconsumed_tail
            if total >= most:
                return total
            if stream.eof:
                left = stream.unused_data or whole.read(PIECE)
                if not left.startswith(GZIP):
                    return total
                stream = zlib.decompressobj(ANY_HEADER)
    return 0
