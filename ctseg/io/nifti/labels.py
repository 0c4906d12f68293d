"""Label values of a NIfTI, NRRD or MetaImage file on the grid of its scan."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.nifti.file import NiftiFile, carries_orientation, guarded, read_voxels
from ctseg.io.nifti.header import Affine, Header
from ctseg.io.nifti.itk import header_text
from ctseg.io.nifti.slicer import paint, segments_of
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


def read_layers(file: NiftiFile, grid: NativeGrid, chosen: Collection[int] = ()) -> NDArray[np.uint8]:
    """Label values (K, H, W) of 3D Slicer's segmentation with layers, on canonical axes.

    Its segments count as 1, 2, ... in the order of the header: in their layers, several may have one value.

    Args:
        file: opened with `layered`, of four axes.
        grid: its own.
        chosen: numbers of the segments that are seen where segments overlap.

    Raises:
        CaseError: if the file is broken, or its header does not describe its layers.
    """
    segments, layers = guarded(file.path, lambda: segments_of(header_text(file.path))), int(file.image.shape[3])
    if not segments or any(segment.layer >= layers for segment in segments):
        raise CaseError(
            f"{file.path}: its header does not say which segments its {layers} layers hold; save it again with 3D "
            "Slicer, or as a label map"
        )
    marked, labels = np.zeros(file.shape, bool), np.zeros(file.shape, np.uint8)
    for layer in range(layers):
        voxels = read_voxels(file, layer)
        marked |= voxels != 0
        for number, segment in enumerate(segments, start=1):
            if segment.layer == layer:
                paint(labels, number, voxels == segment.value, chosen)
    if (marked & (labels == 0)).any():
        raise CaseError(f"{file.path}: holds voxels of no segment that its header describes; save it again")
    return np.ascontiguousarray(grid.to_canonical(labels))


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
