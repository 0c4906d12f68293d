"""Geometry of a stack of slices: slab thickness, mL of a voxel, mL of a mask, and voxel centres in mm.

Tilted and unevenly spaced slices keep their true positions. Everything that ctseg says in mL comes from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctseg.arguments import a_number, refused, whole_number

if TYPE_CHECKING:
    from ctseg.io.volume import Volume

Mask = NDArray[np.bool_]
Vector = NDArray[np.float64]

MM3_PER_ML = 1000.0


def slab_mm(z_mm: Vector, thickness_mm: float | None = None) -> Vector:
    """(K,) thickness in mm that each slice represents: half the way to each neighbour, a whole step at the ends.

    Args:
        z_mm: (K,) slice positions along the slice normal.
        thickness_mm: what a single slice represents; 1 mm where it is not known.
    """
    if len(z_mm) < 2:
        return np.full(len(z_mm), thickness_mm or 1.0)
    steps = np.abs(np.diff(z_mm))
    padded = np.concatenate([steps[:1], steps, steps[-1:]])
    return np.asarray((padded[:-1] + padded[1:]) / 2)


def about_single(slices: int, thickness_mm: float | None) -> list[str]:
    """A note where a scan has one slice only, on what its volumes in mL rest on."""
    if slices != 1:
        return []
    if thickness_mm:
        return [f"a single slice: volumes rest on its thickness of {thickness_mm:.3g} mm"]
    return ["a single slice whose thickness nothing says: volumes are those of 1 mm"]


@dataclass(frozen=True)
class Grid:
    """Geometry of a (K, H, W) mask: the centre of [k, r, c] is `origins_mm[k] + r * row_step_mm + c * col_step_mm`."""

    origins_mm: Vector
    """(K, 3) centre of voxel [k, 0, 0]."""
    row_step_mm: Vector
    """(3,) step from one row to the next."""
    col_step_mm: Vector
    """(3,) step from one column to the next."""
    slab_mm: Vector
    """(K,) thickness that each slice represents."""

    @classmethod
    def of(cls, volume: Volume) -> Grid:
        """The grid of a scan or mask that was read from a file."""
        return cls(volume.origins_mm, volume.row_step_mm, volume.col_step_mm, volume.slab_mm)

    @classmethod
    def even(cls, slices: int, spacing_mm: tuple[float, float, float]) -> Grid:
        """`slices` equal slices, untilted, `spacing_mm` = (slice, row, column).

        Raises:
            InputError: if there is no slice, or the spacing is not three numbers above 0.
        """
        slices = whole_number(slices, "Grid.even: slices", 1)
        given = tuple(spacing_mm) if isinstance(spacing_mm, Iterable) else ()
        z, row, col = (a_number(mm, "Grid.even: spacing_mm") for mm in given) if len(given) == 3 else (0.0, 0.0, 0.0)
        if min(z, row, col) <= 0:
            raise refused("Grid.even: spacing_mm", str(spacing_mm), "three mm above 0 (slice, row, column)")
        origins = np.zeros((slices, 3))
        origins[:, 2] = z * np.arange(slices)
        return cls(origins, np.array([0.0, row, 0.0]), np.array([col, 0.0, 0.0]), np.full(slices, float(z)))

    @property
    def voxel_ml(self) -> Vector:
        """(K,) volume of one voxel of each slice in mL: its slab times the area that the two steps span."""
        area = np.linalg.norm(np.cross(self.row_step_mm, self.col_step_mm))
        return np.asarray(self.slab_mm * area / MM3_PER_ML)

    def volume_ml(self, mask: Mask) -> float:
        """Volume of a (K, H, W) mask in mL.

        Each slice counts with the slab it represents, measured along the slice normal: a tilted series is not measured
        too large, and slice steps may differ.
        """
        return float(np.count_nonzero(mask, axis=(1, 2)) @ self.voxel_ml)

    def points_mm(self, mask: Mask) -> Vector:
        """(n, 3) centres of the voxels of a (K, H, W) mask, in array order."""
        slices, rows, cols = np.nonzero(mask)
        return np.asarray(self.origins_mm[slices] + np.outer(rows, self.row_step_mm) + np.outer(cols, self.col_step_mm))

    def cropped(self, row: int, col: int) -> Grid:
        """The grid of a mask without its first `row` rows and `col` columns."""
        return replace(self, origins_mm=self.origins_mm + row * self.row_step_mm + col * self.col_step_mm)


def largest_offset_mm(one: Volume, other: Volume) -> float:
    """How far the corner voxels of two grids of equal shape lie apart at most, in mm."""
    rows, cols = one.voxels.shape[1:]
    return max(
        float(np.abs(_corner(one, row, col) - _corner(other, row, col)).max())
        for row in (0, rows - 1)
        for col in (0, cols - 1)
    )


def _corner(volume: Volume, row: int, col: int) -> Vector:
    return volume.origins_mm + row * volume.row_step_mm + col * volume.col_step_mm
