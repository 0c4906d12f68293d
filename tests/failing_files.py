"""Files that the system refuses to give: every error, at every step, of every file below a folder in turn."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STEPS = ("open", "read", "stat")
"""Where a file can fail: when it is opened, at its second read, and when it is looked at before it is opened."""


def absolute(path: Any) -> str:
    """A path without asking the disk; empty of an open file's number."""
    return os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""  # noqa: PTH100


class FailingRead(io.FileIO):
    """A file that gives its first bytes and then an error."""

    def __init__(self, path: Any, make: Callable[[str], BaseException]) -> None:
        super().__init__(path)
        self.make, self.left = make, 1

    def readinto(self, buffer: Any) -> Any:
        self._spend()
        return super().readinto(memoryview(buffer)[:128])

    def readall(self) -> bytes:
        self._spend(2)
        return super().readall()

    def _spend(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise self.make(str(self.name))


def failing_stream(path: Any, mode: str, arguments: dict[str, Any], make: Callable[[str], BaseException]) -> Any:
    """As `open` for reading, of a file whose second read fails."""
    raw = FailingRead(path, make)
    if arguments.get("buffering") == 0:
        return raw
    buffered = io.BufferedReader(raw)
    if "b" in mode:
        return buffered
    return io.TextIOWrapper(buffered, **{key: arguments[key] for key in ("encoding", "errors") if key in arguments})


class Watch:
    """What of a folder is opened and looked at, and which of it fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.seen: dict[str, list[str]] = {"open": [], "stat": []}
        self.bad, self.step, self.hits = "", "", 0
        self.look = os.lstat
        self.make: Callable[[str], BaseException] = lambda path: OSError(path)

    def exists(self, text: str) -> bool:
        """Whether there is such a path; asked of the system itself."""
        try:
            self.look(text)
        except OSError:
            return False
        return True

    def fail(self, path: str) -> BaseException:
        """The error of a read."""
        self.hits += 1
        return self.make(path)

    def fails(self, path: Any, step: str) -> str:
        """The path as text if it is the one that fails at this step, else an empty text."""
        text = absolute(path)
        if not text.startswith(self.folder + os.sep):
            return ""
        if text not in self.seen[step] and self.exists(text):
            self.seen[step].append(text)
        hit = text == self.bad and self.step == step
        self.hits += hit
        return text if hit else ""


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Calls of `open`, `os.open`, `os.stat` and `os.lstat` about files below `folder` go through a watch."""
    watch = Watch(folder)
    real = {"open": builtins.open, "os_open": os.open, "stat": os.stat, "lstat": os.lstat}

    def opened(file: Any, mode: str = "r", *more: Any, **arguments: Any) -> Any:
        reads = isinstance(mode, str) and not set(mode) & set("wax+")
        if reads and watch.step == "read" and absolute(file) == watch.bad:
            return failing_stream(file, mode, {"buffering": more[0] if more else -1, **arguments}, watch.fail)
        if reads and watch.fails(file, "open"):
            raise watch.make(watch.bad)
        return real["open"](file, mode, *more, **arguments)

    def os_opened(path: Any, flags: int, *more: Any, **arguments: Any) -> int:
        if not flags & (os.O_WRONLY | os.O_RDWR) and watch.fails(path, "open"):
            raise watch.make(watch.bad)
        return real["os_open"](path, flags, *more, **arguments)

    def looker(name: str) -> Callable[..., os.stat_result]:
        def look(path: Any, *more: Any, **arguments: Any) -> os.stat_result:
            if watch.fails(path, "stat"):
                raise watch.make(watch.bad)
            return real[name](path, *more, **arguments)

        return look

    builtins.open = io.open = opened  # type: ignore[assignment]
    os.open = os_opened
    os.stat, os.lstat = looker("stat"), looker("lstat")  # type: ignore[assignment]
    try:
        yield watch
    finally:
        builtins.open = io.open = real["open"]  # type: ignore[assignment]
        os.open, os.stat, os.lstat = real["os_open"], real["stat"], real["lstat"]  # type: ignore[assignment]
