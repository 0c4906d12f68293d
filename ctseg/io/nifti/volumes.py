"""NIfTI in and out: volumes and masks on canonical axes, whatever the file's own axis order and flips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctseg.errors import CaseError
from ctseg.io.extent import check_voxels
from ctseg.io.grid import slice_step_mm
from ctseg.io.hu_check import check_hu
from ctseg.io.masks import load_mask, save_map, save_mask, sidecar_path
from ctseg.io.nifti.file import open_nifti, orientation_notes, place, read_voxels
from ctseg.io.nifti.header import intent_notes
from ctseg.io.nifti.unmeasured import as_air, finite, unmeasured
from ctseg.io.stack import about_single
from ctseg.io.volume import Volume

__all__ = ["load_mask", "read_nifti", "save_map", "save_mask", "sidecar_path"]


def read_nifti(
    path: Path, *, domain: str, case_id: str, channel: int | None = None, orientation: str | None = None
) -> Volume:
    """Read one scan.

    Args:
        path: `.nii` or `.nii.gz`.
        domain: 'ct' (checked to be HU) or 'mr'.
        case_id: name of the case; also its patient's.
        channel: which volume of a 4-D file.
        orientation: axis codes such as 'LPS' (the way each stored axis points) to assume where the header carries no
            orientation, that is where its affine is the identity or missing. By default such a header is taken at its
            word (the identity is RAS) and a note says so.

    Raises:
        CaseError: if the file is broken, has no usable geometry, voxels of an impossible size, or a CT has no HU.
    """
    file = open_nifti(Path(path))
    slope = getattr(file.image.dataobj, "slope", 1.0)  # nibabel takes it out of the header
    if domain == "ct" and slope < 0:
        raise CaseError(f"{path}: its scl_slope is {slope:g}, so air would be the brightest; write it again")
    grid, geometry = place(file.affine, file.shape, file.header, orientation)
    stored = read_voxels(file, channel)
    nothing = unmeasured(stored)
    native, notes = finite(stored, nothing, domain)
    voxels = np.ascontiguousarray(grid.to_canonical(native), dtype=np.float32)
    notes += [*file.notes, *intent_notes(file.header), *orientation_notes(file.header, file.affine, orientation)]
    thickness = slice_step_mm(file.affine, grid.axes)
    notes += about_single(len(voxels), thickness)
    keys = tuple(range(len(voxels)))[:: -1 if grid.flips[0] else 1]
    volume = Volume(
        voxels=voxels,
        origins_mm=geometry.origins_mm,
        row_step_mm=geometry.row_step_mm,
        col_step_mm=geometry.col_step_mm,
        domain=domain,
        case_id=case_id,
        patient_id=case_id,
        series_id=case_id,
        slice_ids=tuple(f"{case_id}_{key:03d}" for key in keys),
        slice_keys=keys,
        native=grid,
        notes=tuple(notes),
        thickness_mm=thickness if len(voxels) == 1 else None,
    )
    check_voxels(volume)
    return as_air(check_hu(volume), nothing) if domain == "ct" else volume
