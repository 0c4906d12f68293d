"""Masks and maps out, on the input's own grid, and masks back in with their true slice positions."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ctseg.arguments import a_path, several, whole_number
from ctseg.errors import CaseError, UnreadableError
from ctseg.files import read_json_beside, write_json, write_with
from ctseg.io.dicom.enhanced import is_object
from ctseg.io.dicom.rtstruct import NO_GRID, is_rtstruct
from ctseg.io.drawn import slice_names
from ctseg.io.extent import check_voxels
from ctseg.io.grid import Geometry, affine_from_volume, is_uneven, native_grid, slice_step_mm, tilt_deg
from ctseg.io.kinds import ITK, kind_of
from ctseg.io.mask_files import mask_case
from ctseg.io.nifti.file import guarded, open_nifti, place
from ctseg.io.nifti.labels import read_labels, read_layers
from ctseg.io.nifti.slicer import is_part
from ctseg.io.placing import placed
from ctseg.io.seg_masks import load_seg
from ctseg.io.source import Source
from ctseg.io.volume import Array, NativeGrid, Volume

SIDECAR_SCHEMA = "ctseg-geometry/1"

NIFTI_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)

FORM_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip

SAME_MM = 1e-3
"""A grid whose affine puts its corners this close to the true positions needs no sidecar."""

UNSHEARED_DEG = 0.01
"""Up to this tilt a quaternion holds the affine, so the qform is written too."""


def save_mask(path: Path, volume: Volume, mask: NDArray[Any]) -> None:
    """Write a mask (K, H, W) as uint8 NIfTI on the grid that `volume` was read from, atomically.

    A volume from DICOM also gets the sidecar `CASE.json` beside `CASE.nii.gz` with its true slice positions and
    SOPInstanceUIDs, as does a NIfTI whose header gave no orientation. The sidecar is there before the mask.
    """
    _save(Path(path), volume, np.asarray(mask), np.uint8)


def save_map(path: Path, volume: Volume, values: NDArray[Any]) -> None:
    """Write probabilities or HU (K, H, W) as float32 NIfTI on the grid that `volume` was read from, atomically."""
    _save(Path(path), volume, np.asarray(values), np.float32)


def sidecar_path(path: Path) -> Path:
    """Where the geometry of a NIfTI file is written: `CASE.json` beside `CASE.nii.gz`."""
    return Path(path).with_name(NIFTI_SUFFIX.sub("", Path(path).name) + ".json")


def _save(path: Path, volume: Volume, canonical: Array, dtype: type[np.generic]) -> None:
    if canonical.shape != volume.voxels.shape:
        raise ValueError(f"mask or map {canonical.shape} does not fit the volume {volume.voxels.shape}")
    native = native_grid(volume).to_native(canonical).astype(dtype)  # as it lies in memory, which is how it is written
    image = _image(volume, native)
    if dtype is np.uint8:
        image.header.set_intent("label")  # viewers then show values as labels, not as a map
    if not _affine_is_true(volume):
        write_json(sidecar_path(path), _sidecar(volume))
    write_with(path, lambda temporary: nib.save(image, temporary))


def _image(volume: Volume, native: Array) -> Any:
    """A NIfTI image with the input's sform and qform, or for DICOM with the true affine in the sform.

    A quaternion cannot hold shear: a tilted series gets qform code 0, so that readers take the sform, and as its third
    zoom the distance along the normal, so that readers who multiply zooms get the right volume.
    """
    source = native_grid(volume).header
    kind: type[Any] = nib.Nifti2Image if isinstance(source, nib.Nifti2Header) else nib.Nifti1Image
    affine = affine_from_volume(volume) if source is None else source.get_best_affine()
    image = kind(native, affine)
    if source is None:
        _set_forms(image, affine, tilt_deg(volume.origins_mm, volume.normal) < UNSHEARED_DEG)
    else:
        _copy_forms(image, source)
    return image


def _copy_forms(image: Any, source: Any) -> None:
    """The source's geometry fields as they are, bit by bit."""
    for name in FORM_FIELDS:
        image.header[name] = source[name]
    image.header["pixdim"][:4] = source["pixdim"][:4]


def _set_forms(image: Any, affine: NDArray[np.float64], unsheared: bool) -> None:
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1 if unsheared else 0, update_affine=False)
    image.set_sform(affine, code=1, update_affine=False)
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    image.header["pixdim"][1:4] = [lengths[0], lengths[1], abs(np.linalg.det(columns)) / (lengths[0] * lengths[1])]


def _affine_is_true(volume: Volume) -> bool:
    """Whether the NIfTI affine alone tells where the canonical voxels lie."""
    grid = native_grid(volume)
    if grid.affine is None:
        return False
    placed = place(grid.affine, grid.shape, grid.header)[1]
    return all(
        one.shape == other.shape and np.allclose(one, other, atol=SAME_MM)
        for one, other in (
            (placed.origins_mm, volume.origins_mm),
            (placed.row_step_mm, volume.row_step_mm),
            (placed.col_step_mm, volume.col_step_mm),
        )
    )


def _sidecar(volume: Volume) -> dict[str, Any]:
    """True positions (LPS mm), slices in the order of canonical axis 0; no identity.

    DICOM slices are named by their SOPInstanceUIDs, as in published labels, and frames of an enhanced object by its
    UID and their numbers.
    """
    grid = native_grid(volume)
    return {
        "schema": SIDECAR_SCHEMA,
        "domain": volume.domain,
        "axes": list(grid.axes),
        "flips": list(grid.flips),
        "origins_mm": _rounded(volume.origins_mm),
        "row_step_mm": _rounded(volume.row_step_mm),
        "col_step_mm": _rounded(volume.col_step_mm),
        "z_mm": _rounded(volume.z_mm),
        "slab_mm": _rounded(volume.slab_mm),
        "uneven": is_uneven(volume.origins_mm),
        "tilt_deg": round(tilt_deg(volume.origins_mm, volume.normal), 3),
        **_named(volume),
    }


def _named(volume: Volume) -> dict[str, Any]:
    """The names of a DICOM scan's slices, of frames as far as they are in order; nothing of other scans."""
    if not is_object(volume.frames):
        return {"slice_ids": list(volume.slice_ids)} if volume.frames else {}
    is_stack = native_grid(volume).axes[0] == 2
    return {"frames": [list(name) for name in slice_names(volume)]} if is_stack else {}


def _rounded(values: NDArray[np.float64]) -> Any:
    return np.round(values, 7).tolist()


def is_outlines(path: Path) -> bool:
    """Whether a mask is an RT structure set, which `ctseg.io.outlines` puts on its scan."""
    return kind_of(path.name).what == "dicom" and is_rtstruct(Source(str(path)))


def load_mask(path: Path, chosen: Collection[int] = ()) -> tuple[NDArray[np.uint8], Volume]:
    """Read a mask (K, H, W) on canonical axes, and a volume with its geometry (the mask as voxels).

    Where the sidecar lies beside it, positions come from there, so that `slab_mm` and mL are those of the scan.

    Args:
        path: NIfTI, NRRD (3D Slicer's segmentations, too), MetaImage or DICOM SEG; of the last, slices that it does
            not hold are missing, see `ctseg.io.seg_masks`.
        chosen: label values that are seen where segments overlap, see `ctseg.io.nifti.slicer`; empty for all.

    Raises:
        CaseError: if the file is missing, broken, no mask, has voxels of an impossible size, or does not fit its
            sidecar.
        InputError: if it is no path, or `chosen` no whole numbers.
    """
    path = a_path(path, "load_mask: path")
    values = several(chosen, object, "load_mask: chosen", "label values")
    chosen = [whole_number(value, "load_mask: chosen", 0) for value in values]
    if not path.is_file():
        raise CaseError(f"{path}: no such file")
    if kind_of(path.name).what == "dicom":
        if is_outlines(path):
            raise CaseError(f"{path}: {NO_GRID}")
        return load_seg(path, chosen, mask_case(path.name))
    file = open_nifti(path, layered=True)
    grid, geometry = place(file.affine, file.shape, file.header)
    domain, thickness = "ct", slice_step_mm(file.affine, grid.axes) if file.shape[grid.axes[0]] == 1 else None
    sidecar = _read_sidecar(path)
    if sidecar is not None:
        grid, geometry, domain, thickness = _from_sidecar(sidecar, grid, path)
    is_layered = path.name.lower().endswith(ITK) and len(file.image.shape) > 3
    mask = read_layers(file, grid, chosen) if is_layered else read_labels(file, grid)
    name = mask_case(path.name)
    volume = Volume(
        voxels=mask.astype(np.float32),
        origins_mm=geometry.origins_mm,
        row_step_mm=geometry.row_step_mm,
        col_step_mm=geometry.col_step_mm,
        domain=domain,
        case_id=name,
        patient_id=name,
        native=grid,
        thickness_mm=thickness,
    )
    return mask, check_voxels(volume)


def scan_labels(path: Path, scan: Volume) -> NDArray[np.uint8]:
    """Label values (K, H, W) of a file that lies beside its scan; 3D Slicer's may hold a part of the grid.

    Raises:
        CaseError: if the file is broken, on another grid, or holds anything but label values.
    """
    file, grid = open_nifti(path), native_grid(scan)
    if file.shape == grid.shape or not is_part(path):
        return read_labels(file, grid)
    labels, place = load_mask(path)
    return guarded(path, lambda: placed(labels, place, scan))


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    """The sidecar of a mask; None where there is none or the JSON beside it is of another schema."""
    try:
        data = read_json_beside(sidecar_path(path))
    except UnreadableError as error:
        raise CaseError(str(error)) from None
    return data if isinstance(data, dict) and data.get("schema") == SIDECAR_SCHEMA else None


def _from_sidecar(
    sidecar: dict[str, Any], grid: NativeGrid, path: Path
) -> tuple[NativeGrid, Geometry, str, float | None]:
    try:
        origins = np.array(sidecar["origins_mm"], dtype=float)
        steps = [np.array(sidecar[name], dtype=float) for name in ("row_step_mm", "col_step_mm")]
        axes, flips = tuple(sidecar["axes"]), tuple(sidecar["flips"])
        slabs, domain = list(sidecar["slab_mm"]), str(sidecar["domain"])
        fits = origins.shape == (grid.shape[axes[0]], 3) and sorted(axes) == [0, 1, 2] and len(flips) == 3
    except (KeyError, TypeError, ValueError, IndexError):
        fits = False
    if not fits:
        raise CaseError(f"{sidecar_path(path)}: does not describe {path.name}; write both again or remove it")
    turned = NativeGrid(axes, flips, grid.shape, grid.affine, grid.header)
    return turned, Geometry(origins, steps[0], steps[1]), domain, float(slabs[0]) if len(slabs) == 1 else None
