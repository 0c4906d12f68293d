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
PACE_SHARE = 2 / 3
"""The pace is that of this last share of the time: pauses between epochs count, and so does a change of the load."""
MOST_MARKS = 512


class Pace:
    """Seconds left of a count, by when it had which values."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []
        """(seconds, count); what came before the first, such as loading a network, is not the pace."""

    def mark(self, done: float, now: float) -> None:
        """`done` are done at `now`, in seconds; fewer than before is a second go over the same."""
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        if not self._marks or done > self._marks[-1][1]:
            self._marks.append((now, done))
        if len(self._marks) > MOST_MARKS:
            del self._marks[1:-1:2]

    def seconds_left(self, total: float) -> float | None:
        """None where the count has had one value only."""
        if len(self._marks) < 2:
            return None
        (first, _), (last, done) = self._marks[0], self._marks[-1]
        start = last - PACE_SHARE * (last - first)
        since, before = next(mark for mark in reversed(self._marks[:-1]) if mark[0] <= start)
        return (last - since) / (done - before) * (total - done)


class Progress:
    """`with Progress("Matching", total) as bar: bar.advance(1, "case")`; writes to stderr only."""

    def __init__(self, title: str, total: int | None, *, quiet: bool = False, unit: str = "") -> None:
        self.title, self.total, self.unit, self.quiet = title, total, unit, quiet
        self.done = 0
        self.started = self.said = time.monotonic()
        self._pace = Pace()
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
        self.done, self.total = done, total if total is not None else self.total
        self._pace.mark(done, time.monotonic())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self.total, note=one_line(note))
        elif not self.quiet and time.monotonic() - self.said > LOG_SECONDS:
            self.said = time.monotonic()
            self._say(self._line(note))

    def _line(self, note: str) -> str:
        text = f"{self.title}: {self.done}"
        if self.total:
            text += f"/{self.total}"
            left = self._pace.seconds_left(self.total)
            if left is not None:
                text += f", {span(left)} left"
        return f"{text}  {note}".rstrip()

    def _say(self, text: str) -> None:
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()


def rich_bar(console: Any = None) -> Any:
    """A bar with count, time spent and time left, not started yet; on stderr by default."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        """As in a log: rich's own looks at the last 30 seconds, so it forgets pauses and slow cases."""

        def __init__(self) -> None:
            super().__init__()
            self._paces: dict[int, Pace] = {}

        def render(self, task: Any) -> Text:
            pace = self._paces.setdefault(task.id, Pace())
            if task.completed:  # what comes before the first step is not the pace
                pace.mark(task.completed, time.monotonic())
            text = "" if task.total is None else clock(pace.seconds_left(task.total))
            return Text(text, style="progress.remaining")

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeft(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console or Console(stderr=True),
        transient=False,
    )


def clock(seconds: float | None) -> str:
    """`0:01:23`, as a bar shows it; dashes where nothing is known."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def span(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 10 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
