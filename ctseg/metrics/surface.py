"""Distances between the surfaces of two masks, in mm, on the true positions of the slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.spatial import KDTree

from ctseg.io.stack import Grid, Mask


def surface(mask: Mask) -> Mask:
    """The voxels of a (K, H, W) mask that have a neighbour outside it.

    Neighbours share a face (six of them); beyond the edge of the grid is outside. In a volume of one slice, neighbours
    are sought in the slice only, or every voxel would be surface.
    """
    box = bounding_box(mask)
    if box is None:
        return np.zeros_like(mask)
    structure = generate_binary_structure(3, 1)
    if mask.shape[0] == 1:
        structure[[0, 2]] = False
    edges = np.zeros_like(mask)
    edges[box] = mask[box] & ~binary_erosion(mask[box], structure)
    return edges


def bounding_box(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box that holds the mask; None for an empty one."""
    if not mask.any():
        return None
    spans = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(spans)


def surface_distances(pred: Mask, ref: Mask, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances of each surface voxel to the nearest surface voxel of the other mask.

    Args:
        pred: (K, H, W) mask, not empty.
        ref: (K, H, W) mask, not empty.
        grid: their common geometry.

    Returns:
        (n,) from `pred` to `ref` and (m,) from `ref` to `pred`, in mm, exact for any tilt and any slice steps.
    """
    pred_points, ref_points = grid.points_mm(surface(pred)), grid.points_mm(surface(ref))
    to_ref, _ = KDTree(ref_points).query(pred_points)
    to_pred, _ = KDTree(pred_points).query(ref_points)
    return np.asarray(to_ref), np.asarray(to_pred)


def hd95_mm(to_ref: NDArray[np.float64], to_pred: NDArray[np.float64]) -> float:
    """The larger of the two directed 95th percentiles (linear interpolation) of the surface distances, in mm.

    So MONAI defines it; MedPy takes the percentile of the pooled distances, which can be smaller by many mm.

    Args:
        to_ref: (n,) distances from the prediction's surface to the reference's, as `surface_distances` gives them.
        to_pred: (m,) distances in the other direction.
    """
    return float(max(np.percentile(to_ref, 95), np.percentile(to_pred, 95)))


def nsd(to_ref: NDArray[np.float64], to_pred: NDArray[np.float64], tolerance_mm: float) -> float:
    """Normalised surface Dice: share of the surface voxels of both masks within `tolerance_mm` of the other surface.

    After Nikolov et al. (arXiv 1809.04430), counted by voxel as MONAI does; arguments as for `hd95_mm`.
    """
    near = np.count_nonzero(to_ref <= tolerance_mm) + np.count_nonzero(to_pred <= tolerance_mm)
    return near / (len(to_ref) + len(to_pred))
