"""Pseudo-CT as HU volumes, one NIfTI file a scan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ctseg.errors import InputError
from ctseg.files import write_with
from ctseg.io.slice_table import scan_files
from ctseg.io.slices import SliceSet, brain_hu_of
from ctseg.synthesis.translate import ct_intensity, translated

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import nn

    from ctseg.progress import ProgressCallback
    from ctseg.runs import ModelHeader

AIR_HU = -1024
"""What lies outside the brain: slice sets hold 0 there, which is no HU value."""
ONE_SLICE_MM = 1.0
"""Step in the file of a scan of one slice, whose thickness a slice set does not have."""
MASK = "_mask"
"""What the name of a mask's file has behind its scan's."""


def translate_nifti(
    generator: nn.Module,
    source: SliceSet,
    folder: Path,
    *,
    header: ModelHeader,
    fabric: Fabric,
    batch_size: int = 16,
    progress: ProgressCallback | None = None,
) -> list[str]:
    """Write `CASE.nii.gz` (int16 HU, air outside the brain) and `CASE_mask.nii.gz` for every scan of the source.

    A slice set has no thickness, so a scan of one slice is written as if it were `ONE_SLICE_MM` thick.

    A generator that was trained on CT with `brain_hu` makes HU of heads whose median brain is that; the file says so in
    its header's description.

    The grid is the slice set's own: square pixels of fov/size mm, slices at their `z_mm`; array axes run to the
    patient's left, back and head. In-plane the origin is the slice's corner, which a slice set does not place.

    Returns:
        The names of the scans of one slice.

    Raises:
        InputError: if a scan's slices are not evenly spaced, which one NIfTI affine cannot say, if they have no
            positions, if two volumes would be written to one file, or if the header lacks what its CT slices were.
    """
    intensity = ct_intensity(header)
    pixel_mm = float(source.info["settings"]["fov_mm"]) / source.size[0]
    scans = {}
    for name, table in source.table.groupby(scan_files(source.table), sort=False):
        rows = table.sort_values("z_mm").index.to_numpy()
        where = f"{source.folder}, scan {name}"
        scans[str(name)] = rows, series_affine(table.loc[rows, "z_mm"].to_numpy(float), pixel_mm, where)
    _check_names(scans, source)
    made = np.concatenate(
        [images for _, images in translated(generator, source, fabric=fabric, batch_size=batch_size, progress=progress)]
    )
    for name, (rows, affine) in scans.items():
        _save(folder / f"{name}.nii.gz", to_hu(made[rows], intensity), affine, relative_to(intensity))
        if source.masks is not None:
            _save(folder / f"{name}{MASK}.nii.gz", np.asarray(source.masks[rows]), affine)
    return [name for name, (rows, _) in scans.items() if len(rows) == 1]


def _check_names(scans: Collection[str], source: SliceSet) -> None:
    """Raise an InputError where two volumes would share a file, also on a disk that ignores upper and lower case."""
    kinds = ("", MASK) if source.masks is not None else ("",)
    taken: dict[str, str] = {}
    for name in scans:
        for kind in kinds:
            file = f"{name}{kind}.nii.gz"
            other = taken.setdefault(file.casefold(), name)
            if other != name:
                raise InputError(
                    f"{source.folder}: scans {other!r} and {name!r} would share the file {file}; "
                    "rename one of them in slices.csv"
                )


def relative_to(intensity: Mapping[str, Any]) -> str:
    """What HU of pseudo-CT are relative to, in a line; empty where they are as scanned."""
    brain = brain_hu_of(intensity)
    return "" if brain is None else f"HU of heads whose median brain is moved to {brain:g} HU"


def to_hu(images: NDArray[np.uint8], intensity: Mapping[str, Any]) -> NDArray[np.int16]:
    """uint8 = a * HU + b turned round, (K, H, W); background 0 becomes air."""
    hu: NDArray[np.int16] = np.rint((images.astype(np.float32) - intensity["b"]) / intensity["a"]).astype(np.int16)
    hu[images == 0] = AIR_HU
    return hu


def series_affine(z_mm: NDArray[np.float64], pixel_mm: float, where: str) -> NDArray[np.float64]:
    """RAS affine of (column, row, slice) voxels: columns to the left, rows to the back, slices to the head.

    Raises:
        InputError: if the steps differ by more than a hundredth of a millimetre, or are 0.
    """
    steps = np.diff(z_mm)
    if len(steps) and not steps.any():
        raise InputError(f"{where}: its slices have no positions, so they are no volume; use --format slices")
    if len(steps) and np.ptp(steps) > 0.01:
        raise InputError(f"{where}: uneven slice steps do not fit a NIfTI file; use --format slices")
    step = float(steps[0]) if len(steps) else ONE_SLICE_MM
    affine = np.diag([-pixel_mm, -pixel_mm, step, 1.0])
    affine[2, 3] = z_mm[0]
    return affine


def _save(path: Path, stack: NDArray[Any], affine: NDArray[np.float64], description: str = "") -> None:
    """(K, H, W) -> a NIfTI file in (column, row, slice) order."""
    image = nib.Nifti1Image(np.ascontiguousarray(np.transpose(stack, (2, 1, 0))), affine)
    image.header["descrip"] = description
    image.header.set_xyzt_units("mm")
    write_with(path, lambda temporary: nib.save(image, temporary))
