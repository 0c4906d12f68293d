"""Locks on files and folders that end with their process, so that nothing in use is taken for a leftover."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]


class Busy(Exception):  # noqa: N818 - an answer, not a defect
    """A living process holds the lock."""


class Unknown(Exception):  # noqa: N818 - an answer, not a defect
    """The system or the file system has no locks."""


def lock(handle: int) -> None:
    """Lock an open file or folder for this handle alone.

    Raises:
        Busy: if another handle holds it.
        Unknown: if it cannot be locked here.
    """
    if fcntl is None:
        raise Unknown
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


@contextmanager
def locked(path: Path, *, known: bool = True) -> Iterator[None]:
    """Hold the lock of a file or folder.

    Args:
        path: what to lock; moving it does not release it.
        known: whether to insist: without, the block runs where the file system has no locks.

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
            lock(handle)
        except Unknown:
            if known:
                raise
        yield
    finally:
        unlock(handle)
        os.close(handle)


def still_there(handle: int, path: Path) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
