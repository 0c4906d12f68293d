"""Can the voxels be those of a head? A lost or wrong unit of length changes every volume in mL by its cube."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.errors import CaseError
from ctseg.io.interpolated import looks_interpolated
from ctseg.io.volume import Volume

VOXEL_MM = (0.05, 20.0)
"""No scanner of heads has smaller or larger voxels."""
SLAB_MM = 40.0
"""What one slice stands for at most, where some are missing beside it."""
LARGEST_MM = 600.0
"""A field of view in-plane, or a stack, that is larger is no scan of a head alone."""
FIELD_MM = (40.0, 1000.0)
"""No head fits into a smaller field of view in-plane, and no scanner has a larger one."""
STACK_MM = 2500.0
"""No person is longer."""
HEAD_MM = (100.0, 230.0)
"""Across a head, as the diameter of the circle of its area: adults have 150 to 180 mm; others are noted."""
BRAIN_MM = 80.0
"""The least across a brain whose skull was removed."""
BODY_MM = 300.0
"""No head is so wide: a lost voxel size (1 mm for 0.45) makes heads of 330 mm and more."""
AIR_HU, BONE_HU = -300.0, 300.0
BACKGROUND_SHARE = 0.2
"""A value that so much of a slice without air has is what a window, or a removed skull, left around the head."""
INTERPOLATED = "slices look interpolated, so bone between them may be taken for blood; give the scan as measured"
LEAST_SLICES = 3
LOOKED_AT = 5
"""Slices in which the head is measured."""
STRIPPED_SHARE = 0.85
"""A magnetic resonance scan with more voxels above 0 has noise, not zeros, around the head."""


def check_voxels(volume: Volume) -> Volume:
    """The volume, if its voxels can be a scanner's.

    Raises:
        CaseError: if a voxel is smaller or larger than any scanner's, or slices lie too far apart.
    """
    sizes = _sizes(volume)
    if not all(VOXEL_MM[0] <= size <= VOXEL_MM[1] for size in sizes):
        raise CaseError(
            f"{volume.case_id}: voxels of {_by(sizes, '.3g')} mm (slice, row, column), where "
            f"heads have {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm; write the header with sizes in mm"
        )
    thickest = float(np.max(volume.slab_mm))
    if thickest > SLAB_MM:
        raise CaseError(
            f"{volume.case_id}: one slice would stand for {_whole(thickest)} mm, so far are its neighbours; leave out "
            "the slices that are no part of the scan, or add those that are missing"
        )
    return volume


def check_slices(volume: Volume) -> Volume:
    """The volume, with notes on slices that nobody measured: copies, empty ones between others, interpolated CT."""
    if len(volume.voxels) >= LEAST_SLICES:
        for note in _unmeasured(volume):
            volume = _noted(volume, note)
    return volume


def _unmeasured(volume: Volume) -> Iterator[str]:
    voxels = volume.voxels
    empty = np.array([bool((plane == plane.flat[0]).all()) for plane in voxels])
    filled = np.flatnonzero(~empty)
    inside = int(empty[filled[0] : filled[-1]].sum()) if len(filled) else 0
    if inside:
        yield f"{inside} slices between others hold one value only: are they lost?"
    again = sum(
        bool(not empty[k] and _has_middle(voxels[k], voxels[k + 1]) and np.array_equal(voxels[k], voxels[k + 1]))
        for k in range(len(voxels) - 1)
    )
    if again:
        yield f"{again} slices are copies of their neighbours"
    elif volume.domain == "ct" and looks_interpolated(voxels):
        yield INTERPOLATED


def _has_middle(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether the middle rows are equal, which is quick to see."""
    return bool(np.array_equal(one[len(one) // 2], other[len(other) // 2]))


def _whole(value: float) -> str:
    return f"{value:.0f}" if value < 1e6 else f"{value:.3g}"


def check_extent(volume: Volume) -> Volume:
    """The volume, with a note where it is too large for a scan of a head.

    Raises:
        CaseError: if a voxel is smaller or larger than any scanner's.
    """
    extent = _extent(check_voxels(volume))
    if max(extent) <= LARGEST_MM:
        return volume
    return _noted(
        volume,
        f"covers {_by(extent, '.0f')} mm (slices, rows, columns), more than a head: is the unit of length right?",
    )


def check_head(volume: Volume) -> Volume:
    """The volume, with a note where the head in it is smaller or larger than heads usually are.

    Raises:
        CaseError: if it cannot be a head by its size.
    """
    extent = _extent(volume)
    field = max(extent[1:])
    if not FIELD_MM[0] <= field <= FIELD_MM[1] or extent[0] > STACK_MM:
        raise CaseError(
            f"{volume.case_id}: covers {_by(extent, '.3g')} mm (slices, rows, columns), which is no head; is the unit "
            "of length right? write the header with sizes in mm"
        )
    across = _across(volume)
    if across > BODY_MM:
        raise CaseError(
            f"{volume.case_id}: shows a body of {across:.0f} mm across, where heads have at most {HEAD_MM[1]:.0f}; "
            "give the voxel size in mm in the header, or a scan of the head alone"
        )
    least = HEAD_MM[0] if volume.domain != "ct" or volume.voxels.max() > BONE_HU else BRAIN_MM
    if least <= across <= HEAD_MM[1]:
        return volume
    return _noted(volume, f"a head of {across:.0f} mm across, where adults have 150 to 180: is the voxel size right?")


def _across(volume: Volume) -> float:
    """Diameter in mm of the circle that has the area of the body, median over slices of the stack's middle half."""
    count = len(volume.voxels)
    chosen = np.unique(np.linspace(count // 4, max(count // 4, (3 * count - 1) // 4), LOOKED_AT).astype(int))
    areas = [_largest_part(_body(volume, volume.voxels[k])) for k in chosen]
    return float(2 * np.sqrt(np.median(areas) * np.prod(volume.spacing_mm) / np.pi))


def _body(volume: Volume, voxels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W) what is not air; in a magnetic resonance scan with noise around the head, what is above the mean.

    Where a window or a removed skull has left no air, it is what has not the background's value.
    """
    if volume.domain == "ct":
        return _without_background(voxels) if voxels.min() > AIR_HU else voxels > AIR_HU
    body: NDArray[np.bool_] = voxels != 0
    if body.mean() > STRIPPED_SHARE:
        body = voxels > voxels.mean()
    return body


def _without_background(voxels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W) all but the value that most pixels have, if enough have it."""
    values, counts = np.unique(np.rint(voxels), return_counts=True)
    if counts.max() < BACKGROUND_SHARE * voxels.size:
        return np.ones(voxels.shape, dtype=bool)
    background: NDArray[np.bool_] = np.abs(voxels - values[counts.argmax()]) < 1
    return ~background


def _largest_part(body: NDArray[np.bool_]) -> int:
    """Pixels of the largest connected part, its holes filled: the head without its holder."""
    parts, count = ndimage.label(body)
    if not count:
        return 0
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    beside, _ = ndimage.label(np.pad(parts != largest, 1, constant_values=True))
    return int(beside.size - np.count_nonzero(beside == beside[0, 0]))


def _sizes(volume: Volume) -> tuple[float, float, float]:
    """(slice, row, column) of a usual voxel in mm."""
    return (float(np.median(volume.slab_mm)), *volume.spacing_mm)


def _extent(volume: Volume) -> list[float]:
    return [count * size for count, size in zip(volume.voxels.shape, _sizes(volume), strict=True)]


def _by(sizes: list[float] | tuple[float, ...], form: str) -> str:
    return " x ".join(format(size, form) for size in sizes)


def _noted(volume: Volume, note: str) -> Volume:
    return replace(volume, notes=(*volume.notes, note))
