"""Lesions where the brain ends below: in a head that leans, bone at the foramen magnum is taken for blood there."""

from __future__ import annotations

import numpy as np

from ctseg.inference.measure import ml_wholly_outside
from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume

SMALL_CM2 = 50.0
"""A slice through the medulla and the lower cerebellum has less brain, one through a whole brain has three times it."""
LEAST_ML = 0.05


def lowest_ml(mask: Mask, brain: Mask, volume: Volume) -> float:
    """Volume of the lesions that lie wholly in the lowest slices with brain, under `SMALL_CM2` each.

    Args:
        mask: (K, h, w) what is segmented.
        brain: (K, h, w) brain mask.
        volume: its slices go from feet to head.

    Returns:
        mL; 0 where the scan begins above these slices, or ends within them.
    """
    end = _end_of_the_lowest(brain, volume)
    if not mask[:end].any():
        return 0.0
    above = np.zeros_like(mask)
    above[end:] = True
    return ml_wholly_outside(mask, above, Grid.of(volume))


def _end_of_the_lowest(brain: Mask, volume: Volume) -> int:
    """Index of the first slice that has more brain than the lowest ones; 0 where none has."""
    row_mm, col_mm = volume.spacing_mm
    large = np.count_nonzero(brain, axis=(1, 2)) * row_mm * col_mm / 100 > SMALL_CM2
    return int(large.argmax())


def skull_base_remarks(mask: Mask, brain: Mask, volume: Volume) -> list[str]:
    """A remark where lesions lie there; too small ones are passed over."""
    return bone_remarks(lowest_ml(mask, brain, volume), "lie at the foramen magnum alone")


def bone_remarks(ml: float, lie: str) -> list[str]:
    """A remark on lesions of `ml` mL that `lie` where bone is taken for blood; none under `LEAST_ML`."""
    if ml < LEAST_ML:
        return []
    return [f"{ml:.2f} mL {lie}, where bone may be taken for blood; look at the outline"]
