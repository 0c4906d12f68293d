"""Where DICOM slices lie: one stack on canonical axes from their true positions, and what is odd about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.dicom.header import SliceHeader
from ctseg.io.grid import Geometry, canonical_axes, differ, is_uneven, mean_step, tilt_deg
from ctseg.io.stack import about_single
from ctseg.io.volume import NativeGrid

SAME_DIRECTION = 1e-3
"""Direction cosines of one series agree to better than this (0.06 degrees)."""
NEARLY_SAME_DIRECTION = 0.01
"""Those of one scan whose header was computed slice by slice agree to this (0.6 degrees)."""
UNIT = 0.02
"""Lengths and right angles of direction cosines are true within this: some are rounded to two digits."""
SAME_SPACING_MM = 1e-3
SAME_PLACE_MM = 0.01
"""Slices closer than this along the normal lie at one position."""
TILT_DEG = 0.5
"""Tilts below this are rounding."""
SIDEWAYS_MM = 1.0
"""Slices further beside the line through the first and last are said; positions are rounded to less."""
SAME_TILT_DEG = 2.0
"""The header's tilt and that of the positions agree within this."""
MISSING_TOLERANCE = 0.1
"""A step within this share of a whole multiple of the usual step means missing slices."""
MISSING_SHARE = 0.2
"""More long steps than this share are the way the series was taken, not missing slices."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal, on the native (columns, rows, slices) grid; LPS mm."""

    origins_mm: Vector
    """(n, 3) centre of the first pixel of each slice."""
    row_step_mm: Vector
    col_step_mm: Vector
    shape: tuple[int, int]
    """(rows, columns)."""
    thickness_mm: float | None = None
    """What a single slice represents."""

    @property
    def normal(self) -> Vector:
        """(3,) unit normal; the slices are ordered along it."""
        normal = np.cross(self.col_step_mm, self.row_step_mm)
        return normal / np.linalg.norm(normal)


def slice_normal(header: SliceHeader) -> Vector | None:
    """(3,) LPS unit normal of a slice; None where the header has no usable orientation."""
    if header.orientation is None:
        return None
    normal = np.cross(header.orientation[:3], header.orientation[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0.5 else None


def same_geometry(one: SliceHeader, other: SliceHeader, direction: float = SAME_DIRECTION) -> bool:
    """Whether two slices can lie in one stack: the same matrix, orientation (within `direction`) and spacing."""
    return (
        (one.rows, one.columns) == (other.rows, other.columns)
        and _close(one.orientation, other.orientation, direction)
        and _close(one.spacing, other.spacing, SAME_SPACING_MM)
    )


def _close(one: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < tolerance


def apart_deg(one: SliceHeader, other: SliceHeader) -> float:
    """Largest angle between the rows, or the columns, of two slices in degrees; 0 where one says no orientation."""
    if one.orientation is None or other.orientation is None:
        return 0.0
    first, second = np.reshape(one.orientation, (2, 3)), np.reshape(other.orientation, (2, 3))
    return float(np.degrees(np.linalg.norm(first - second, axis=1).max()))


def places(slices: Sequence[SliceHeader]) -> list[int]:
    """A number for each slice in order along the normal, the same for slices at the same position.

    Where a position or orientation is missing, each slice gets a number of its own.
    """
    normal = slice_normal(slices[0]) if slices else None
    if normal is None or any(header.position is None for header in slices):
        return list(range(len(slices)))
    heights = np.array([np.dot(header.position or (), normal) for header in slices])
    order = np.argsort(heights, kind="stable")
    result = np.empty(len(slices), dtype=int)
    result[order] = np.concatenate([[0], np.cumsum(np.diff(heights[order]) > SAME_PLACE_MM)])
    return [int(value) for value in result]


def check_placed(slices: Sequence[SliceHeader]) -> None:
    """Refuse slices that do not say where they are, or that do not stack.

    Raises:
        CaseError: naming the first such file.
    """
    for header in slices:
        for value, name in (
            (header.position, "ImagePositionPatient"),
            (slice_normal(header), "ImageOrientationPatient"),
            (header.spacing if header.spacing and min(header.spacing) > 0 else None, "PixelSpacing"),
        ):
            if value is None:
                raise CaseError(f"{header.source}: has no usable {name}; export the series again with its geometry")
        if not is_square(header.orientation or ()):
            raise CaseError(
                f"{header.source}: ImageOrientationPatient is no pair of unit vectors at a right angle, so that sizes "
                "are unknown; export the series again with its geometry"
            )
        if not same_geometry(slices[0], header, NEARLY_SAME_DIRECTION):
            raise CaseError(
                f"{header.source}: matrix, orientation or spacing differ from {slices[0].source}; "
                "give the folder instead of the files, so that its series are told apart"
            )


def is_square(orientation: Sequence[float]) -> bool:
    """Whether direction cosines are what they have to be, but for rounding."""
    along, down = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    lengths = [float(np.linalg.norm(part)) for part in (along, down)]
    return max(abs(length - 1.0) for length in lengths) < UNIT and abs(float(along @ down)) < UNIT


def stack_of(slices: Sequence[SliceHeader], thickness_mm: float | None = None) -> Stack:
    """The stack of slices that `check_placed` passed and that are in order; of a single one with its thickness."""
    first = slices[0]
    direction = np.asarray(first.orientation, dtype=float)
    row_spacing, col_spacing = first.spacing or (1.0, 1.0)
    along, down = direction[:3] / np.linalg.norm(direction[:3]), direction[3:] / np.linalg.norm(direction[3:])
    origins = np.array([header.position for header in slices], dtype=float)
    return Stack(origins, down * row_spacing, along * col_spacing, (first.rows, first.columns), thickness_mm)


def is_turned(stack: Stack) -> bool:
    """Whether slices are sagittal or coronal, which are turned to axial."""
    return canonical_axes(np.stack([stack.col_step_mm, stack.row_step_mm, stack.normal], axis=1))[0][0] != 2


def to_canonical(stack: Stack) -> tuple[NativeGrid, Geometry]:
    """How the stack lies on canonical axes.

    A stack of axial slices keeps every slice's own position. Sagittal and coronal stacks are turned, which needs even
    steps.

    Raises:
        CaseError: for a sagittal or coronal stack with uneven steps (without the case's name).
    """
    axes, flips = canonical_axes(np.stack([stack.col_step_mm, stack.row_step_mm, stack.normal], axis=1))
    rows, columns = stack.shape
    grid = NativeGrid(axes, flips, (columns, rows, len(stack.origins_mm)))
    if axes[0] != 2 and is_uneven(stack.origins_mm):
        raise CaseError("sagittal or coronal slices with uneven steps cannot be turned to axial; use the axial series")
    return grid, _geometry(stack, grid)


def _geometry(stack: Stack, grid: NativeGrid) -> Geometry:
    steps = (stack.col_step_mm, stack.row_step_mm, mean_step(stack.origins_mm, stack.normal, stack.thickness_mm))
    turned = [steps[axis] * (-1 if flip else 1) for axis, flip in zip(grid.axes, grid.flips, strict=True)]
    corner = np.zeros(3)
    for axis, flip in zip(grid.axes, grid.flips, strict=True):
        if flip and axis != 2:
            corner += steps[axis] * (grid.shape[axis] - 1)
    if grid.axes[0] == 2:
        origins = stack.origins_mm[::-1] if grid.flips[0] else stack.origins_mm
        return Geometry(origins + corner, turned[1], turned[2])
    start = stack.origins_mm[-1 if grid.flips[grid.axes.index(2)] else 0] + corner
    return Geometry(start + np.arange(grid.shape[grid.axes[0]])[:, None] * turned[0], turned[1], turned[2])


def describe(stack: Stack, gantry_tilt_deg: float = 0.0) -> list[str]:
    """Notes on tilt (beside what the header's GantryDetectorTilt says), missing slices and uneven steps."""
    if len(stack.origins_mm) < 2:
        return about_single(1, stack.thickness_mm)
    notes = []
    tilt = tilt_deg(stack.origins_mm, stack.normal)
    if tilt > TILT_DEG:
        other = abs(gantry_tilt_deg) > TILT_DEG and abs(abs(gantry_tilt_deg) - tilt) > SAME_TILT_DEG
        said = f"; the header says {gantry_tilt_deg:g}, positions are used" if other else ""
        notes.append(f"tilted by {tilt:.1f} degrees{said}")
    elif abs(gantry_tilt_deg) > TILT_DEG:
        notes.append(
            f"the header says a gantry tilt of {gantry_tilt_deg:g} degrees, the positions none; positions are used"
        )
    steps = np.diff(stack.origins_mm @ stack.normal)
    return [*notes, *_sideways(stack), *(_missing(steps) or _uneven_steps(steps))]


def _sideways(stack: Stack) -> list[str]:
    """Slices of a scan lie along one line; a field of view that was moved between them puts them beside it."""
    heights = stack.origins_mm @ stack.normal
    share = ((heights - heights[0]) / (heights[-1] - heights[0]))[:, None]
    line = stack.origins_mm[0] + share * (stack.origins_mm[-1] - stack.origins_mm[0])
    apart = float(np.linalg.norm(stack.origins_mm - line, axis=1).max())
    return [f"slices lie up to {apart:.1f} mm beside a straight line"] if apart > SIDEWAYS_MM else []


def _missing(steps: Vector) -> list[str]:
    usual = float(np.median(steps))
    multiples = np.round(steps / usual)
    long = (multiples >= 2) & (np.abs(steps / usual - multiples) < MISSING_TOLERANCE)
    regular = np.abs(steps - usual) < MISSING_TOLERANCE * usual
    if not long.any() or long.mean() > MISSING_SHARE or not (long | regular).all():
        return []
    count = int((multiples[long] - 1).sum())
    first = int(np.flatnonzero(long)[0])
    noun = "slice seems" if count == 1 else "slices seem"
    return [
        f"{count} {noun} to be missing: a step of {steps[first]:.1f} mm after slice {first + 1}, usually {usual:.1f} mm"
    ]


def _uneven_steps(steps: Vector) -> list[str]:
    return [f"uneven slice steps, {steps.min():.1f} to {steps.max():.1f} mm"] if differ(steps) else []
