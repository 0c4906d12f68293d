"""Lists of paths, from a file or stdin: one a line, or separated by NUL bytes, in the encodings that systems write."""

from __future__ import annotations

import codecs
import errno
import os
import re
import sys
from pathlib import Path

from ctseg.errors import InputError
from ctseg.files import bounded

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
"""Byte order marks and their encodings; UTF-32 first, because its mark begins with that of UTF-16."""

LINE_END = re.compile(r"\r\n|\r|\n")
"""`str.splitlines` also splits at characters that a file name may hold."""

NO_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What the system says of a text that can be no path; anything else is about a path that may well be one."""

QUOTES = "\"'"


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in any Unicode encoding, without spaces around them; empty ones are left out.

    Raises:
        InputError: if it cannot be read, or is in an 8-bit encoding.
    """
    text, is_utf8 = _decoded(_bytes_of(path), str(path))
    if not is_utf8:
        raise InputError(f"{path}: not UTF-8 but Latin-1, Windows-1252 or another 8-bit encoding; save it as UTF-8")
    return [line.strip() for line in LINE_END.split(text) if line.strip()]


def read_list(path: Path, *, null: bool = False) -> list[Path]:
    """The existing paths that a list file names.

    Args:
        path: a text file in UTF-8, with or without a byte order mark, UTF-16 or UTF-32; any line ends.
        null: whether NUL bytes separate the paths, as `find -print0` writes them.

    Raises:
        InputError: if the list cannot be read, is empty, is in another encoding, or names a missing path.
    """
    return listed_paths(_bytes_of(path), str(path), null=null)


def _bytes_of(path: Path) -> bytes:
    try:
        return bounded(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the list") from None


def read_stdin(*, null: bool = False) -> list[Path]:
    """The existing paths that stdin names; arguments and errors as for `read_list`."""
    buffer = getattr(sys.stdin, "buffer", None)
    data = sys.stdin.read().encode(errors="surrogateescape") if buffer is None else buffer.read()
    return listed_paths(data, "stdin", null=null)


def listed_paths(data: bytes, where: str, *, null: bool = False) -> list[Path]:
    """The existing paths in the bytes of a list.

    Args:
        data: the whole list.
        where: the list's name, for messages.
        null: whether NUL bytes separate the paths.

    Raises:
        InputError: as `read_list`.
    """
    if null:
        names, is_utf8 = [os.fsdecode(part) for part in data.removeprefix(codecs.BOM_UTF8).split(b"\0") if part], True
    else:
        text, is_utf8 = _decoded(data, where)
        names = [line for line in LINE_END.split(text) if line.strip()]
    if not names:
        raise InputError(f"{where}: names no path; write one path a line")
    return [_existing(name, where, exact=null, is_utf8=is_utf8) for name in names]


def _decoded(data: bytes, where: str) -> tuple[str, bool]:
    """The text of a list, and whether its encoding is sure; other bytes stay as they are, since names may hold them.

    Raises:
        InputError: naming the encoding, if the list cannot be decoded or holds NUL characters.
    """
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "") or _utf16_without_mark(data)
    try:
        text = data.decode(encoding) if encoding else os.fsdecode(data)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: broken {encoding.upper()} ({error.reason}); save the list as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{where}: holds NUL bytes; add -0 if they separate the paths, or save the list as UTF-8")
    return text, bool(encoding) or not any("\udc80" <= character <= "\udcff" for character in text)


def _utf16_without_mark(data: bytes) -> str:
    """The encoding of a list whose every other byte is NUL in most places; empty for any other."""
    if len(data) < 4 or len(data) % 2:
        return ""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if max(even, odd) < len(data) / 4 or min(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _existing(name: str, where: str, *, exact: bool, is_utf8: bool) -> Path:
    """The path of a line: as written, without spaces around it, or without the quotes of "Copy as path".

    Raises:
        InputError: if there is none of these.
    """
    stripped = name.strip()
    unquoted = stripped[1:-1] if len(stripped) > 2 and stripped[0] == stripped[-1] in QUOTES else stripped
    for candidate in (name,) if exact else (name, stripped, unquoted):
        if is_there(Path(candidate)):
            return Path(candidate)
    if not is_utf8:
        shown = stripped.encode(errors="surrogateescape").decode("latin-1")
        raise InputError(
            f"{shown}: no such file or folder (from {where}, which is not UTF-8 but Latin-1, Windows-1252 or another "
            "8-bit encoding); save the list as UTF-8"
        )
    shown = name if exact else stripped
    raise InputError(f"{_printable(shown)}: no such file or folder (from {where}); check the path")


def is_there(path: Path) -> bool:
    """Whether a path exists; of one that the system does not give now, whoever reads it says so in its own row.

    Raises:
        InputError: if there can be no such path: a name that is too long, or one that is no name.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in NO_NAME:
            return True
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{_printable(str(path))}: cannot be looked at ({reason}); check the path") from None
    return True


def _printable(text: str) -> str:
    """A name that a terminal can show, at most 300 characters of it."""
    shown = text.encode(errors="surrogateescape").decode(errors="replace")
    return shown if len(shown) <= 300 else f"{shown[:300]}..."
