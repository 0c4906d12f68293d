"""The end of the console command: what a plugin or a library left running is named while Python waits for it.

Python waits at its end for every thread that is no daemon, and for the processes of `multiprocessing` that are none.
Nothing is ended here: the line says what is waited for, and that Ctrl-C ends the wait.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import PurePath
from types import FrameType
from typing import Any

from ctseg.harmless import visible

WAIT_S = 5.0
"""How long Python waits before a line says for what."""
OF_PYTHON = PurePath(threading.__file__).parent
_program: list[FrameType] = []
"""The outermost frame of the program that called the command, once that is done and something is left running."""


def name_what_is_left() -> None:
    """Have what still runs, now that a command has done all, be named on stderr if Python waits for it at its end.

    A program that called the command and goes on is left alone.
    """
    left = _left()
    if left and threading.current_thread() is threading.main_thread():
        _program[:] = [_outermost(sys._getframe())]
        threading.Thread(target=_watch, args=(left,), daemon=True).start()


def is_waiting() -> bool:
    """Whether Python is at its end, and something was left running: called in the main thread."""
    return bool(_program) and _outermost(sys._getframe()) is not _program[0]


def _left() -> list[Any]:
    """The threads and processes that Python waits for at its end."""
    own = threading.main_thread(), threading.current_thread()
    processes = sys.modules.get("multiprocessing")
    children = [] if processes is None else processes.active_children()
    return [item for item in (*threading.enumerate(), *children) if not item.daemon and item not in own]


def _watch(left: Sequence[Any]) -> None:
    while any(item.is_alive() for item in left):
        time.sleep(WAIT_S)
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        alive = [item for item in left if item.is_alive()]
        if alive and (frame is None or _outermost(frame) is not _program[0]):
            more = f" and {len(alive) - 1} more" if len(alive) > 1 else ""
            line = (
                f"the command is over and waits for {_named(alive[0])}{more}, which a plugin or a library left running"
            )
            sys.stderr.write(visible(f"ctseg: {line}; Ctrl-C ends it") + "\n")
            sys.stderr.flush()
            return


def _named(item: Any) -> str:
    """A thread by its name and where it is, or a process by its name."""
    if not isinstance(item, threading.Thread):
        return f"process {item.name}"
    return f"thread {item.name}{_place(sys._current_frames().get(item.ident or 0))}"


def _place(frame: FrameType | None) -> str:
    """The file and line where a thread is in its own code, the outermost that is not Python's."""
    found = ""
    while frame is not None:
        path = PurePath(frame.f_code.co_filename)
        if "site-packages" in path.parts or not path.is_relative_to(OF_PYTHON):
            found = f" ({'/'.join(path.parts[-2:])}:{frame.f_lineno})"
        frame = frame.f_back
    return found


def _outermost(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame
