"""Label values of a NIfTI file on the grid of its scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.nifti.file import NiftiFile, carries_orientation, read_voxels
from ctseg.io.nifti.header import Affine, Header
from ctseg.io.volume import NativeGrid


def read_labels(file: NiftiFile, grid: NativeGrid) -> NDArray[np.uint8]:
    """Label values (K, H, W) of a file on the grid given, on canonical axes.

    Raises:
        CaseError: if the file is broken, on another grid, or holds anything but whole numbers from 0 to 255.
    """
    path, shape = file.path, _times(file.shape)
    if file.shape != grid.shape:
        raise CaseError(f"{path}: has {shape} voxels, the scan {_times(grid.shape)}; give labels on its grid")
    if grid.affine is not None and not _same_grid(file.affine, grid, file.header):
        raise CaseError(f"{path}: lies elsewhere than its scan (another affine); give labels on its grid")
    native = read_voxels(file, None)
    labels = np.round(native)
    if not np.isfinite(native).all() or np.abs(native - labels).max() > 1e-3 or labels.min() < 0 or labels.max() > 255:
        raise CaseError(f"{path}: no mask: values from {native.min():g} to {native.max():g}, not whole numbers from 0")
    if labels.max() > labels.min() > 0:
        raise CaseError(f"{path}: no mask: its lowest value is {labels.min():g}, so that all of it would be lesion")
    return np.ascontiguousarray(grid.to_canonical(labels.astype(np.uint8)))


def _same_grid(affine: Affine, grid: NativeGrid, header: Header) -> bool:
    """Whether every corner lies within half a voxel of the scan's; labels without orientation take the scan's."""
    if grid.affine is None or not carries_orientation(header, affine):
        return True
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    corners[:, :3] *= np.array(grid.shape) - 1
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0).min()
    return bool(np.abs(corners @ (affine - grid.affine).T).max() < spacing / 2)


def _times(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
