"""Locks on files and folders that end with their process, so that nothing in use is taken for a leftover."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctseg.temporary_names import temporary_name

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".ctseg-lock-"
"""How the name of a lock file begins."""
SHARED_SECONDS = 2.0
"""Whoever shares a lock tries for so long: the last one to leave, and a look at the lock, hold it for a moment."""


class Busy(Exception):  # noqa: N818 - an answer, not a defect
    """A living process holds the lock."""


class Unknown(Exception):  # noqa: N818 - an answer, not a defect
    """The system or the file system has no locks."""


def lock(handle: int, *, shared: bool = False) -> None:
    """Lock an open file or folder for this handle alone, or together with others that share it.

    Raises:
        Busy: if another handle holds it.
        Unknown: if it cannot be locked here.
    """
    if fcntl is None:
        raise Unknown
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy from None
    except OSError:
        raise Unknown from None


def unlock(handle: int) -> None:
    """Release a lock; children that were forked meanwhile hold the same handle, so closing it would not do."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_UN)
        except OSError:
            return


def is_unlocked(handle: int) -> bool:
    """Whether no living process holds the file.

    Raises:
        Unknown: if the file system has no locks.
    """
    try:
        lock(handle)
    except Busy:
        return False
    unlock(handle)
    return True


@contextmanager
def locked(path: Path, *, known: bool = True, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file or folder.

    Args:
        path: what to lock; moving it does not release it.
        known: whether to insist: without, the block runs where the file system has no locks.
        shared: hold it together with others that share it.

    Raises:
        Busy: if a living process holds it.
        Unknown: if it cannot be locked, and `known` is set.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        raise Busy from None  # it went away: somebody is at work on it
    try:
        try:
            lock(handle, shared=shared)
        except Unknown:
            if known:
                raise
        yield
    finally:
        unlock(handle)
        os.close(handle)


@contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a name, whether or not anything is there, by a locked file `.ctseg-lock-NAME` beside it.

    Args:
        path: a file or folder that one process at a time may write; its parent exists.
        shared: hold it together with others that share it.

    Raises:
        Busy: if a living process holds it.
    """
    opened: list[int] = []
    try:
        try:
            try:
                _open_locked(_file_of(path), shared, opened)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise  # a link lies in the place of the lock file
                raise OSError(error.errno, error.strerror, str(path)) from None  # the user knows no lock file
            yield
        finally:
            _let_go(path, opened)
    except BaseException:
        _let_go(path, opened)  # an interruption can come in the middle of it
        raise


def _let_go(path: Path, opened: list[int]) -> None:
    """Release the lock on a name, and remove its file where nobody else shares it."""
    file = _file_of(path)
    if not opened:
        with suppress(OSError):  # as below
            clean_lock(path)  # an interruption can come when the file is there and its handle is not known yet
    while opened:
        with suppress(Busy, Unknown, OSError):  # of a disk that has become read-only: what failed before it is said
            lock(opened[-1])  # shared: only the last one removes it
            if still_there(opened[-1], file):
                file.unlink(missing_ok=True)  # while it is locked, so that nobody else's is removed
        unlock(opened[-1])
        os.close(opened.pop())


def is_held(path: Path, *, shared: bool = False) -> bool:
    """Whether a living process holds the name `path`; with `shared`, whether one does that does not share it."""
    file = _file_of(path)
    patience = time.monotonic() + (SHARED_SECONDS if shared else 0.0)
    while file.exists():
        try:
            with locked(file, known=False, shared=shared):
                return False
        except Busy:
            if time.monotonic() >= patience:
                return file.exists()
            time.sleep(0.05)
    return False


def clean_lock(path: Path) -> None:
    """Remove the lock file that a killed process left beside `path`; one that is held stays."""
    file = _file_of(path)
    try:
        with locked(file, known=False):
            file.unlink(missing_ok=True)
    except Busy:
        return


def _file_of(path: Path) -> Path:
    """The lock file beside `path`; a long name is shortened, since with the prefix it would be too long."""
    return path.with_name(f"{LOCK}{temporary_name(path.name)}")


def _open_locked(file: Path, shared: bool, opened: list[int]) -> None:
    """Lock the lock file; one that its holder removed meanwhile is made again.

    Args:
        file: the lock file.
        shared: hold it together with others that share it.
        opened: holds the handle with the lock in the end.
    """
    patience = time.monotonic() + (SHARED_SECONDS if shared else 0.0)
    while True:
        opened.append(os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
        try:
            lock(opened[-1], shared=shared)
        except Unknown:
            return
        except Busy:
            os.close(opened.pop())
            if time.monotonic() >= patience:
                raise
            time.sleep(0.05)
            continue
        if still_there(opened[-1], file):
            return
        os.close(opened.pop())


def still_there(handle: int, path: Path) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
