"""Readers in C and C++ write on the process's stderr what they think of a file; what matters is raised or checked."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_QUIET = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that C code writes on stderr in the block is seen."""
    with _QUIET:
        try:
            kept = os.dup(2)
        except OSError:  # there is no stderr
            yield
            return
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            sys.stderr.flush()
            os.dup2(nothing, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)
