"""Volumes in the words of previews, reports and tables."""

from __future__ import annotations

LEAST_ML = 0.005
"""Below it two decimals show nothing."""


def ml_text(ml: float) -> str:
    """`8.4 mL`, `0.01 mL`, `under 0.01 mL`: what was found is never shown as 0.0.

    Args:
        ml: volume in mL.
    """
    if 0 < ml < LEAST_ML:
        return "under 0.01 mL"
    return f"{ml:.2f} mL" if 0 < ml < 0.095 else f"{ml:.1f} mL"


def ml_range_text(low: float, high: float) -> str:
    """`6.9 to 12.0 mL`, `0.01 to 0.6 mL`.

    Args:
        low: volume in mL.
        high: volume in mL.
    """
    return f"{ml_text(low).removesuffix(' mL')} to {ml_text(high)}"
