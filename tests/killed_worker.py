"""Things that end the worker process that unpickles or calls them, as the kernel does when memory runs out.

A module of its own, not a conftest, so that spawned worker processes can import what is in it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def kill_this_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyPath(type(Path())):  # type: ignore[misc]
    """A path that kills the process it is sent to."""

    def __reduce__(self) -> Any:
        return kill_this_worker, ()


class DeadlyName(str):
    """A file name that does the same."""

    def __reduce__(self) -> Any:
        return kill_this_worker, ()


def triple_or_die(number: int) -> int:
    """Three times the number; -1 kills the worker, 0 is a defect."""
    if number == -1:
        kill_this_worker()
    return 3 * number + 0 * (1 // number)


def triple_or_end(number: int) -> int:
    """Three times the number; -11 crashes the worker, another negative number is its exit code."""
    if number == -11:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number < 0:
        os._exit(-number)
    return 3 * number


def ask(asked: tuple[str, str]) -> str:
    """A variable of the environment, or what stands for none."""
    return os.environ.get(*asked)


def slowly(number: int) -> int:
    """Takes longer than a test looks, but for the first."""
    if number:
        time.sleep(60)
    return number


def leave(_: int) -> None:
    """End the process as a library might that takes itself for the whole program."""
    sys.exit(0)


class Unpacked:
    """What a plugin gives whose module, imported in a worker, does as `how` says."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return unpack, (self.how,)


def unpack(how: str) -> str:
    if how == "raise":
        raise ValueError("no licence\nhere")
    if how == "exit":
        sys.exit(0)
    if how == "interrupt":
        raise KeyboardInterrupt
    sys.stdout.write("unpacked")
    os.write(1, b"unpacked")
    os.chdir("/")
    return how


def where(item: str) -> str:
    """The item, and the folder that it is worked on in."""
    return f"{item} {Path.cwd()}"
