"""The brain maps of the ICBM 152 template, which come with the package: 1 mm, symmetric, release 2009a.

The licence is in `icbm152-licence.txt`. Values are as nilearn 0.14 gives them (`load_mni152_gm_template`,
`load_mni152_wm_template`, `load_mni152_brain_mask`), which packages the same template.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

SHAPE = (197, 233, 189)
"""(x, y, z) voxels of 1 mm, towards the left, back and feet first."""
FIRST_MM = (-98.0, -134.0, -72.0)
"""RAS mm of voxel [0, 0, 0] in MNI space."""


@dataclass(frozen=True)
class BrainMaps:
    """Three maps (x, y, z)."""

    grey: NDArray[np.float32]
    """Share of grey matter, 0..1."""
    white: NDArray[np.float32]
    brain: NDArray[np.float32]
    """0 or 1: where the template's T1 is above a fifth of its maximum."""


def template_maps() -> BrainMaps:
    """Read the maps: grey and white matter a byte a voxel, the brain a bit, one after the other in a .xz file."""
    data = np.frombuffer(lzma.decompress(files(__package__).joinpath("icbm152.xz").read_bytes()), dtype=np.uint8)
    size = int(np.prod(SHAPE))
    grey, white = (part.astype(np.float32) / np.float32(255) for part in (data[:size], data[size : 2 * size]))
    brain = np.unpackbits(data[2 * size :], count=size).astype(np.float32)
    return BrainMaps(*(part.reshape(SHAPE) for part in (grey, white, brain)))
