"""A head CT as the phantom's shapes need it: what tissue lies where, taken from HU and the brain mask alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.errors import CaseError
from ctseg.io.arrays import a_mask, checked_grid, stack_of
from ctseg.io.stack import Grid, Mask
from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.fields import Floats, f32, ramp

COARSE_MM = 2.0
"""Pixels of the tissue maps: fine enough for a distance to bone, coarse enough for 20 ms a scan."""
BRAIN_SHARE = 0.5
"""A pixel of the maps belongs to the brain when at least this share of it does."""
CSF_HU = 8.0
FLUID_BELOW = 4.0
"""A pixel holds fluid once it lies this far below the median of the brain, HU."""
WIDE_MM = 3.0
"""Fluid that fills a Gaussian of this width is a ventricle or cistern, no sulcus."""
VENTRICLE = (0.40, 0.65)
"""Share of such a Gaussian from which on fluid counts as ventricle, not at all and fully."""
MEDIAN_HU = (10.0, 70.0)
"""The median of a brain lies here, whatever bleeds in it; scaled values, grey values and MR lie elsewhere."""
HU_RANGE = (-20.0, 120.0)
"""Outside it nothing in a brain mask is brain, fluid or blood."""


@dataclass(frozen=True)
class Head:
    """A scan, its brain, and maps of its tissue on pixels of about 2 mm around the brain.

    Points are RAS mm from the middle of the brain, so x < 0 is the left side, up to the head's own turn.
    """

    voxels: Floats
    """(K, h, w) HU."""
    grid: Grid
    brain: Mask
    """(K, h, w)"""
    corner: tuple[int, int]
    """Row and column of the maps' first pixel on the scan."""
    block: int
    """Pixels of the scan in a row of the maps' pixel."""
    hu: Floats
    """(K, H, W) mean HU of the brain in each of the maps' pixels; the brain's median where there is none."""
    wall_mm: Floats
    """(K, H, W) distance to the brain's surface: negative inside, positive outside."""
    fluid: Floats
    """(K, H, W) share of fluid, 0..1."""
    ventricle: Floats
    """(K, H, W) the same for wide spaces of fluid alone."""
    white: Floats
    """(K, H, W) share that is rather white than grey matter."""
    brain_hu: float
    """Median HU of the brain without its fluid."""
    middle_mm: NDArray[np.float64]
    """(3,) LPS middle of the brain."""

    @classmethod
    def of(cls, voxels: Floats, grid: Grid, brain: Mask) -> Head:
        """Map a scan.

        Args:
            voxels: (K, h, w) HU; what lies outside the brain may be skull or nothing.
            grid: its geometry; tilt and uneven steps are kept.
            brain: (K, h, w) brain mask.

        Raises:
            CaseError: if the mask is empty or of another shape, or the brain's values are no HU.
            InputError: if one of the three is of another kind, or some voxels are not finite.
        """
        voxels, brain = stack_of(voxels, "Head.of: voxels"), a_mask(brain, "Head.of: brain")
        grid = checked_grid(grid, len(voxels), "Head.of: grid")
        if brain.shape != voxels.shape or not brain.any():
            raise CaseError("a haematoma needs a brain mask on the scan's own grid that is not empty")
        _check_hu(voxels, brain)
        pixel = float(np.linalg.norm(grid.row_step_mm))
        block = max(1, round(COARSE_MM / pixel))
        rows, columns = (_span(np.asarray(np.any(brain, axis=axes)), block) for axes in ((0, 2), (0, 1)))
        part = brain[:, rows, columns]
        count = _sums(part.astype(np.float32), block)
        cut = np.clip(voxels[:, rows, columns], *HU_RANGE) * part
        inside = count >= BRAIN_SHARE * _sums(np.ones_like(part[:1], dtype=np.float32), block)
        if not inside.any():
            raise CaseError(f"a haematoma needs a brain that fills pixels of {COARSE_MM:g} mm; check mask and grid")
        hu = _sums(cut.astype(np.float32), block) / np.maximum(count, 1)
        maps, solid = _tissue(hu, inside, grid, block)
        centre = np.array([axis.mean() for axis in np.nonzero(inside)])
        native = (centre[1:] + 0.5) * block - 0.5 + (rows.start, columns.start)
        middle = grid.origins_mm[round(centre[0])] + native[0] * grid.row_step_mm + native[1] * grid.col_step_mm
        return cls(
            f32(voxels), grid, brain, (rows.start, columns.start), block, **maps, brain_hu=solid, middle_mm=middle
        )

    @property
    def pixel_mm(self) -> float:
        """Width of the scan's pixels."""
        return float(np.linalg.norm(self.grid.row_step_mm))

    @property
    def step_mm(self) -> tuple[float, float, float]:
        """Usual slice step and pixel size of the maps."""
        step = float(np.median(self.grid.slab_mm))
        return step, self.block * self.pixel_mm, self.block * float(np.linalg.norm(self.grid.col_step_mm))

    def native(self, place: tuple[int, int, int]) -> tuple[int, float, float]:
        """Slice, row and column on the scan of a pixel of the maps."""
        k, *rest = place
        row, column = ((at + 0.5) * self.block - 0.5 + first for at, first in zip(rest, self.corner, strict=True))
        return k, row, column

    def point(self, k: int, row: float, column: float) -> NDArray[np.float64]:
        """(3,) RAS mm from the middle of the brain."""
        lps = self.grid.origins_mm[k] + row * self.grid.row_step_mm + column * self.grid.col_step_mm
        return np.asarray((lps - self.middle_mm) * (-1, -1, 1))

    def points(self, slices: slice, rows: Floats, columns: Floats, offsets_mm: NDArray[np.float64]) -> Floats:
        """(K, M, h, w, 3) RAS mm of rows and columns of some slices, moved by each of `offsets_mm` (M, 3) LPS."""
        ras = np.array((-1.0, -1.0, 1.0))
        plane = rows[:, None, None] * self.grid.row_step_mm + columns[None, :, None] * self.grid.col_step_mm
        starts = (self.grid.origins_mm[slices, None] + offsets_mm - self.middle_mm) * ras
        return f32(starts)[:, :, None, None] + f32(plane * ras)

    def at(self, maps: Floats, slices: slice, rows: Floats, columns: Floats) -> Floats:
        """Maps (C, K, H, W) at rows and columns (of the scan, with fractions) of some slices, (C, k, h, w)."""
        at_rows = (rows - self.corner[0] + 0.5) / self.block - 0.5
        at_columns = (columns - self.corner[1] + 0.5) / self.block - 0.5
        return lerp(lerp(f32(maps[:, slices]), at_rows, 2), at_columns, 3)

    def tissue(self, slices: slice, rows: Floats, columns: Floats) -> Tissue:
        """What lies at rows and columns (of the scan, with fractions) of some slices, (K, h, w) each."""
        maps = np.stack([self.wall_mm, self.fluid, self.ventricle, self.white])
        wall, fluid, ventricle, white = self.at(maps, slices, rows, columns)
        points = self.points(slices, rows, columns, np.zeros((1, 3)))[:, 0]
        nothing = np.zeros_like(wall)
        return Tissue(
            template=points, moved=points, wall_mm=wall, outside_hu=nothing, shell_mm=nothing,
            grey=np.clip(1 - fluid - white, 0, 1), white=white, fluid=fluid, ventricle=ventricle,
            deep_white=white * ramp(-wall, 8.0, 15.0), periventricular=nothing,
        )  # fmt: skip


def _check_hu(voxels: Floats, brain: Mask) -> None:
    """Refuse values that no brain has in HU.

    Raises:
        CaseError: if their median is that of no brain.
    """
    median = float(np.median(voxels[brain]))
    if not MEDIAN_HU[0] <= median <= MEDIAN_HU[1]:
        raise CaseError(
            f"not HU: the median of the brain is {median:.3g}, where CT has {MEDIAN_HU[0]:g} to {MEDIAN_HU[1]:g}; give "
            "the scan in HU"
        )


def lerp(values: Floats, at: Floats, axis: int) -> Floats:
    """Linear interpolation along one axis at indices with fractions; the border value holds outside."""
    at = np.clip(at, 0, values.shape[axis] - 1)
    low = np.minimum(at.astype(np.intp), max(values.shape[axis] - 2, 0))
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = f32(at - low).reshape([-1 if n == axis else 1 for n in range(values.ndim)])
    first = np.take(values, low, axis)
    mixed: Floats = first + share * (np.take(values, high, axis) - first)
    return mixed


def _span(used: Mask, block: int) -> slice:
    """The used part of an axis with one block of room where the scan has it."""
    inside = np.flatnonzero(used)
    return slice(max(int(inside[0]) - block, 0), min(int(inside[-1]) + 1 + block, len(used)))


def _sums(values: Floats, block: int) -> Floats:
    """(K, h, w) -> (K, H, W) sums over blocks; the last ones may be smaller."""
    if block == 1:
        return values
    rows = np.add.reduceat(values, np.arange(0, values.shape[1], block), axis=1)
    sums: Floats = np.add.reduceat(rows, np.arange(0, values.shape[2], block), axis=2)
    return sums


def _tissue(hu: Floats, inside: Mask, grid: Grid, block: int) -> tuple[dict[str, Floats], float]:
    """The maps of `Head`, and the median HU of its brain without fluid."""
    pixel = [block * float(np.linalg.norm(step)) for step in (grid.row_step_mm, grid.col_step_mm)]
    sampling = (float(np.median(grid.slab_mm)), *pixel)
    inner = ndimage.distance_transform_edt(inside, sampling) if not inside.all() else np.full(hu.shape, 99.0)
    outer = ndimage.distance_transform_edt(~inside, sampling)
    wall = f32(np.where(inside, pixel[0] / 2 - inner, outer - pixel[0] / 2))
    median = float(np.median(hu[inside]))
    solid = float(np.median(hu[inside & (hu > median - 2 * FLUID_BELOW)]))
    smooth = _inside_smooth(hu, inside, [0.6 * 2.0 / mm for mm in pixel], solid)
    fluid = np.clip((solid - FLUID_BELOW - smooth) / max(solid - FLUID_BELOW - CSF_HU, 5.0), 0, 1) * inside
    wide = ndimage.gaussian_filter(fluid, (0, *(WIDE_MM / mm for mm in pixel)))
    ventricle = np.minimum(fluid, 1.5 * fluid * ramp(wide, *VENTRICLE))
    white = (1 - fluid) * (1 - ramp(smooth, solid - 2, solid + 4)) * inside
    maps = {"hu": np.where(inside, hu, solid), "wall_mm": wall, "fluid": fluid, "ventricle": ventricle, "white": white}
    return {name: f32(values) for name, values in maps.items()}, solid


def _inside_smooth(hu: Floats, inside: Mask, sigmas: list[float], fill: float) -> Floats:
    """Smoothed in the slices over the brain alone."""
    share = ndimage.gaussian_filter(inside.astype(np.float32), (0, *sigmas))
    total = ndimage.gaussian_filter(np.where(inside, hu, 0).astype(np.float32), (0, *sigmas))
    smooth: Floats = np.where(share > 0.01, total / np.maximum(share, 0.01), fill).astype(np.float32)
    return smooth
