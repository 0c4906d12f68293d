"""What an interval supports as a statement in words."""

from __future__ import annotations

from typing import Literal

from ctseg.arguments import a_number
from ctseg.errors import InputError
from ctseg.io.arrays import an_array

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
        InputError: if the claim has no sign, or what is given is no interval.
    """
    if not a_number(expected_sign, "verdict: expected_sign"):
        raise InputError("verdict: a claim of no difference has no sign that an interval could support")
    ends = an_array(difference_interval, "verdict: difference_interval")
    if ends.shape != (2,) or ends[0] > ends[1]:
        raise InputError(f"verdict: {difference_interval} is no interval; give its low and its high end")
    low, high = ends
    if low > 0:
        return "reproduces" if expected_sign > 0 else "contradicts"
    if high < 0:
        return "reproduces" if expected_sign < 0 else "contradicts"
    return "undecided"
