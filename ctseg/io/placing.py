"""Masks that hold a part of a scan's grid, put on the whole of it by their places in space; nothing is resampled.

Order, flips and cuts of a part do not matter: each marked voxel has a position in mm, and the scan has to have a voxel
there. Where the part has none, there is background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.grid import mean_step
from ctseg.io.volume import Volume

Vector = NDArray[np.float64]

SAME_PLACE_MM = 0.1
"""Voxel centres that lie closer are the same; files round positions to 0.01 mm or better."""
SAME_STEP = 0.01
"""Steps from voxel to voxel that differ by a smaller share are rounding."""
SAID_MM = 0.1
"""Masks that lie further off their scan than this are noted by `preprocess`; `evaluate` refuses them."""


def off_by(offset_mm: float) -> list[str]:
    """A note on a mask that is taken voxel by voxel though it lies off its scan; none of one that does not."""
    if offset_mm <= SAID_MM:
        return []
    return [f"its mask lies up to {offset_mm:.1f} mm off by its header; taken voxel by voxel"]


def placed(
    part: NDArray[np.uint8], place: Volume, scan: Volume, tolerance_mm: float = SAME_PLACE_MM
) -> NDArray[np.uint8]:
    """A mask that covers a part of a scan's grid, on the whole grid (K, H, W).

    Args:
        part: (k, h, w) label values.
        place: the geometry of the part.
        scan: the geometry to put it on.
        tolerance_mm: how far voxel centres may lie apart.

    Raises:
        CaseError: without a file's name, if the voxels of the part are none of the scan's.
    """
    _check_slices(part, place, scan, tolerance_mm)
    return on_voxels(part, place, scan, tolerance_mm)


def on_voxels(
    part: NDArray[np.uint8], place: Volume, scan: Volume, tolerance_mm: float = SAME_PLACE_MM
) -> NDArray[np.uint8]:
    """As `placed`, of a part whose slices and steps are known to be the scan's.

    Raises:
        CaseError: without a file's name, if there is no voxel of the scan where one of the part is marked.
    """
    result = np.zeros(scan.voxels.shape, np.uint8)
    slices, rows, cols = np.nonzero(part)
    if len(slices):
        in_plane = np.outer(rows, place.row_step_mm) + np.outer(cols, place.col_step_mm)
        result[tuple(voxels_at(place.origins_mm[slices] + in_plane, scan, tolerance_mm).T)] = part[slices, rows, cols]
    return result


def voxels_at(points_mm: Vector, scan: Volume, tolerance_mm: float = SAME_PLACE_MM) -> NDArray[np.intp]:
    """(n, 3) indices of the voxels of a scan whose centres lie at points (n, 3) in LPS mm.

    Raises:
        CaseError: without a file's name, if there is none at one of them.
    """
    slices = nearest(points_mm @ scan.normal, scan.z_mm)
    steps = np.stack([scan.row_step_mm, scan.col_step_mm], axis=1)
    in_plane = np.rint((points_mm - scan.origins_mm[slices]) @ np.linalg.pinv(steps).T)
    apart = float(np.abs(points_mm - scan.origins_mm[slices] - in_plane @ steps.T).max())
    if apart > tolerance_mm:
        raise CaseError(
            f"has marked voxels that lie up to {apart:.2f} mm from the nearest of its scan; draw it on this scan, or "
            "resample it to its grid"
        )
    found = np.column_stack([slices, in_plane.astype(np.intp)])
    if (found < 0).any() or (found >= scan.voxels.shape).any():
        raise CaseError("has marked voxels outside of its scan; is it the mask of another scan?")
    return found


def nearest(values: Vector, sorted_values: Vector) -> NDArray[np.intp]:
    """(n,) place of the nearest of `sorted_values`, which rise, for each value."""
    middles = (sorted_values[1:] + sorted_values[:-1]) / 2
    return np.searchsorted(middles, values)


def _check_slices(part: NDArray[np.uint8], place: Volume, scan: Volume, tolerance_mm: float) -> None:
    """Refuse a part whose slices are not neighbours in the scan, such as every second one.

    Raises:
        CaseError: without a file's name.
    """
    steps = [place.row_step_mm, place.col_step_mm]
    if not are_planes_same(place, scan):  # slices of another orientation, which need even steps
        check_steps(scan, [*steps, mean_step(place.origins_mm, place.normal, place.thickness_mm)])
        return
    z_mm = place.origins_mm @ scan.normal
    inside = (z_mm > scan.z_mm[0] - tolerance_mm) & (z_mm < scan.z_mm[-1] + tolerance_mm)
    if (np.abs(np.diff(nearest(z_mm[inside], scan.z_mm))) != 1).any():
        raise CaseError(
            f"has slices {abs(z_mm[-1] - z_mm[0]) / (len(part) - 1):.3g} mm apart, which are no neighbours in its "
            "scan; draw it on this scan, or resample it to its grid"
        )


def are_planes_same(place: Volume, scan: Volume) -> bool:
    """Whether the slices of a part are planes of the scan's slices, with its pixels.

    Raises:
        CaseError: without a file's name, if the part's pixels are none of the scan's.
    """
    return set(check_steps(scan, [place.row_step_mm, place.col_step_mm])) == {1, 2}


def check_steps(scan: Volume, steps: list[Vector]) -> list[int | None]:
    """Refuse voxels of another size or direction than the scan's, of which some may lie in the same place.

    Returns:
        Along which axis of the scan (0 slices, 1 rows, 2 columns) each step leads.

    Raises:
        CaseError: without a file's name.
    """
    own = [mean_step(scan.origins_mm, scan.normal, scan.thickness_mm), scan.row_step_mm, scan.col_step_mm]
    found = [next((n for n, axis in enumerate(own) if _is_same(step, axis)), None) for step in steps]
    if None in found or len(set(found)) < len(found):
        raise CaseError(
            f"has voxels of {_sizes(steps)} mm, or along other axes, where its scan has {_sizes(own)} mm; draw it on "
            "this scan, or resample it to its grid"
        )
    return found


def _sizes(steps: list[Vector]) -> str:
    return " x ".join(f"{np.linalg.norm(step):.3g}" for step in steps)


def _is_same(step: Vector, axis: Vector) -> bool:
    """Whether two steps are the same, forwards or backwards."""
    size = float(np.linalg.norm(axis))
    return min(float(np.linalg.norm(step - axis)), float(np.linalg.norm(step + axis))) <= SAME_STEP * size
