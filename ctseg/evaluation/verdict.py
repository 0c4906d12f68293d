"""What an interval supports as a statement in words."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["reproduces", "contradicts", "undecided"]


def verdict(difference_interval: tuple[float, float], expected_sign: float) -> Verdict:
    """Whether the interval of a difference supports a claim about its sign.

    Args:
        difference_interval: low and high end; NaN where there is no interval.
        expected_sign: above 0 if the claim says that the difference is positive, below 0 if negative.

    Returns:
        "reproduces" if the whole interval has the claimed sign, "contradicts" if the whole of it has the other one,
        "undecided" if it holds 0 or is not known.

    Raises:
        ValueError: if the claim has no sign.
    """
    if not expected_sign:
        raise ValueError("a claim of no difference has no sign that an interval could support")
    low, high = difference_interval
    if low > 0:
        return "reproduces" if expected_sign > 0 else "contradicts"
    if high < 0:
        return "reproduces" if expected_sign < 0 else "contradicts"
    return "undecided"
