"""Files that are either whole or not there: atomic writes of files; `ctseg.outputs` does the same for folders."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ctseg.errors import InputError, UnreadableError
from ctseg.failures import error_number
from ctseg.harmless import safe_table, visible
from ctseg.locks import Busy, Unknown, lock, still_there, unlock
from ctseg.temporary_names import temporary_name, unused

if TYPE_CHECKING:
    import pandas as pd

UNSYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR})
"""What systems answer that cannot flush such a file; anything else is data that is not on the disk."""


def sync(path: Path) -> None:
    """Flush a file or folder entry to disk; folders cannot be synced on every system, which is harmless.

    Raises:
        OSError: if a file's data cannot be brought onto the disk.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() and error.errno not in UNSYNCED:
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What a disk answers to writes alone."""


@contextmanager
def writing_to(path: Path, temporary: Path | None = None, *, reads: bool = False) -> Iterator[None]:
    """Errors of the disk while a file is written name the file, whichever library wrote it and how it says so.

    Args:
        path: what the user knows.
        temporary: what is written for it, a file or a folder, which the user does not know.
        reads: whether other files are read meanwhile, so that an error without a name may be about these.

    Raises:
        OSError: with number, reason and file name.
    """
    try:
        yield
    except Exception as error:
        number = error_number(error)
        filename = getattr(error, "filename", None)
        nameless = filename is None and (not reads or number in FULL)
        if number is None or not (nameless or _is_below(filename, temporary)):
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


def _is_below(filename: object, temporary: Path | None) -> bool:
    """Whether an error names what is being written; errors of reads name the file that is read."""
    return filename is not None and temporary is not None and Path(os.fsdecode(str(filename))).is_relative_to(temporary)


_NOTED: ContextVar[list[Path] | None] = ContextVar("noted", default=None)


@contextmanager
def noted_files() -> Iterator[list[Path]]:
    """A list that grows by the path of every file that `write_with` writes in the block, by whichever writer."""
    noted: list[Path] = []
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


_BEFORE: ContextVar[Callable[[Path, Path], object] | None] = ContextVar("before", default=None)


@contextmanager
def before_replacing(act: Callable[[Path, Path], object]) -> Iterator[None]:
    """Have `act` look at each new file of `write_with` in the block and at its path, right before it is put there."""
    token = _BEFORE.set(act)
    try:
        yield
    finally:
        _BEFORE.reset(token)


def write_with(path: Path, write: Callable[[Path], None]) -> Path:
    """Call `write` on a temporary neighbour of `path` (same suffixes), then move it into place.

    Args:
        path: the file to end up with; its folder is made.
        write: writes the file it is given whole.

    Raises:
        InputError: if nothing can be made there (below /proc, say).
        OSError: naming the file, if the disk refuses it; what was there stays.
    """
    path = Path(path)
    made: list[Path] = []
    opened: list[int] = []
    try:
        try:
            with creating(path), writing_to(path, path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = _temporary(path, made, opened)
            with writing_to(path, temporary):
                write(temporary)
                temporary.chmod(0o666 & ~umask())
                sync(temporary)
                if (act := _BEFORE.get()) is not None:
                    act(temporary, path)
                temporary.replace(path)
        finally:
            _end(made, opened)
    except BaseException:
        _end(made, opened)  # an interruption can come in the middle of it
        raise
    sync(path.parent)
    noted = _NOTED.get()
    if noted is not None:
        noted.append(path)
    return path


def _end(made: list[Path], opened: list[int]) -> None:
    """Remove and close what `_temporary` made."""
    for name in made:
        with suppress(OSError):  # moved, never made, or on a disk that takes nothing: the next run removes it
            name.unlink()
    while opened:
        unlock(opened[-1])
        os.close(opened.pop())


def _temporary(path: Path, made: list[Path], opened: list[int]) -> Path:
    """A new file beside `path`, open and locked, so that no other process takes it for a killed run's.

    Args:
        path: what it will be.
        made: takes each name before there is such a file, so that no interruption leaves one that nobody knows.
        opened: takes each open handle.
    """
    while True:
        temporary = unused(lambda digits: path.with_name(f".partial-{digits}-{temporary_name(path.name)}"))
        made.append(temporary)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        opened.append(handle)
        try:
            lock(handle)
        except Unknown:
            pass
        except Busy:
            continue  # another process has just taken it for a killed run's
        if still_there(handle, temporary):
            return temporary


@contextmanager
def creating(path: Path) -> Iterator[None]:
    """File systems that are no place for files (/proc) deny their own folders to exist."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: nothing can be written there; choose another place") from None


def umask() -> int:
    """The process's umask: it cannot be read without setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically; what a terminal would obey, and bytes that are no UTF-8, are escaped."""
    return write_with(Path(path), lambda temporary: _write_text(temporary, visible(text)))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, table: pd.DataFrame, float_format: str | None = None) -> Path:
    """Write a table as CSV with harmless cells, atomically."""
    text = safe_table(table).to_csv(index=False, lineterminator="\n", float_format=float_format)
    return write_text(path, text)


def write_json(path: Path, data: Any) -> Path:
    """Write `data` as indented JSON, atomically; NaN is refused because other readers cannot parse it."""
    return write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def special(mode: int) -> str:
    """What a mode says that is neither a regular file nor a folder."""
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def regular(path: Path) -> Path:
    """The path of a regular file; pipes, sockets and devices are never opened, since that may wait for ever.

    Raises:
        InputError: if it is something else.
        OSError: if the system does not know it.
    """
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: {special(mode)}, not a file; it is not opened")
    return Path(path)


MOST_SETTINGS, MOST_JSON, MOST_TABLE = 1 << 24, 1 << 29, 1 << 31
"""Bytes of a file of settings, of JSON (the table of a million scans has fewer) and of a table that are read."""


def bounded(path: Path, most: int = MOST_TABLE) -> Path:
    """The path of a regular file of a size that can be read whole: a sparse file claims terabytes and holds nothing.

    Args:
        path: the file.
        most: bytes.

    Raises:
        InputError: if it is larger, or no regular file.
        OSError: if the system does not know it.
    """
    size = regular(path).stat().st_size
    if size > most:
        raise InputError(f"{path}: has {size >> 20} MiB, more than any such file needs; is it the right one?")
    return Path(path)


SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What spreadsheets put between columns where a comma is a decimal's."""


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """`pandas.read_csv` of a bounded file, plain or compressed as its name says (`.gz`, `.zip` and others).

    Raises:
        InputError, OSError: as `bounded`.
        ValueError, OverflowError: if it is no table, or not compressed as its name says, or cut short.
    """
    import lzma
    import tarfile
    import zipfile
    import zlib

    import pandas as pd

    try:
        table = cast("pd.DataFrame", pd.read_csv(bounded(path), **options))
    except (
        EOFError, ImportError, RuntimeError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise ValueError(f"{error}: is it compressed as its name says, and whole?") from error
    if len(table.columns) == 1 and (odd := next((mark for mark in SEPARATORS if mark in str(table.columns[0])), "")):
        raise ValueError(f"its columns are separated by {SEPARATORS[odd]}, not by commas: save it with commas")
    return table


def read_json(path: Path, most: int = MOST_JSON, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        most: bytes; a larger file is not opened.
        pairs: makes each object of its pairs; else the last one of a name counts.

    Raises:
        UnreadableError: if the system does not give it.
        InputError: if the file is missing, too large or no JSON.
    """
    try:
        return json.loads(bounded(path, most).read_text(encoding="utf-8-sig"), object_pairs_hook=pairs)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({' '.join(str(error).split())})") from None
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); check the disk and its permissions"
        raise UnreadableError(f"{path}: {reason}") from None


DEEPEST = 50
QUOTED = re.compile(
    r"""\#[^\n]*+"""
    r"""|\"{3}(?:[^"\\]++|\\.|"{1,2}(?!"))*+(?:"{3,5}|.*)|'{3}(?:[^']++|'{1,2}(?!'))*+(?:'{3,5}|.*)"""
    r"""|"(?:[^"\\\n]++|\\.)*+(?:"|.*)|'[^'\n]*+(?:'|.*)""",
    re.DOTALL,
)
"""Comments and texts in quotes; one that does not end goes on to the end of the file, where the parser stops, too."""
NESTED_KEYS = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{DEEPEST - 1}}}[\w-]")
"""A key of so many parts: of a key in 100 kB the parser would make gigabytes."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: if it is missing, no regular file, too large, or broken, with the line.
    """
    try:
        text = bounded(path, MOST_SETTINGS).read_text(encoding="utf-8-sig")
        if NESTED_KEYS.search(QUOTED.sub("q", text)):
            raise InputError(f"{path}: has keys of {DEEPEST} parts or more, as no settings have; is it the right one?")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (ValueError, RecursionError) as error:  # a number of very many digits is a ValueError
        raise InputError(f"{path}: not a TOML file ({' '.join(str(error).split())})") from None
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); check the disk and its permissions"
        raise UnreadableError(f"{path}: {reason}") from None


def read_json_beside(path: Path) -> Any:
    """The JSON that may lie beside something; None where there is none, or where it is no JSON.

    Raises:
        UnreadableError: if the system does not give it; to go on as if it were not there would change the result.
    """
    try:
        return read_json(path)
    except UnreadableError:
        raise
    except InputError:
        return None
