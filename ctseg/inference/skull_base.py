"""Lesions where the brain ends below: in a head that leans, bone at the foramen magnum is taken for blood there."""

from __future__ import annotations

import numpy as np

from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.lesions import component_ml, components

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
    numbers, count = components(mask)
    ml = component_ml(numbers, count, Grid.of(volume))
    ml[np.unique(numbers[end:][mask[end:]]) - 1] = 0
    return float(ml.sum())


def _end_of_the_lowest(brain: Mask, volume: Volume) -> int:
    """Index of the first slice that has more brain than the lowest ones; 0 where none has."""
    row_mm, col_mm = volume.spacing_mm
    large = np.count_nonzero(brain, axis=(1, 2)) * row_mm * col_mm / 100 > SMALL_CM2
    return int(large.argmax())


def skull_base_remarks(mask: Mask, brain: Mask, volume: Volume) -> list[str]:
    """A remark where lesions lie there; too small ones are passed over."""
    ml = lowest_ml(mask, brain, volume)
    if ml < LEAST_ML:
        return []
    return [f"{ml:.2f} mL lie at the foramen magnum alone, where bone may be taken for blood; look at the outline"]
