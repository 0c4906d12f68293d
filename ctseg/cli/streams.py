"""Standard streams that are closed or full: the job goes on, and no file takes their place."""

from __future__ import annotations

import os
import sys
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
