"""What ended a worker process, in one line with the way out."""

from __future__ import annotations

import signal
import time
from concurrent.futures import Executor

EXIT_WAIT_S = 5.0
"""A worker that is gone has an exit code within this time."""
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
"""Signals of a program at fault, which memory that is at its end does not send."""


def death(code: int | None) -> str:
    """What ended a worker process, by its exit code as Python has it: minus the signal's number, or None if unknown."""
    during = "while it worked on this case"
    if code is None:
        return f"a worker process died {during}: out of memory, stopped from outside or crashed; use fewer --workers"
    if code >= 0:
        return f"a worker process left with exit code {code} {during}: a library ended it; try --workers 0"
    name = _signal_name(-code)
    if name == "SIGKILL":
        return f"a worker process was killed {during} (SIGKILL), often for lack of memory; use fewer --workers"
    if name in CRASHES:
        return f"a worker process crashed {during} ({name}): a fault of a library, not memory; leave the case out"
    return f"a worker process was stopped from outside {during} ({name}); start again"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_code(pool: Executor) -> int | None:
    """How the one worker process of a lost pool ended; None where that is not known."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    if len(processes) != 1:
        return None
    code: int | None = processes[0].exitcode
    end = time.monotonic() + EXIT_WAIT_S
    while code is None and time.monotonic() < end:  # the pool's own thread may have taken it and not yet said so
        time.sleep(0.01)
        code = processes[0].exitcode
    return code
