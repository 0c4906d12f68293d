"""Ctrl-C and SIGTERM: both end a command, wherever they come.

Python raises what a signal's handler raises in whatever the main thread does. In a finalizer, or in a callback that C
code calls, it prints the exception and goes on: the signal would be lost.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

from ctseg.cli.ending import Terminated
from ctseg.cli.waiting import is_waiting

PAUSE_S = 0.02
"""Seconds until a lost signal is sent again: the finalizer that lost it has ended by then."""
SIGNALS: dict[type[BaseException] | None, signal.Signals] = {
    KeyboardInterrupt: signal.SIGINT,
    Terminated: signal.SIGTERM,
}
"""What a handler raises, and the signal that it is for."""
_waiting: set[int] = set()
"""Signals that are about to be sent again: two that are lost at once are sent once, or one would come into the end."""


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Signal handler of SIGTERM."""
    raise Terminated


def end_by_signals() -> None:
    """Have SIGTERM end this process as Ctrl-C does, and let neither of them be lost."""
    signal.signal(signal.SIGTERM, terminate)
    sys.unraisablehook = _unraisable


def _unraisable(unraisable: Any) -> None:
    """Send a signal again where Python could not raise it; print any other exception as Python does."""
    number = SIGNALS.get(unraisable.exc_type)
    if number is None:
        sys.__unraisablehook__(unraisable)
        return
    if is_waiting():  # Python goes on with its end, and with the command's own exit code
        word = "interrupted" if number is signal.SIGINT else "terminated"
        sys.stderr.write(f"ctseg: {word} while it waited for what was left running; the command itself was done\n")
        return
    if number in _waiting:
        return
    _waiting.add(number)
    timer = threading.Timer(PAUSE_S, _send, (number,))
    timer.daemon = True
    timer.start()


def _send(number: signal.Signals) -> None:
    """The signal, to the main thread: a call that waits there is woken."""
    _waiting.discard(number)
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        _thread.interrupt_main(number)
