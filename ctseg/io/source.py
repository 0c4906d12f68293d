"""Bytes of one file, on disk, in a zip archive or compressed by gzip: never more of them than the file can hold."""

from __future__ import annotations

import gzip
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from pydicom.errors import InvalidDicomError

from ctseg.files import special

MAX_MEMBER_BYTES = 2 * 1024**3
"""A file or zip member that unpacks to more than this is no CT slice; it is refused."""
GZIP_FLOOR_BYTES = 64 * 1024**2
"""A gzip file may always unpack to so much, however small it is: a slice of air is."""
GZIP_RATIO = 200
"""Larger ones may unpack to so many times their size."""
OPEN_ARCHIVES = 2
"""Zip archives that stay open, so that their table of contents is read once and not once a member."""


@dataclass(frozen=True)
class Source:
    """A file on disk, or a member of a zip archive; either may be compressed by gzip."""

    path: str
    member: str | None = None

    @property
    def folder(self) -> str:
        """Where the file lies, on disk or inside its archive."""
        place = self.path if self.member is None else f"{self.path}/{self.member}"
        return str(Path(place).parent)

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.member or self.path).name

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}[{self.member}]"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes, never through a path that an archive dictates; a read is never larger than what is left.

        Raises:
            InvalidDicomError: if it is no regular file, or unpacks to more than `MAX_MEMBER_BYTES`.
            OSError: if the system does not give it.
        """
        with ExitStack() as stack:
            stream, size = stack.enter_context(self.stored())
            if size > MAX_MEMBER_BYTES:
                raise InvalidDicomError("unpacks to more than 2 GiB")
            if self.name.lower().endswith(".gz"):
                limit = min(MAX_MEMBER_BYTES, max(GZIP_FLOOR_BYTES, GZIP_RATIO * size))
                stream = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=stream)))
                yield cast(IO[bytes], Bounded(stream, limit, refuse=True))
            else:
                yield cast(IO[bytes], Bounded(stream, size))

    @contextmanager
    def stored(self) -> Iterator[tuple[IO[bytes], int]]:
        """The bytes as they are stored, and how many there are."""
        if self.member is None:
            size = regular_size(self.path)
            with Path(self.path).open("rb") as file:
                yield file, size
            return
        archive = open_archive(self.path)
        info = archive.getinfo(self.member)
        with archive.open(info) as stream:
            yield stream, info.file_size


def regular_size(path: str | Path) -> int:
    """Bytes of a regular file; pipes, sockets and devices are never opened, since that may wait for ever.

    Raises:
        InvalidDicomError: if it is something else.
        OSError: if the system does not know it.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidDicomError(f"{special(status.st_mode)}, not a file")
    return status.st_size


def open_archive(path: str | Path) -> zipfile.ZipFile:
    """An archive that is kept open by this process, as long as the file on disk stays the same.

    Raises:
        BadZipFile, OSError, NotImplementedError: if it cannot be read.
    """
    status = Path(path).stat()
    return _opened(str(path), os.getpid(), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(OPEN_ARCHIVES)
def _opened(path: str, *_version: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


class Bounded:
    """A stream that never reads past a number of bytes, whatever a header says about lengths."""

    def __init__(self, stream: IO[bytes], size: int, *, refuse: bool = False, largest: int | None = None) -> None:
        """Wrap a stream.

        Args:
            stream: opened for reading, at its start.
            size: bytes that it holds, at most.
            refuse: whether more bytes are an error; else they are not there.
            largest: bytes that one read may ask for; default: any number.
        """
        self._stream, self._size, self._refuse, self._largest = stream, size, refuse, largest

    def read(self, count: int | None = -1) -> bytes:
        """At most `count` bytes.

        Raises:
            InvalidDicomError: if more bytes come than may, or one read asks for more than `largest`.
        """
        left = max(self._size - self._stream.tell(), 0)
        is_all = count is None or count < 0
        wanted = left if count is None or is_all else min(count, left)
        if self._largest is not None and wanted > self._largest and not is_all:
            raise InvalidDicomError(f"an element of {wanted / 1024**2:.0f} MiB in its header")
        data = self._stream.read(wanted)
        if self._refuse and wanted == left and self._stream.read(1):
            raise InvalidDicomError(f"unpacks to more than {self._size / 1024**2:.0f} MiB")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another place.

        Raises:
            InvalidDicomError: if that lies behind all that may come; a compressed stream would unpack all before it.
        """
        target = offset + (self._stream.tell() if whence == os.SEEK_CUR else 0)
        if self._refuse and target > self._size:
            raise InvalidDicomError(f"unpacks to more than {self._size / 1024**2:.0f} MiB")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._stream.tell()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
