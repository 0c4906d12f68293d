"""Counts and names in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def counted(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_of(names: Sequence[str | Path], most: int = 1) -> str:
    """The first names and how many there are besides, as `a, b and 4 more`; nothing of no names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
