"""Bounds for a plugin while it is loaded or called: what it changes of the process is put back, a slow one is named.

A plugin is code that runs with the user's rights, so this guards against mistakes and not against malice: what it does
to modules of Python, to the environment or in threads of its own is not undone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import Any, NoReturn

from ctseg.harmless import shortened
from ctseg.plugins import torch_state
from ctseg.plugins.torch_state import State

SLOW_SECONDS = 5.0
"""A plugin that takes longer to load is named on stderr."""
LONGEST_WORDS = 1000
"""Letters of what a plugin says of an error, which goes into tables and pages."""
NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGALRM") if hasattr(signal, name)
)


def one_line(error: BaseException) -> str:
    """What a plugin raised, by its kind and words; an error's own `__str__` may raise, too."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return shortened(f"{type(error).__name__}: {' '.join(text.split())}".rstrip(": "), LONGEST_WORDS)


class StoppedError(Exception):
    """A plugin raised what would end the process, such as KeyboardInterrupt, without any signal."""


@contextmanager
def contained(package: str, version: str) -> Iterator[list[str]]:
    """Load a plugin in the block; the list that is given holds afterwards what was put back.

    What it writes to stdout goes to stderr, as its child processes' does. A process that it forks ends with the block.

    Raises:
        StoppedError: if the block raises neither an Exception nor SystemExit, and no signal came.
    """
    with _named_if_slow(package, version), bounded() as put_back:
        yield put_back


@contextmanager
def bounded() -> Iterator[list[str]]:
    """As `contained`, for code of a plugin that may take its time."""
    signalled: list[int] = []
    put_back: list[str] = []
    pid = os.getpid()
    with ExitStack() as stack:
        stack.callback(_end_child, pid)
        stack.enter_context(_PROCESS.bounds(put_back, pid))
        stack.enter_context(_restored(put_back, THREAD_STATES))
        stack.enter_context(_handlers(signalled, put_back))
        try:
            yield put_back
        except (Exception, SystemExit):
            raise
        except BaseException as error:
            if signalled or os.getpid() != pid:
                raise
            raise StoppedError(one_line(error)) from error


class _Process:
    """Bounds of the whole process: of threads that call plugins at once the first sets them, the last puts back."""

    def __init__(self) -> None:
        self._lock, self._calls, self._stack = threading.Lock(), 0, ExitStack()

    @contextmanager
    def bounds(self, put_back: list[str], pid: int) -> Iterator[None]:
        """Around one call."""
        with self._lock:
            if not self._calls:
                with ExitStack() as stack:
                    stack.enter_context(_stdout_to_stderr())
                    stack.enter_context(_own_exit(pid))
                    stack.enter_context(_restored(put_back, PROCESS_STATES))
                    self._stack = stack.pop_all()
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                if not self._calls:
                    self._stack.close()


_PROCESS = _Process()


def _end_child(pid: int) -> None:
    """A child that the plugin forked must not go on with the command, and do all of it twice."""
    if os.getpid() != pid:
        os._exit(0)


@contextmanager
def _named_if_slow(package: str, version: str) -> Iterator[None]:
    def say() -> None:
        line = f"plugin {package} {version} is still being loaded after {SLOW_SECONDS:g} s"
        with suppress(Exception):
            sys.stderr.write(f"{line}; CTSEG_DISABLE_PLUGINS={package} leaves it out\n")
            sys.stderr.flush()

    timer = threading.Timer(SLOW_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """The file descriptor, too, which child processes and C libraries write to; both are afterwards what they were."""
    with suppress(Exception):
        sys.stdout.flush()
    try:
        os.fstat(2)  # else the copy of 1 would take its number
        kept = {number: os.dup(number) for number in (1, 2)}
    except OSError:  # one of them is closed
        kept = {}
    try:
        if kept:
            os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        for number, handle in kept.items():
            os.dup2(handle, number)
            os.close(handle)


@contextmanager
def _own_exit(pid: int) -> Iterator[None]:
    """`os._exit` ends children of the plugin, not the command: it would end with code 0 and nothing done."""
    leave = os._exit

    def refuse(status: int) -> NoReturn:
        if os.getpid() != pid:
            leave(status)
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


@contextmanager
def _restored(put_back: list[str], states: list[State]) -> Iterator[None]:
    """Put back what `sys`, numerical libraries and the system hold."""
    before, places = [read() for _, read, _ in states], list(sys.path)
    try:
        yield
    finally:
        lost = [place for place in places if place not in sys.path]
        if lost:
            sys.path.extend(lost)
            put_back.append("sys.path")
        for (name, read, write), value in zip(states, before, strict=True):
            if value is not None and read() != value:
                write(value)
                put_back.append(name)


def _warnings_as_errors() -> list[Any]:
    """Filters that make a warning of any library an error, and so a case that fails."""
    return [entry for entry in warnings.filters if entry[0] == "error"]


def _set_warnings_as_errors(kept: list[Any]) -> None:
    warnings.filters[:] = [entry for entry in warnings.filters if entry[0] != "error" or entry in kept]  # type: ignore[index]
    getattr(warnings, "_filters_mutated", int)()  # what was decided by the older filters is forgotten


def _numpy_errors() -> dict[str, str]:
    """What numpy does about a division by zero and the like; its own defaults where it is not imported yet."""
    numpy = sys.modules.get("numpy")
    return NUMPY_ERRORS if not hasattr(numpy, "geterr") else dict(numpy.geterr())  # type: ignore[union-attr]


def _here() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a text, for a folder that may be gone
    except OSError:
        return None


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextmanager
def _handlers(signalled: list[int], put_back: list[str]) -> Iterator[None]:
    """Note signals that come, and put back the handlers and an alarm."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    during = {number: _noting(handler, signalled) for number, handler in before.items()}
    for number in SIGNALS:
        if during[number] is not before[number]:
            signal.signal(number, during[number])
    try:
        yield
    finally:
        _stop_alarm(put_back)
        for number, handler in before.items():
            if signal.getsignal(number) is not during[number]:
                put_back.append(f"handler of {signal.Signals(number).name}")
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _noting(handler: Any, signalled: list[int]) -> Any:
    """A handler that also notes that a signal came; what is no function stays."""
    if not callable(handler):
        return handler

    def note(number: int, frame: Any) -> Any:
        signalled.append(number)
        return handler(number, frame)

    return note


def _stop_alarm(put_back: list[str]) -> None:
    """An alarm would end the process later, with no word about why."""
    if hasattr(signal, "setitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
        put_back.append("alarm")


PROCESS_STATES: list[State] = [
    ("working folder", _here, os.chdir),
    ("umask", _umask, os.umask),
    ("sys.argv", lambda: list(sys.argv), lambda value: setattr(sys, "argv", value)),
    ("sys.stderr", lambda: sys.stderr, lambda value: setattr(sys, "stderr", value)),
    ("sys.excepthook", lambda: sys.excepthook, lambda value: setattr(sys, "excepthook", value)),
    ("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ("warnings as errors", _warnings_as_errors, _set_warnings_as_errors),
    *torch_state.OF_PROCESS,
]
THREAD_STATES: list[State] = [
    ("numpy's error state", _numpy_errors, lambda value: sys.modules["numpy"].seterr(**value)),
    *torch_state.OF_THREAD,
]
"""What each thread has for itself."""
