"""The end of a process: what a plugin or a library left running is named, and waited for a while but not for ever.

Python waits at its end for every thread that is no daemon, for the processes of `multiprocessing` that are none, and
for functions of `atexit`: one of them that does not end keeps a command that is done from ending.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from types import FrameType
from typing import NoReturn

from ctseg.harmless import visible

WAIT_S = 10.0
"""How long what still runs at the end of a process may go on."""
end_now = os._exit
"""The system's own function: while a plugin is called, `os._exit` is another one."""
OF_PYTHON = PurePath(threading.__file__).parent


def leave(code: int) -> NoReturn:
    """End this process with a code once all of it has ended, within `WAIT_S`; Ctrl-C and SIGTERM end it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_now)
    end_in_time(code)
    sys.exit(code)


def _end_now(number: int, _frame: FrameType | None) -> NoReturn:
    end_now(128 + number)


def end_in_time(code: int, says: Callable[[], bool] = lambda: True) -> None:
    """Have this process, which is about to end, end within `WAIT_S` from now.

    Args:
        code: its exit code, if it does not end by itself.
        says: whether it shall name on stderr what has not ended.
    """
    threading.Thread(target=_end_in_time, args=(code, says), daemon=True).start()


def _end_in_time(code: int, says: Callable[[], bool]) -> None:
    time.sleep(WAIT_S)
    with suppress(Exception):
        if says():
            left = still_running() or ["a function of atexit"]
            what = left[0] + (f" and {len(left) - 1} more" if len(left) > 1 else "")
            line = f"{what} still ran {WAIT_S:g} s after the end, and was ended; its package is at fault"
            sys.stderr.write(visible(f"warning: {line}") + "\n")
            sys.stderr.flush()
        for child in multiprocessing.active_children():
            child.kill()
    end_now(code)


def still_running() -> list[str]:
    """The threads and processes that Python waits for at its end, by name, and where a thread is."""
    frames, main = sys._current_frames(), threading.main_thread()
    threads = [item for item in threading.enumerate() if not item.daemon and item is not main]
    children = [child for child in multiprocessing.active_children() if not child.daemon]
    return [
        *(f"thread {item.name}{_place(frames.get(item.ident or 0))}" for item in threads),
        *(f"process {child.name}" for child in children),
    ]


def _place(frame: FrameType | None) -> str:
    """The file and line where a thread is in its own code, the outermost that is not Python's."""
    found = ""
    while frame is not None:
        path = PurePath(frame.f_code.co_filename)
        if "site-packages" in path.parts or not path.is_relative_to(OF_PYTHON):
            found = f" ({'/'.join(path.parts[-2:])}:{frame.f_lineno})"
        frame = frame.f_back
    return found
