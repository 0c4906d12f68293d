"""Counts and names in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def counted(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_of(names: Sequence[str | Path], most: int = 1) -> str:
    """The first names and how many there are besides, as `a, b and 4 more`; nothing of no names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def label_values(counts: Mapping[int, int], noun: str, chosen: Sequence[int]) -> str:
    """Which label values were found, as `label values found: 1 (2 scans), 2 (1 scan); as lesion count 1`.

    Args:
        counts: value -> how many files hold it, in order.
        noun: what a file is, such as `scan`.
        chosen: values that count as lesion; empty for all above 0.
    """
    found = ", ".join(f"{value} ({counted(count, noun)})" for value, count in counts.items())
    return f"label values found: {found}; as lesion count {', '.join(map(str, chosen)) or 'all above 0'}"
