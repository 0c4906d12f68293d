"""Ways to do one thing, timed in turn in one run, so that a busy machine slows all alike: their ratio is the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison."""

    what: str
    """What is done, and how much of it."""
    seconds: dict[str, float]
    """Way -> least CPU seconds of this process, ours first."""
    same: str
    """How the results compare."""

    @property
    def ratio(self) -> float:
        """How many times as long the second way takes."""
        ours, other = list(self.seconds.values())[:2]
        return other / ours


def least_seconds(ways: Mapping[str, Callable[[], Any]], rounds: int = 3) -> tuple[dict[str, float], dict[str, Any]]:
    """Least CPU seconds of each way over some rounds, and what each gave in the last.

    CPU seconds of the process, all its threads together: they do not count what other processes take.
    """
    spent: dict[str, float] = {}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            found[name] = way()
            used = time.process_time() - started
            spent[name] = min(used, spent.get(name, used))
    return spent, found
