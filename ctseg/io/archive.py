"""What lies in a zip archive, by its table of contents: nothing is unpacked, and what would swell is refused."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ctseg.failures import system_failure
from ctseg.io import source as limits
from ctseg.io.case import Rejected
from ctseg.io.dicom.index import missing_in_zip
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.kinds import NESTED, is_hidden_folder, kind_of
from ctseg.io.source import Source, open_archive

MAX_TABLE_BYTES = 512 * 1024**2
"""Of a table of contents; RSNA 2019's, of 870,000 members, takes 80 MB."""
BOMB_BYTES = 1024**3
"""An archive may always unpack to so much."""
BOMB_RATIO = 200
"""A larger one may unpack to so many times its size; DICOM shrinks to a half or a third, air to a hundredth."""
METHODS = {9: "Deflate64", 1: "Shrink", 6: "Implode", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd", 99: "AES"}
"""Compression methods that are not read, by number; 0, 8, 12 and 14 are."""
READ_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
UNPACK = "unpack it and give the folder"


def zip_members(path: Path, ignored: Counter[str]) -> tuple[list[Source], list[Rejected]]:
    """The members that could be DICOM, and what is left out.

    Args:
        path: the archive.
        ignored: counts members that are no scans by their names.
    """
    try:
        if _table_bytes(path) > MAX_TABLE_BYTES:
            return [], [Rejected(str(path), f"its table of contents is too large; {UNPACK}", True)]
        infos = open_archive(path).infolist()
    except Exception as error:  # zipfile raises struct's, its own and the system's errors
        reason = system_failure(error) or f"not a readable zip ({unquoted(error)}); copy it again"
        return [], [Rejected(str(path), reason, True)]
    infos = [info for info in infos if not info.is_dir()]
    reason = _whole_fault(infos, path)
    if reason:
        return [], [Rejected(str(path), reason, True)]
    sources, rejected = _sorted_members(path, infos, ignored)
    return sources, [*missing_in_zip(path, [info.filename for info in infos]), *rejected]


def _table_bytes(path: Path) -> int:
    """Bytes of the table of contents as the end of the file states it; zipfile reads the table whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 66_000, 0))
        tail = file.read(66_000)
    large, small = tail.rfind(b"PK\x06\x06"), tail.rfind(b"PK\x05\x06")
    start, length = (large + 40, 8) if large >= 0 else (small + 12, 4)
    return min(int.from_bytes(tail[start : start + length], "little"), size) if max(large, small) >= 0 else 0


def _whole_fault(infos: Sequence[zipfile.ZipInfo], path: Path) -> str:
    """Why an archive is not read at all; empty where it is."""
    method = next((info.compress_type for info in infos if info.compress_type not in READ_METHODS), None)
    if any(info.flag_bits & 1 for info in infos):
        return f"the zip is encrypted; {UNPACK}"
    if method is not None:
        return f"the zip uses {METHODS.get(method, f'compression method {method}')}; {UNPACK}"
    return _swelling(infos, path.stat().st_size)


def _swelling(infos: Sequence[zipfile.ZipInfo], size: int) -> str:
    """Why an archive of `size` bytes would unpack to more than it can hold; empty where it would not."""
    packed = sum(info.compress_size for info in infos)
    total = sum(info.file_size for info in infos if info.file_size <= limits.MAX_MEMBER_BYTES)
    if packed <= size and total <= max(BOMB_BYTES, BOMB_RATIO * size):
        return ""
    return f"the zip of {size / 1024**2:.1f} MiB would unpack to {total / 1024**3:.1f} GiB, so it is refused; {UNPACK}"


def _sorted_members(
    path: Path, infos: Iterable[zipfile.ZipInfo], ignored: Counter[str]
) -> tuple[list[Source], list[Rejected]]:
    sources: list[Source] = []
    rejected: list[Rejected] = []
    for info in infos:
        place = PurePosixPath(info.filename)
        kind = kind_of(place.name)
        if any(is_hidden_folder(part) for part in place.parts[:-1]):
            ignored["hidden folders"] += 1
        elif kind.what == "ignored":
            ignored[kind.reason] += 1
        elif info.file_size > limits.MAX_MEMBER_BYTES:
            rejected.append(Rejected(f"{path}[{info.filename}]", "unpacks to more than 2 GiB; refused", True))
        elif kind.what == "dicom":
            sources.append(Source(str(path), info.filename))
        else:
            reason = {"zip": NESTED, "volume": "a volume inside a zip; unpack it first"}.get(kind.what, kind.reason)
            rejected.append(Rejected(f"{path}[{info.filename}]", reason, True))
    return sources, rejected
