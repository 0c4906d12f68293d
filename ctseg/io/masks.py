"""Masks and maps out, on the input's own grid, and masks back in with their true slice positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ctseg.files import write_json, write_with
from ctseg.io.grid import affine_from_volume, is_uneven, native_grid, tilt_deg
from ctseg.io.volume import Array, Volume

SIDECAR_SCHEMA = "ctseg-geometry/1"


def save_mask(path: Path, volume: Volume, mask: NDArray[Any]) -> None:
    """Write a mask (K, H, W) as uint8 NIfTI on the grid that `volume` was read from, atomically.

    A volume from DICOM also gets the sidecar `CASE.json` beside `CASE.nii.gz` (see `sidecar_path`).
    """
    _save(Path(path), volume, np.asarray(mask), np.uint8)


def save_map(path: Path, volume: Volume, values: NDArray[Any]) -> None:
    """Write probabilities or HU (K, H, W) as float32 NIfTI on the grid that `volume` was read from, atomically."""
    _save(Path(path), volume, np.asarray(values), np.float32)


def sidecar_path(path: Path) -> Path:
    """Where the geometry of a NIfTI file is written: `CASE.json` beside `CASE.nii.gz`."""
    name = Path(path).name
    return Path(path).with_name(name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _save(path: Path, volume: Volume, canonical: Array, dtype: type[np.generic]) -> None:
    if canonical.shape != volume.voxels.shape:
        raise ValueError(f"mask or map {canonical.shape} does not fit the volume {volume.voxels.shape}")
    native = np.ascontiguousarray(native_grid(volume).to_native(canonical).astype(dtype))
    image = _image(volume, native)
    write_with(path, lambda temporary: nib.save(image, temporary))
    if native_grid(volume).affine is None:
        write_json(sidecar_path(path), _sidecar(volume))


def _image(volume: Volume, native: Array) -> Any:
    """A NIfTI image with the input's sform and qform, or for DICOM with the true affine in the sform.

    A quaternion cannot hold shear: for DICOM the qform is nibabel's nearest one without shear and its code is 0, so that readers take
    the sform.
    """
    affine = affine_from_volume(volume)
    source = native_grid(volume).header
    kind = nib.Nifti2Image if isinstance(source, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(native, affine)
    if source is None:
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=0, strip_shears=True)
    else:
        image.set_sform(source.get_sform(), code=int(source["sform_code"]))
        image.set_qform(source.get_qform(), code=int(source["qform_code"]), strip_shears=True)
    image.header.set_xyzt_units("mm")
    return image


def _sidecar(volume: Volume) -> dict[str, Any]:
    """True slice positions, slices in the order of canonical axis 0; no identity."""
    return {
        "schema": SIDECAR_SCHEMA,
        "origins_mm": np.round(volume.origins_mm, 6).tolist(),
        "z_mm": np.round(volume.z_mm, 6).tolist(),
        "slab_mm": np.round(volume.slab_mm, 6).tolist(),
        "uneven": is_uneven(volume),
        "tilt_deg": round(tilt_deg(volume), 3),
    }
