"""Lesions at the rim of a stripped brain: bone that was left there, or mixed in by resampling, is taken for blood."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.lesions import component_ml, components

RIM_MM = 5.0
LEAST_ML = 0.05


def rim_ml(mask: Mask, brain: Mask, volume: Volume) -> float:
    """Volume of the lesions that lie wholly within `RIM_MM` of what is no brain, in their slices or beside them.

    Args:
        mask: (K, h, w) what is segmented.
        brain: (K, h, w) brain mask.
        volume: its slices go from feet to head.

    Returns:
        mL.
    """
    if not mask.any():
        return 0.0
    numbers, count = components(mask)
    ml = component_ml(numbers, count, Grid.of(volume))
    for number in np.flatnonzero(mask.any(axis=(1, 2))):
        deep = numbers[number][_deep(brain, volume, int(number))]
        ml[deep[deep > 0] - 1] = 0
    return float(ml.sum())


def _deep(brain: Mask, volume: Volume, number: int) -> Mask:
    """(h, w) of one slice: brain farther than `RIM_MM` from its rim, with brain above and below."""
    beside = np.abs(volume.z_mm - volume.z_mm[number]) <= RIM_MM
    beside[max(number - 1, 0) : number + 2] = True
    inside = brain[beside].all(axis=0)
    deep: Mask = ndimage.distance_transform_edt(inside, sampling=volume.spacing_mm) > RIM_MM
    return deep


def stripped_rim_remarks(mask: Mask, brain: Mask, volume: Volume) -> list[str]:
    """A remark where lesions lie there; too small ones are passed over. `brain` is all that was left of the head."""
    ml = rim_ml(mask, brain, volume)
    if ml < LEAST_ML:
        return []
    return [f"{ml:.2f} mL lie at the rim of the stripped brain, where bone may be taken for blood; look at the outline"]
