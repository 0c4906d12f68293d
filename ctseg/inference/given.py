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

DOMAINS = ("ct", "mr")
SHAPES = {
    "origins_mm": ((0, 3), "(slices, 3)"), "row_step_mm": ((3,), "(3,)"), "col_step_mm": ((3,), "(3,)"),
}  # fmt: skip
"""Field of a volume -> its shape, of which the last number counts, and in words."""
AXES = (
    "columns do not run from the patient's right to left", "rows do not run from front to back",
    "slices do not run from feet to head",
)  # fmt: skip
"""What is wrong where an axis runs the other way."""


def checked_volume(given: Any) -> Volume:
    """The volume with float32 voxels, whose values are HU and whose size is a head's, as readers check it.

    Raises:
        InputError: if it is no volume, its voxels are no numbers on its grid, or its axes are not the canonical ones.
        CaseError: if its values are no HU, or it cannot be a head by its size.
    """
    if not isinstance(given, Volume):
        raise InputError(
            f"segment: takes a path or a ctseg.io.volume.Volume, not a {type(given).__name__}; give the scan's file, "
            "or make a Volume of the array and its positions"
        )
    if given.domain not in DOMAINS:
        raise InputError(f"{given.case_id}: domain is {given.domain!r}; expected {' or '.join(map(repr, DOMAINS))}")
    origins, rows, columns = (_positions(given, name) for name in SHAPES)
    placed = replace(given, origins_mm=origins, row_step_mm=rows, col_step_mm=columns, voxels=_numbers(given))
    volume = _canonical(placed)
    if volume.domain == "ct":  # of another one, the caller says that it is none
        volume = check_head(check_hu(check_voxels(volume)))
    return replace(volume, notes=tuple(dict.fromkeys(volume.notes)))


def _positions(given: Volume, name: str) -> NDArray[np.float64]:
    """A field that says where the voxels lie, as float64.

    Raises:
        InputError: if it is of another shape, or no finite numbers.
    """
    shape, words = SHAPES[name]
    try:
        values = np.asarray(getattr(given, name), dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full(0, np.nan)
    if values.ndim != len(shape) or values.shape[-1] != shape[-1] or not np.isfinite(values).all():
        raise InputError(f"{given.case_id}: {name}: expected finite mm of shape {words}")
    return values


def _canonical(volume: Volume) -> Volume:
    """The volume, if its slices are in order and its axes run as a reader leaves them.

    A network sees slices as they lie in the array: of other axes it would see heads upside down or from the side.

    Raises:
        InputError: if they are not.
    """
    turned = [words for words, end in zip(AXES, _ends(volume), strict=True) if end < 0]
    if turned:
        raise InputError(
            f"{volume.case_id}: {turned[0]}, by its positions (LPS mm); turn the array and its positions together, or "
            "give the scan's file"
        )
    steps = np.diff(volume.z_mm)
    if (steps * steps[:1] < 0).any():
        raise InputError(f"{volume.case_id}: slices are not in order by origins_mm; sort them from feet to head")
    return volume


def _ends(volume: Volume) -> tuple[float, float, float]:
    """How far columns run to the left, rows to the back and slices to the head, in mm."""
    up = (volume.origins_mm[-1] - volume.origins_mm[0])[2] if len(volume.origins_mm) > 1 else 0.0
    return float(volume.col_step_mm[0]), float(volume.row_step_mm[1]), float(up)


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
