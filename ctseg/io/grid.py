"""From a file's own grid to canonical axes and back: affines, axis order, flips.

Affines here are NIfTI's (RAS+ mm); positions and steps are DICOM's (LPS mm), as `Volume` has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from ctseg.io.volume import NativeGrid, Volume

Vector = NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS mm into RAS mm and back."""

CANONICAL_LPS = (2, 1, 0)
"""The LPS axis that each canonical axis runs along: slices +z (head), rows +y (back), columns +x (left)."""

UNEVEN_MM = 0.05
"""Slice steps further than this from their mean are uneven; scanners round positions to 0.01 mm or better."""


@dataclass(frozen=True)
class Geometry:
    """Where canonical voxels lie: the three position fields of a `Volume`."""

    origins_mm: Vector
    row_step_mm: Vector
    col_step_mm: Vector


def canonical_axes(directions: Vector) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """The axis order and flips that bring a native grid to canonical axes.

    Args:
        directions: (3, 3); column n is the LPS direction of native axis n, of any length.

    Returns:
        axes and flips as `NativeGrid` has them: the assignment of native to patient axes with the largest sum of
        cosines.
    """
    cosines = directions / np.linalg.norm(directions, axis=0)
    best = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[CANONICAL_LPS[d], axes[d]]) for d in range(3)))
    flips = tuple(bool(cosines[CANONICAL_LPS[d], best[d]] < 0) for d in range(3))
    return (best[0], best[1], best[2]), (flips[0], flips[1], flips[2])


def geometry_from_affine(affine: Vector, grid: NativeGrid) -> Geometry:
    """Positions of the canonical slices of a grid whose voxels lie on one RAS affine (4, 4)."""
    lps = LPS_TO_RAS @ affine
    steps = [lps[:3, grid.axes[d]] * (-1 if grid.flips[d] else 1) for d in range(3)]
    first = np.zeros(3)
    for axis, flip in zip(grid.axes, grid.flips, strict=True):
        first[axis] = grid.shape[axis] - 1 if flip else 0
    origin = lps[:3, :3] @ first + lps[:3, 3]
    count = grid.shape[grid.axes[0]]
    return Geometry(origin + np.arange(count)[:, None] * steps[0], steps[1], steps[2])


def slice_step_mm(affine: Vector, axes: tuple[int, int, int]) -> float:
    """Distance of a grid's slices along their normal, also where it has one slice only.

    Args:
        affine: (4, 4).
        axes: as in `NativeGrid`.
    """
    across, row, col = (affine[:3, axis] for axis in axes)
    normal = np.cross(row, col)
    return abs(float(across @ normal)) / float(np.linalg.norm(normal))


def mean_step(origins_mm: Vector, normal: Vector, thickness_mm: float | None = None) -> Vector:
    """(3,) mean step from one slice origin to the next; of a single slice its thickness, 1 mm where that is unknown."""
    if len(origins_mm) < 2:
        return normal * (thickness_mm or 1.0)
    step: NDArray[np.float64] = (origins_mm[-1] - origins_mm[0]) / (len(origins_mm) - 1)
    return step


def affine_from_volume(volume: Volume) -> Vector:
    """(4, 4) RAS affine of the volume's native grid.

    For NIfTI that is the file's own. For DICOM the slice column is the mean step between the true slice origins, so it
    is sheared where the series is tilted; where the steps are uneven it is right for the first and last slice only.
    """
    grid = native_grid(volume)
    if grid.affine is not None:
        return grid.affine
    steps = (mean_step(volume.origins_mm, volume.normal, volume.thickness_mm), volume.row_step_mm, volume.col_step_mm)
    lps = np.eye(4)
    lps[:3, 3] = volume.origins_mm[0]
    for step, axis, flip in zip(steps, grid.axes, grid.flips, strict=True):
        lps[:3, axis] = -step if flip else step
        lps[:3, 3] += step * (grid.shape[axis] - 1 if flip else 0)
    return LPS_TO_RAS @ lps


def native_grid(volume: Volume) -> NativeGrid:
    """The volume's own grid, or (columns, rows, slices) without flips for a volume that came from no file."""
    if volume.native is not None:
        return volume.native
    slices, rows, columns = volume.voxels.shape
    return NativeGrid((2, 1, 0), (False, False, False), (columns, rows, slices))


def tilt_deg(origins_mm: Vector, normal: Vector) -> float:
    """Angle in degrees between the slice normal and the vector from the first slice origin to the last."""
    shift = origins_mm[-1] - origins_mm[0]
    if not shift.any():
        return 0.0
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(shift, normal)), abs(shift @ normal))))


def is_uneven(origins_mm: Vector) -> bool:
    """Whether any step between slice origins (K, 3) differs from the mean step by more than `UNEVEN_MM`."""
    return differ(np.diff(origins_mm, axis=0))


def differ(steps: Vector) -> bool:
    """Whether any of the steps (K - 1, 3) or (K - 1,) in mm differs from their mean by more than `UNEVEN_MM`."""
    return bool(len(steps) > 1 and np.abs(steps - steps.mean(axis=0)).max() > UNEVEN_MM)
