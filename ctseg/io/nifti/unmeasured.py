"""Voxels of a file that are no numbers: where nothing was measured, and infinity."""

from __future__ import annotations

import numpy as np

from ctseg.io.dicom.pixels import AIR_HU
from ctseg.io.stack import Mask
from ctseg.io.volume import Array, Volume

METAL_HU = 3071.0
"""The highest value of 12 bits with an intercept of -1024, which scanners cut metal at."""


def unmeasured(native: Array) -> Mask | None:
    """Where the file holds NaN or minus infinity, which programs write where nothing was measured; None for nowhere."""
    if native.dtype.kind != "f":
        return None
    found = np.isnan(native) | np.isneginf(native)
    return found if found.any() else None


def finite(native: Array, nothing: Mask | None, domain: str) -> tuple[Array, list[str]]:
    """Voxels without NaN and infinity, and notes on them.

    What was not measured becomes the lowest finite value, for now: in CT that can be a value of brain, where a scan is
    masked, and `as_air` makes it air once HU are checked. Infinity is metal in CT, else the highest finite value.

    Args:
        native: as they were read.
        nothing: of `unmeasured`.
        domain: 'ct' or 'mr'.
    """
    high = np.isposinf(native) if native.dtype.kind == "f" else np.zeros(1, bool)
    if nothing is None and not high.any():
        return native, []
    numbers = native[np.isfinite(native)]
    filled, notes = native, []
    if nothing is not None:
        lowest = numbers.min() if numbers.size else 0.0
        filled = np.where(nothing, lowest, filled)
        said = f"air ({AIR_HU:g} HU)" if domain == "ct" else f"{lowest:g}"
        notes.append(f"{int(nothing.sum())} voxels that are no numbers set to {said}")
    if high.any():
        highest = METAL_HU if domain == "ct" else numbers.max() if numbers.size else 0.0
        filled = np.where(high, highest, filled)
        notes.append(f"{int(high.sum())} infinite voxels set to {highest:g}")
    return filled, notes


def as_air(volume: Volume, nothing: Mask | None) -> Volume:
    """A CT with air where nothing was measured, as padding of DICOM becomes; HU are checked before.

    Air in a scan whose intercept is lost would hide that it is lost.
    """
    if nothing is None or volume.native is None:
        return volume
    return volume.with_voxels(np.where(volume.native.to_canonical(nothing), np.float32(AIR_HU), volume.voxels))
