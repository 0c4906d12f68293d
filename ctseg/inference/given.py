"""A scan that a program hands over as a `Volume`: checked as one that was read from a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError, InputError
from ctseg.io.extent import check_head, check_voxels
from ctseg.io.hu_check import check_hu
from ctseg.io.volume import Volume


def checked_volume(given: Any) -> Volume:
    """The volume with float32 voxels, whose values are HU and whose size is a head's, as readers check it.

    Raises:
        InputError: if it is no volume, or its voxels are no numbers on its grid.
        CaseError: if its values are no HU, or it cannot be a head by its size.
    """
    if not isinstance(given, Volume):
        raise InputError(
            f"segment: takes a path or a ctseg.io.volume.Volume, not a {type(given).__name__}; give the scan's file, "
            "or make a Volume of the array and its positions"
        )
    volume = replace(given, voxels=_numbers(given))
    if volume.domain == "ct":  # of another one, the caller says that it is none
        volume = check_head(check_hu(check_voxels(volume)))
    return replace(volume, notes=tuple(dict.fromkeys(volume.notes)))


def _numbers(given: Volume) -> NDArray[np.float32]:
    """(K, H, W) float32, which nothing of what was given is changed for.

    Raises:
        InputError: if the voxels are of another shape than the positions, or of another kind.
        CaseError: if one is no number: it would be a grey value that depends on the machine.
    """
    voxels = np.asarray(given.voxels)
    if voxels.dtype.kind not in "iuf" or voxels.ndim != 3 or not voxels.size:
        what = f"{given.case_id}: voxels are {voxels.dtype} of shape {voxels.shape}"
        raise InputError(f"{what}; expected numbers of shape (slices, rows, columns)")
    if len(voxels) != len(given.origins_mm):
        raise InputError(f"{given.case_id}: {len(voxels)} slices of voxels, but {len(given.origins_mm)} positions")
    numbers = voxels.astype(np.float32, order="C", copy=False)
    if not np.isfinite(numbers).all():
        raise CaseError(f"{given.case_id}: some voxels are no numbers; set what was not measured to air, -1000 HU")
    return numbers
