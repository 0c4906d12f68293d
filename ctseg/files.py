"""Files that are either whole or not there: atomic writes of files and folders."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctseg.errors import InputError, OutputExistsError


def sync(path: Path) -> None:
    """Flush a file or folder entry to disk; folders cannot be synced on every system, which is harmless."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def write_with(path: Path, write: Callable[[Path], None]) -> Path:
    """Call `write` on a temporary neighbour of `path` (same suffixes), then move it into place.

    Args:
        path: the file to end up with; its folder is made.
        write: writes the file it is given whole.

    Raises:
        InputError: if nothing can be made there (below /proc, say).
    """
    path = Path(path)
    with _placed(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix="-" + path.name, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)
    return path


@contextmanager
def _placed(path: Path) -> Iterator[None]:
    """File systems that are no place for files (/proc) deny their own folders to exist."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: nothing can be written there; choose another place") from None


def _umask() -> int:
    """The process's umask: there is no way to read it without setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically."""
    return write_with(Path(path), lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> Path:
    """Write `data` as indented JSON, atomically; NaN is refused because other readers cannot parse it."""
    return write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: if the file is missing or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a JSON file ({error})") from None


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise `OutputExistsError` where `path` holds anything and `overwrite` is not set."""
    path = Path(path)
    filled = path.is_dir() and any(path.iterdir())
    if (filled or path.is_file()) and not overwrite:
        raise OutputExistsError(f"{path}: exists already; choose another output or add --overwrite")


@contextmanager
def new_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary neighbour of `path` that takes its place when the block ends well and vanishes when it does not.

    Raises:
        OutputExistsError: if `path` holds anything and `overwrite` is not set.
        InputError: if nothing can be made there.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    with _placed(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".partial-{path.name}-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        sync(temporary)
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
