"""Standard streams that are closed or full: the job goes on, and no file takes their place."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Any


class Lenient:
    """A text stream whose failed writes are dropped: progress and messages are not the job."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what the stream takes."""
        try:
            return int(self._stream.write(text))
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        """Flush what the stream takes."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class OfMainThread:
    """Stdout that holds results alone: what other threads print goes to stderr."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, to where it belongs."""
        is_main = threading.current_thread() is threading.main_thread()
        return int((self._stream if is_main else sys.stderr).write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def keep_results_alone() -> None:
    """Have what other code than this process's main thread writes to stdout go to stderr.

    Results are written to a descriptor of their own; C libraries, worker processes and programs that are started know
    the first one alone.
    """
    sys.stdout.flush()
    own = open(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)  # noqa: PTH123, SIM115
    os.dup2(2, 1)
    sys.stdout = OfMainThread(own)


def end_results() -> None:
    """Have what is printed from now on, as by functions of `atexit`, go to stderr where stdout holds results alone."""
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    if isinstance(sys.stdout, OfMainThread):
        sys.stdout = sys.stderr


def keep_streams() -> None:
    """Open closed standard streams on the null device, and let nothing fail for a message on stderr.

    Python has no `sys.stderr` where it was closed, and the next file that is opened would get its number: what a
    library prints would end in a checkpoint.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    sys.stderr = Lenient(sys.stderr)
