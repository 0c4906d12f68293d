"""Lesions at the rim of a stripped brain: bone that was left there, or mixed in by resampling, is taken for blood."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ctseg.inference.measure import ml_wholly_outside
from ctseg.inference.skull_base import bone_remarks
from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume

RIM_MM = 5.0


def rim_ml(mask: Mask, brain: Mask, volume: Volume) -> float:
    """Volume of the lesions that lie wholly within `RIM_MM` of what is no brain, in their slices or beside them.

    Args:
        mask: (K, h, w) what is segmented.
        brain: (K, h, w) brain mask.
        volume: its slices go from feet to head.

    Returns:
        mL.
    """
    deep = np.zeros_like(mask)
    for number in np.flatnonzero(mask.any(axis=(1, 2))):
        deep[number] = _deep(brain, volume, int(number))
    return ml_wholly_outside(mask, deep, Grid.of(volume))


def _deep(brain: Mask, volume: Volume, number: int) -> Mask:
    """(h, w) of one slice: brain farther than `RIM_MM` from its rim, with brain above and below."""
    beside = np.abs(volume.z_mm - volume.z_mm[number]) <= RIM_MM
    beside[max(number - 1, 0) : number + 2] = True
    inside = brain[beside].all(axis=0)
    deep: Mask = ndimage.distance_transform_edt(inside, sampling=volume.spacing_mm) > RIM_MM
    return deep


def stripped_rim_remarks(mask: Mask, brain: Mask, volume: Volume) -> list[str]:
    """A remark where lesions lie there; too small ones are passed over. `brain` is all that was left of the head."""
    return bone_remarks(rim_ml(mask, brain, volume), "lie at the rim of the stripped brain")
