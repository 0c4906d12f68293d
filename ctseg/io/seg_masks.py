"""A DICOM SEG as a mask with its geometry, and on the grid of its scan."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.dicom.geometry import is_turned, to_canonical
from ctseg.io.dicom.said_twice import THICKNESSES
from ctseg.io.dicom.seg import Segments, read_seg
from ctseg.io.drawn import Acquired, DrawnOn, SliceName, check_acquired, check_drawn_on, named_as
from ctseg.io.extent import VOXEL_MM, check_voxels
from ctseg.io.grid import UNEVEN_MM, mean_step, native_grid
from ctseg.io.nifti.file import MAX_VOXELS
from ctseg.io.placing import SAME_PLACE_MM, SAME_STEP, are_planes_same, check_steps, nearest, off_by, on_voxels, placed
from ctseg.io.volume import NativeGrid, Volume

Vector = NDArray[np.float64]
Labels = NDArray[np.uint8]

OVERLAP = "segments of its mask overlap; a voxel in several of them counts once"
TWO_SIZES = "its one slice is {} mm thick and {} mm from the next by its header: mL are sure with its scan alone"
NO_NEIGHBOURS = (
    "has slices {} mm apart, which are no neighbours in its scan; draw it on this scan, or resample it to its grid"
)
UNKNOWN_STEP = (
    "does not say how far apart its slices are, nor which slices of this scan they are; write it as NIfTI on the grid "
    "of the scan"
)


def load_seg(path: Path, chosen: Collection[int], name: str) -> tuple[Labels, Volume]:
    """Numbers of segments (K, H, W) of a DICOM SEG on canonical axes, and a volume with their geometry.

    Slices that its writer left out between others are there again, empty, where the stack is even. Those beside them
    are not, so that it may be shorter than its scan.

    Args:
        path: the file.
        chosen: numbers of the segments that are seen where segments overlap; empty for all.
        name: of its case.

    Raises:
        CaseError: if it is broken, no mask, or has voxels of an impossible size.
    """
    found = read_seg(path, chosen)
    try:
        return _as_volume(found, name)
    except CaseError as error:
        message = str(error).removeprefix(f"{name}: ")
        raise CaseError(f"{path}: {message}") from None


def _as_volume(found: Segments, name: str) -> tuple[Labels, Volume]:
    step, indices = _lattice(found)
    is_even = indices is not None
    if indices is None and is_turned(found.stack):
        step, indices = _fewest(found)
    origins, is_frame = _filled(found.stack.origins_mm, indices)
    stack = replace(found.stack, origins_mm=origins, thickness_mm=step)
    grid, geometry = to_canonical(stack)
    native = np.zeros((stack.shape[1], stack.shape[0], len(origins)), np.uint8)
    native[:, :, is_frame] = found.labels.transpose(2, 1, 0)
    mask = np.ascontiguousarray(grid.to_canonical(native))
    volume = Volume(
        voxels=mask.astype(np.float32),
        origins_mm=geometry.origins_mm,
        row_step_mm=geometry.row_step_mm,
        col_step_mm=geometry.col_step_mm,
        domain="ct",
        case_id=name,
        patient_id=name,
        native=grid,
        notes=_notes(found),
        thickness_mm=step,
        drawn=_drawn(found, grid, is_frame, step, is_even=is_even),
    )
    return mask, check_voxels(volume) if is_even else _check_pixels(volume)


def _check_pixels(volume: Volume) -> Volume:
    """The volume, if its pixels can be a scanner's; of uneven slices nothing tells how thick they are.

    Raises:
        CaseError: if not.
    """
    first = volume.with_voxels(volume.voxels[:1])
    check_voxels(replace(first, origins_mm=volume.origins_mm[:1], thickness_mm=None))
    return volume


def _notes(found: Segments) -> tuple[str, ...]:
    notes = (OVERLAP,) if found.overlap else ()
    thickness, stated = found.stack.thickness_mm, found.spacing_mm
    if len(found.labels) == 1 and thickness and stated and abs(thickness - stated) > SAME_STEP * stated:
        return (*notes, TWO_SIZES.format(f"{thickness:.3g}", f"{stated:.3g}"))
    return notes


def _drawn(
    found: Segments, grid: NativeGrid, is_frame: NDArray[np.bool_], step: float | None, *, is_even: bool
) -> DrawnOn:
    sources: list[frozenset[SliceName]] = [frozenset() for _ in is_frame]
    for index, names in zip(np.flatnonzero(is_frame), found.sources, strict=True):
        sources[index] = names
    acquired = None
    if grid.axes[0] != 2:  # turned: its slices are no frames
        sources, is_frame = [frozenset().union(*sources)], np.ones(grid.shape[grid.axes[0]], bool)
        normal = found.stack.normal
        acquired = Acquired(normal, found.stack.origins_mm @ normal, found.sources)
    elif grid.flips[0]:
        sources, is_frame = sources[::-1], is_frame[::-1]
    uid = found.frame_of_reference_uid
    return DrawnOn(is_frame, tuple(sources), found.series_uids, uid, step, is_even, acquired, found.owner)


def _lattice(found: Segments) -> tuple[float | None, NDArray[np.intp] | None]:
    """The distance of slices in mm, and the place of each slice in an even stack; None where they make none."""
    origins, stated = found.stack.origins_mm, found.spacing_mm
    if len(origins) == 1:
        return _thickness(found), np.zeros(1, np.intp)
    heights = (origins - origins[0]) @ found.stack.normal
    smallest = float(np.diff(heights).min())
    steps = (smallest,) if _is_doubtful(stated, smallest, found.stack.thickness_mm) else (stated, smallest)
    for step in steps:
        indices = _multiples(origins, heights, step) if step else None
        if indices is not None and _can_be_filled(indices, found, is_stated=step == stated):
            return float(heights[-1] / indices[-1]), indices
    return stated or smallest, None


def _thickness(found: Segments) -> float | None:
    """Of a single slice; highdicom says that it is 1 mm from the next, however thick it is."""
    thickness, stated = found.stack.thickness_mm, found.spacing_mm
    is_thick = bool(stated and thickness and thickness > THICKNESSES * stated)
    return thickness if is_thick else stated or thickness


def _fewest(found: Segments) -> tuple[float | None, NDArray[np.intp] | None]:
    """As `_lattice`, with as few slices between those of a sagittal or coronal stack as their places allow.

    Such a scan is read where its steps are even alone, and only slices with even steps can be turned to axial. How many
    slices were left out is a guess, so the stack does not count as even.
    """
    origins = found.stack.origins_mm
    heights = (origins - origins[0]) @ found.stack.normal
    step = float(np.diff(heights).min())
    indices = _multiples(origins, heights, step)
    is_known = indices is not None and _can_be_filled(indices, found, is_stated=True)
    return (step, indices) if is_known else (found.spacing_mm or step, None)


def _can_be_filled(indices: NDArray[np.intp], found: Segments, *, is_stated: bool) -> bool:
    """Whether what lies between slices of an even stack is known to be slices that were left out, and fits in memory.

    Head scans of 2.5 mm below and 5 mm above look the same, where the distance of slices is not stated.
    """
    count = int(indices[-1]) + 1
    return (is_stated or count == len(indices)) and math.prod((count, *found.stack.shape)) <= MAX_VOXELS


def _is_doubtful(stated: float | None, smallest: float, thickness: float | None) -> bool:
    """Whether no two slices lie at the stated distance, and the nearest ones as far apart as a slice is thick.

    SpacingBetweenSlices of some scanners is the gap between slices, and programs copy it.
    """
    apart = stated is not None and smallest > 1.5 * stated
    return apart and thickness is not None and abs(thickness - smallest) <= SAME_STEP * smallest


def _multiples(origins: Vector, heights: Vector, step: float) -> NDArray[np.intp] | None:
    """(n,) the place of each slice in an even stack with this step, as far as it is one."""
    if not VOXEL_MM[0] <= step <= VOXEL_MM[1]:
        return None
    indices = np.rint(heights / step).astype(np.intp)
    line = origins[0] + indices[:, None] / max(int(indices[-1]), 1) * (origins[-1] - origins[0])
    is_even = bool((np.diff(indices) > 0).all()) and float(np.abs(origins - line).max()) <= UNEVEN_MM
    return indices if is_even else None


def _filled(origins: Vector, indices: NDArray[np.intp] | None) -> tuple[Vector, NDArray[np.bool_]]:
    """Positions (K, 3) with those of slices that were left out in between, and which are in the file."""
    if indices is None:
        return origins, np.ones(len(origins), bool)
    count = int(indices[-1]) + 1
    share = np.arange(count)[:, None] / max(count - 1, 1)
    filled = origins[0] + share * (origins[-1] - origins[0])
    filled[indices] = origins
    is_frame = np.zeros(count, bool)
    is_frame[indices] = True
    return filled, is_frame


def seg_on(
    part: Labels, place: Volume, scan: Volume, names: Sequence[SliceName], tolerance_mm: float | None = None
) -> tuple[Labels, list[str]]:
    """A mask from a DICOM SEG on the grid of its scan (K, H, W), and notes; nothing is resampled.

    Args:
        part: (k, h, w) label values, of `load_seg`.
        place: the geometry beside it.
        scan: the grid to put it on.
        names: of its slices where they are known, see `ctseg.io.drawn.slice_names`.
        tolerance_mm: how far voxel centres may lie apart. None: half a voxel, which is noted, where the frames have the
            matrix of the scan; else 0.1 mm.

    Raises:
        CaseError: without a file's name, if it names another scan, or its voxels are none of this scan's.
    """
    drawn = place.drawn
    if drawn is None:
        raise ValueError("a mask from no DICOM SEG")
    notes = check_drawn_on(drawn, scan, names)
    if not part.any():
        return np.zeros(scan.voxels.shape, np.uint8), notes
    check_acquired(drawn.acquired, scan, names)
    if native_grid(place).axes[0] != 2 or not are_planes_same(place, scan):
        return _across(part, place, scan, names, SAME_PLACE_MM if tolerance_mm is None else tolerance_mm), notes
    slices, at = _frames_in(place, drawn, scan)
    marked = part[slices].any(axis=(1, 2))
    if not named_as(drawn, slices[marked], at[marked], _in_order(names, scan)):
        check_neighbours(at, scan.z_mm, drawn.step_mm)
    if tolerance_mm is not None:
        return on_voxels(part, place, scan, tolerance_mm), notes
    offset = _offset_mm(part, place, scan, slices, at)
    if offset is None:
        return on_voxels(part, place, scan), notes
    whole = np.zeros(scan.voxels.shape, np.uint8)
    whole[at] = part[slices]
    return whole, [*notes, *off_by(offset)]


def _across(part: Labels, place: Volume, scan: Volume, names: Sequence[SliceName], tolerance_mm: float) -> Labels:
    """Frames that lie across the slices of a scan as it is read: turned ones, or those of another plane.

    Where each frame names slices of the scan, the distance of frames tells nothing, and their voxels lie where they do.

    Raises:
        CaseError: without a file's name, if its voxels are none of this scan's.
    """
    axes = native_grid(place).axes
    named = frozenset[SliceName]().union(*(place.drawn.sources if place.drawn is not None else ()))
    if axes[0] == 2 or not named or not named <= set(names):
        return placed(part, place, scan, tolerance_mm)
    steps = [mean_step(place.origins_mm, place.normal, place.thickness_mm), place.row_step_mm, place.col_step_mm]
    check_steps(scan, [step for step, axis in zip(steps, axes, strict=True) if axis != 2])
    return on_voxels(part, place, scan, tolerance_mm)


def _in_order(names: Sequence[SliceName], scan: Volume) -> Sequence[SliceName]:
    """The names of a scan's slices in their order; none of a scan that was turned to axial."""
    return names if native_grid(scan).axes[0] == 2 or not scan.frames else ()


def _frames_in(place: Volume, drawn: DrawnOn, scan: Volume) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(n,) the slices of a mask that are frames and lie within its scan, and the scan's slices that are nearest."""
    heights, margin = place.origins_mm @ scan.normal, float(scan.slab_mm.min()) / 2
    inside = (heights > scan.z_mm[0] - margin) & (heights < scan.z_mm[-1] + margin)
    slices = np.flatnonzero(drawn.is_frame & inside)
    return slices, nearest(heights[slices], scan.z_mm)


def check_neighbours(at: NDArray[np.intp], z_mm: Vector, step_mm: float | None) -> None:
    """Refuse frames that are slices of another scan of the same places, such as one of every second slice.

    Frames that are neighbours in the scan are its slices. Between others there are slices without a marked voxel: so it
    can be only if the file says that its slices are as close as those of the scan.

    Args:
        at: (n,) places of the frames, or of planes with an outline, in the scan, in order.
        z_mm: (K,) heights of the scan's slices, which rise.
        step_mm: distance of slices that the file gives.

    Raises:
        CaseError: without a file's name.
    """
    gaps = _gaps(at, np.diff(z_mm), step_mm or 0.0)
    if gaps and step_mm is None:
        raise CaseError(UNKNOWN_STEP)
    if (np.diff(at) == 0).any() or any(_differ(gap, step_mm or 0.0) for gap in gaps):
        raise CaseError(NO_NEIGHBOURS.format(f"{step_mm:.3g}" if step_mm else "less than its scan's"))


def _gaps(at: NDArray[np.intp], steps: Vector, step_mm: float) -> list[Vector]:
    """The scan's steps (n,) in each gap between two frames; of a single frame the one beside it that fits best."""
    if len(at) != 1:
        return [steps[first:last] for first, last in pairwise(at) if last - first > 1]
    beside = steps[max(at[0] - 1, 0) : at[0] + 1]
    return [beside[[int(np.abs(beside - step_mm).argmin())]]] if len(beside) else []


def _differ(steps: Vector, step_mm: float) -> bool:
    return bool(np.abs(steps - step_mm).max() > max(SAME_STEP * step_mm, UNEVEN_MM))


def _offset_mm(
    part: Labels, place: Volume, scan: Volume, slices: NDArray[np.intp], at: NDArray[np.intp]
) -> float | None:
    """How far frames with the scan's matrix lie off its slices.

    None where it is more than half a voxel, or they have another matrix or marked voxels beside the scan.

    Args:
        part: (k, h, w) label values.
        place: where they lie.
        scan: the scan.
        slices: (n,) of the mask.
        at: (n,) of the scan, where they are to be put.
    """
    rows, cols = scan.voxels.shape[1:]
    if part.shape[1:] != (rows, cols) or part[slices].any(axis=(1, 2)).sum() < part.any(axis=(1, 2)).sum():
        return None
    corners = [
        (place.origins_mm[slices] + row * place.row_step_mm + col * place.col_step_mm)
        - (scan.origins_mm[at] + row * scan.row_step_mm + col * scan.col_step_mm)
        for row in (0, rows - 1)
        for col in (0, cols - 1)
    ]
    spacing = scan.spacing_mm
    axes = np.stack([scan.normal, scan.row_step_mm / spacing[0], scan.col_step_mm / spacing[1]])
    furthest = np.abs(np.concatenate(corners) @ axes.T).max(axis=0)
    is_near = bool((furthest <= np.array([scan.slab_mm.min(), *spacing]) / 2).all())
    return float(furthest.max()) if is_near else None
