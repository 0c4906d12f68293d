"""Numbers of an evaluation as a person reads them: with their interval, and no more digits than it bears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def with_interval(estimate: dict[str, Any]) -> str:
    """`0.712 (0.650 to 0.770)`; all three have the decimals of the largest."""
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if not known(value):
        return "–"
    if not known(low):
        return f"{number(value)} (one patient)"
    places = decimals(value, low, high)
    return f"{number(value, places)} ({number(low, places)} to {number(high, places)})"


def decimals(*values: float) -> int:
    """Three up to 1, as shares have; fewer the larger the largest of the numbers is, and none from 100 on."""
    size = max(abs(value) for value in values)
    return 3 if size <= 1 else 2 if size < 10 else 1 if size < 100 else 0


def number(value: float, places: int | None = None) -> str:
    """A number with so many decimals, by its own size where none are given, and a minus that is one."""
    text = f"{value:.{decimals(value) if places is None else places}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def millilitres(value: float) -> str:
    """A volume as `segment` prints it, with two decimals at most: `0.84 mL`, `66.8 mL`."""
    return f"{number(value, min(2, decimals(value)))} mL"


def percent(share: float) -> str:
    """`95 %`, and `97.5 %` where it has more digits."""
    return f"{100 * share:.4g} %"


def interval(ends: Sequence[float | None]) -> str:
    """`0 to 1`; an end that is None is without limit."""
    low, high = ends
    if low is None:
        return "any number" if high is None else f"≤ {high:g}"
    return f"≥ {low:g}" if high is None else f"{low:g} to {high:g}"


def known(value: float | None) -> bool:
    """Whether a number is there: neither None nor NaN."""
    return value is not None and value == value
