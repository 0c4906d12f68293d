"""Where the voxels of a mask are in mm: tilted and unevenly spaced slices keep their true positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.io.volume import Volume

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """Geometry of a (K, H, W) mask: the centre of [k, r, c] is `origins_mm[k] + r * row_step_mm + c * col_step_mm`."""

    origins_mm: NDArray[np.float64]
    """(K, 3) centre of voxel [k, 0, 0]."""
    row_step_mm: NDArray[np.float64]
    """(3,) step from one row to the next."""
    col_step_mm: NDArray[np.float64]
    """(3,) step from one column to the next."""
    slab_mm: NDArray[np.float64]
    """(K,) thickness that each slice stands for."""

    @classmethod
    def of(cls, volume: Volume) -> Grid:
        """The grid of a scan or mask that was read from a file."""
        return cls(volume.origins_mm, volume.row_step_mm, volume.col_step_mm, volume.slab_mm)

    @classmethod
    def even(cls, slices: int, spacing_mm: tuple[float, float, float]) -> Grid:
        """`slices` equal slices, untilted, `spacing_mm` = (slice, row, column)."""
        z, row, col = spacing_mm
        origins = np.zeros((slices, 3))
        origins[:, 2] = z * np.arange(slices)
        return cls(origins, np.array([0.0, row, 0.0]), np.array([col, 0.0, 0.0]), np.full(slices, float(z)))

    @property
    def voxel_ml(self) -> NDArray[np.float64]:
        """(K,) volume of one voxel of each slice in mL."""
        area = np.linalg.norm(np.cross(self.row_step_mm, self.col_step_mm))
        return self.slab_mm * area / 1000.0

    def volume_ml(self, mask: Mask) -> float:
        """Volume of a (K, H, W) mask in mL."""
        return float(mask.sum(axis=(1, 2)) @ self.voxel_ml)

    def points_mm(self, mask: Mask) -> NDArray[np.float64]:
        """(n, 3) centres of the voxels of a (K, H, W) mask, in array order."""
        slices, rows, cols = np.nonzero(mask)
        return self.origins_mm[slices] + np.outer(rows, self.row_step_mm) + np.outer(cols, self.col_step_mm)


def largest_offset_mm(one: Volume, other: Volume) -> float:
    """How far the corner voxels of two grids of equal shape lie apart at most, in mm."""
    rows, cols = one.voxels.shape[1:]
    return max(
        float(np.abs(_corner(one, row, col) - _corner(other, row, col)).max())
        for row in (0, rows - 1)
        for col in (0, cols - 1)
    )


def _corner(volume: Volume, row: int, col: int) -> NDArray[np.float64]:
    return volume.origins_mm + row * volume.row_step_mm + col * volume.col_step_mm
