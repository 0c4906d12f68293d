"""A RescaleIntercept that was lost on export: which one it was, by where air and soft tissue lie.

Scanners write -1000, -1024 or -8192. Adding the wrong one makes all HU 24 too high or too low, so that a fresh bleed of
70 HU looks like brain. Air says it to a few HU where it is not clipped; the brain's peak says it, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError

INTERCEPTS = (-1000.0, -1024.0, -8192.0)
AIR_HU = -1000.0
BRAIN_HU = (20.0, 46.0)
"""Where the brain's values peak: grey and white matter with some CSF and blood."""
CENTRE_HU = (-30.0, 100.0)
"""Where the middle of a head lies: soft tissue."""
SOFT_SPREAD_HU = 50.0
"""Most soft tissue lies this near to its median."""
NEAR_HU = 12.0
"""Half the distance of -1000 and -1024: air or tissue further off than this speak for another intercept."""
FLAT = 0.1
"""One single value that fills more than this share is padding or clipped, not measured."""
ENOUGH = 0.005
"""Share of the voxels that makes a peak count."""

Values = NDArray[np.float32]


def has_lost_intercept(voxels: Values) -> bool:
    """Whether the middle of the volume (K, H, W) holds what soft tissue is without one of `INTERCEPTS`.

    The middle is asked, because bone of a clipped scan lies there as well, but never in the middle of a head. Most of
    it must be near its median, since MR is spread wider.
    """
    slices, rows, cols = (slice(size // 3, max(2 * size // 3, size // 3 + 1)) for size in voxels.shape)
    centre = voxels[slices, rows, cols]
    middle = float(np.median(centre))
    is_soft = any(CENTRE_HU[0] <= middle + intercept <= CENTRE_HU[1] for intercept in INTERCEPTS)
    return is_soft and float(np.mean(np.abs(centre - middle) < SOFT_SPREAD_HU)) > 0.5


def lost_intercept(values: Values, case_id: str) -> float:
    """The one of `INTERCEPTS` that both air and soft tissue speak for.

    Raises:
        CaseError: if they speak for none or for several.
    """
    air, tissue = _air(values), _tissue(values)
    fitting = [intercept for intercept in INTERCEPTS if _fits(intercept, air, tissue)]
    if len(fitting) != 1:
        found = f"air at {'unknown' if air is None else format(air, '.0f')}, soft tissue at {tissue:.0f}"
        raise CaseError(
            f"{case_id}: not HU: its intercept is lost, and {found} do not tell which of "
            "-1000, -1024 and -8192 it was; export the scan again"
        )
    return fitting[0]


def _fits(intercept: float, air: float | None, tissue: float) -> bool:
    if not BRAIN_HU[0] <= tissue + intercept <= BRAIN_HU[1]:
        return False
    return air is None or abs(air + intercept - AIR_HU) < NEAR_HU


def _tissue(values: Values) -> float:
    """Where soft tissue peaks, in bins of 2 smoothed over five."""
    near = [(CENTRE_HU[0] - intercept, CENTRE_HU[1] - intercept) for intercept in INTERCEPTS]
    low, high = max(((min(a, b), max(a, b)) for a, b in near), key=lambda ends: _share(values, *ends))
    return _peak(values, low - NEAR_HU, high + NEAR_HU)


def _air(values: Values) -> float | None:
    """Where air peaks; None where it is clipped, so that only its upper side is there, or there is none.

    Below the soft tissue of a head there is little but air, so it is looked for around where each intercept puts it.
    """
    found = [
        (_share(inside, *ends), inside, ends)
        for intercept in INTERCEPTS
        if len(inside := _unclipped(values, ends := (AIR_HU - intercept - 60, AIR_HU - intercept + 60)))
        > ENOUGH * len(values)
    ]
    if not found:
        return None
    _, inside, ends = max(found, key=lambda item: item[0])
    return _peak(inside, *ends)


def _unclipped(values: Values, ends: tuple[float, float]) -> Values:
    """The values within the ends, without a lowest one that fills much of the scan: padding, or air that was cut."""
    inside = values[(values >= ends[0]) & (values <= ends[1])]
    if not len(inside):
        return inside
    lowest = inside.min()
    is_flat = np.mean(values == lowest) > FLAT
    return inside[inside > lowest] if is_flat else inside


def _share(values: Values, low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high)))


def _peak(values: Values, low: float, high: float) -> float:
    counts, edges = np.histogram(values, bins=int((high - low) / 2), range=(low, high))
    best = int(np.argmax(np.convolve(counts, np.ones(5), mode="same")))
    return float(edges[best] + edges[best + 1]) / 2
