"""What the tests of both brain extractors share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ctseg.io.volume import Volume


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks; 0 where both are empty."""
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def some(volume: Volume, slices: list[int]) -> Volume:
    """The volume of these slices alone."""
    ids = tuple(volume.slice_ids[k] for k in slices)
    return replace(volume, voxels=volume.voxels[slices], origins_mm=volume.origins_mm[slices], slice_ids=ids, frames=())
