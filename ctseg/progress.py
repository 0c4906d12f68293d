"""Progress with time left: rich bars on a terminal, a line now and then in a log, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ctseg.harmless import one_line, visible

ProgressCallback = Callable[[int, int | None, str], None]
"""`progress(done, total, note)`: `total` is None where it is not known; `Progress.update` is one."""

LOG_SECONDS = 20.0
"""A log file gets one line at most this often."""


class Progress:
    """`with Progress("Matching", total) as bar: bar.advance(1, "case")`; writes to stderr only."""

    def __init__(self, title: str, total: int | None, *, quiet: bool = False, unit: str = "") -> None:
        self.title, self.total, self.unit, self.quiet = title, total, unit, quiet
        self.done = 0
        self.started = self.said = time.monotonic()
        self._first: tuple[int, float] | None = None
        """Count and time of the first update: what came before it, such as loading a network, is not the pace."""
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        self.started = self.said = time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            self._bar = rich_bar()
            self._task = self._bar.add_task(self.title, total=self.total, note="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet and kind is None and self.done:
            self._say(f"{self.title}: {self.done} done in {span(time.monotonic() - self.started)}")

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; `note` is shown beside the bar."""
        self.update(self.done + count, self.total, note)

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """`done` of `total` are done."""
        if done < self.done:  # a second go over the same
            self._first = None
        self.done, self.total = done, total if total is not None else self.total
        self._first = self._first or (done, time.monotonic())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self.total, note=one_line(note))
        elif not self.quiet and time.monotonic() - self.said > LOG_SECONDS:
            self.said = time.monotonic()
            self._say(self._line(note))

    def _line(self, note: str) -> str:
        text = f"{self.title}: {self.done}"
        if self.total:
            text += f"/{self.total}"
            left = self._seconds_left(self.total)
            if left is not None:
                text += f", {span(left)} left"
        return f"{text}  {note}".rstrip()

    def _seconds_left(self, total: int) -> float | None:
        """By the pace since the first update; None where there was one only."""
        if self._first is None or self.done <= self._first[0]:
            return None
        pace = (time.monotonic() - self._first[1]) / (self.done - self._first[0])
        return pace * (total - self.done)

    def _say(self, text: str) -> None:
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()


def rich_bar(console: Any = None) -> Any:
    """A bar with count, time spent and time left, not started yet; on stderr by default."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console or Console(stderr=True),
        transient=False,
    )


def span(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 10 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
