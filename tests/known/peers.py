"""What other readers make of the same files, and whether it is what ctseg reads."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray

from ctseg.io.case import Case
from ctseg.io.dicom.enhanced import is_object
from ctseg.io.grid import affine_from_volume, is_uneven, native_grid, tilt_deg
from ctseg.io.volume import Volume

SAME_HU = 1e-3
SAME_SHARE = 1e-5
"""Of the largest value: peers hold slope and intercept as float32."""
SAME_MM = 0.02
PADDING_HU = -1024.0
TIMEOUT_S = 600

Vector = NDArray[np.float64]
sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True)
class Verdict:
    """How a peer's reading compares."""

    kind: str
    """'same', 'differs', 'not read' (by the peer), or 'cannot say' (its file format holds no tilt or uneven steps)."""
    what: str = ""
    """'values', 'positions' or 'shape' where it differs."""
    detail: str = ""

    def __str__(self) -> str:
        return self.kind if not self.what else f"{self.kind} ({self.what}: {self.detail})"


SAME, NOT_READ = Verdict("same"), Verdict("not read")


@dataclass(frozen=True)
class Programs:
    """The peers that are programs of their own; None where they are not there."""

    dcm2niix: Path | None
    dicom2nifti: Path | None
    versions: dict[str, str]


def find_programs(folder: Path) -> Programs:
    """dcm2niix and dicom2nifti in a folder of programs, with the versions of all peers."""
    niix, nifti = (folder / name if (folder / name).exists() else None for name in ("dcm2niix", "dicom2nifti"))
    versions = {name: version(name) for name in ("SimpleITK", "nibabel", "pydicom")}
    if niix:
        out = subprocess.run([niix, "--version"], capture_output=True, text=True, check=False).stdout.split()
        versions["dcm2niix"] = out[-1] if out else "unknown"
    if nifti:
        asked = "from importlib.metadata import version; print(version('dicom2nifti'))"
        done = subprocess.run([folder / "python", "-c", asked], capture_output=True, text=True, check=False)
        versions["dicom2nifti"] = done.stdout.strip() or "unknown"
    return Programs(niix, nifti, versions)


def corner(volume: Volume, i: int, j: int, k: int) -> Vector:
    """(3,) LPS mm of a voxel of the native grid (columns, rows, slices)."""
    grid = native_grid(volume)
    native = (i, j, k)
    at = [
        grid.shape[axis] - 1 - native[axis] if flip else native[axis]
        for axis, flip in zip(grid.axes, grid.flips, strict=True)
    ]
    return volume.origins_mm[at[0]] + at[1] * volume.row_step_mm + at[2] * volume.col_step_mm


def different_values(ours: NDArray[np.float32], theirs: NDArray[np.float64], domain: str) -> Verdict:
    """Same or not, with the largest difference; for CT nothing is below air."""
    theirs = np.nan_to_num(np.asarray(theirs, float), nan=np.nanmin(theirs))
    if domain == "ct":
        ours, theirs = np.maximum(ours, PADDING_HU), np.maximum(theirs, PADDING_HU)
    off = np.abs(ours.astype(float) - theirs)
    limit = max(SAME_HU, SAME_SHARE * float(np.abs(theirs).max()))
    count = int((off > limit).sum())
    return SAME if not count else Verdict("differs", "values", f"{count} voxels, by up to {off.max():g}")


def slice_by_slice(volume: Volume, case: Case) -> Verdict:
    """Every slice beside GDCM's reading of the same file: values, position of three corners, hence orientation."""
    headers = ((pydicom.dcmread(file, stop_before_pixels=True, force=True), file) for file in case.files)
    files = {str(header.get("SOPInstanceUID", "")): file for header, file in headers}
    native = native_grid(volume).to_native(volume.voxels)
    if is_object(volume.frames):
        return NOT_READ
    for k, frame in enumerate(volume.frames):
        file = files.get(str(frame.get("SOPInstanceUID", "")))  # not in a zip or a gzip file
        image = read_itk(file) if file else None
        if image is None:
            return NOT_READ
        theirs = sitk.GetArrayFromImage(image)
        columns, rows = native.shape[:2]
        if theirs.shape != (1, rows, columns):
            return Verdict("differs", "shape", f"{theirs.shape} and {(1, rows, columns)}")
        found = different_values(native[:, :, k].T, theirs[0], volume.domain)
        if found != SAME:
            return found
        for i, j in ((0, 0), (columns - 1, 0), (0, rows - 1)):
            theirs_mm = np.array(image.TransformIndexToPhysicalPoint((i, j, 0)))
            off = float(np.abs(theirs_mm - corner(volume, i, j, k)).max())
            if off > SAME_MM:
                return Verdict("differs", "positions", f"{off:.2f} mm in slice {k + 1}")
    return SAME


def read_itk(file: Path) -> sitk.Image | None:
    """An image by SimpleITK; None where it reads none."""
    try:
        return sitk.ReadImage(str(file))
    except RuntimeError:
        return None


def volume_by_itk(volume: Volume, case: Case) -> Verdict:
    """A NIfTI, NRRD or MetaImage volume beside SimpleITK."""
    image = read_itk(case.files[0])
    if image is None or image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        return NOT_READ
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return same_grids(volume, sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def by_nibabel(volume: Volume, case: Case) -> Verdict:
    """A NIfTI file beside what nibabel makes of it."""
    try:
        image = nib.load(case.files[0])
        values = np.asarray(image.dataobj)
    except Exception:  # whatever a broken file raises: then there is nothing to compare with
        return NOT_READ
    if values.ndim > 3 and values.size == np.prod(values.shape[:3]):
        values = values.reshape(values.shape[:3])
    return same_grids(volume, values, image.affine) if values.ndim == 3 else NOT_READ


def same_grids(volume: Volume, values: NDArray[np.float64], affine: Vector) -> Verdict:
    """A volume beside an array (i, j, k) with an RAS affine, both turned to the nearest axes."""
    ours = nib.Nifti1Image(np.asarray(native_grid(volume).to_native(volume.voxels)), affine_from_volume(volume))
    theirs = nib.Nifti1Image(np.asarray(values, dtype=np.float64), affine)
    one, other = nib.as_closest_canonical(ours), nib.as_closest_canonical(theirs)
    if one.shape != other.shape:
        return Verdict("differs", "shape", f"{'x'.join(map(str, one.shape))} and {'x'.join(map(str, other.shape))}")
    found = different_values(np.asarray(one.dataobj), np.asarray(other.dataobj), volume.domain)
    last = np.array(one.shape) - 1
    ends = np.diag([*last, 0.0]) + np.array([0.0, 0.0, 0.0, 1.0])
    off = float(np.abs((one.affine - other.affine) @ ends.T).max())
    if found != SAME or off <= SAME_MM:
        return found
    bent = is_uneven(volume.origins_mm) or tilt_deg(volume.origins_mm, volume.normal) > 0.01
    return Verdict("cannot say" if bent else "differs", "positions", f"{off:.2f} mm")


def same_volumes(one: Volume, other: Volume) -> Verdict:
    """Two readings by ctseg: every number the same."""
    if one.voxels.shape != other.voxels.shape:
        return Verdict("differs", "shape", f"{one.voxels.shape} and {other.voxels.shape}")
    if not np.array_equal(one.voxels, other.voxels):
        return Verdict("differs", "values", "between two readings")
    names = ("origins_mm", "row_step_mm", "col_step_mm")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    return SAME if same else Verdict("differs", "positions", "between two readings")


def converted(volume: Volume, case: Case, place: Path, programs: Programs) -> dict[str, Verdict]:
    """The series beside what the converters write of exactly its files."""
    source = place / "in"
    source.mkdir()
    for number, file in enumerate(case.files):
        (source / f"{number:04d}.dcm").symlink_to(file)
    verdicts = {}
    if programs.dcm2niix:
        command = [programs.dcm2niix, "-z", "n", "-b", "n", "-f", "scan_%s", "-o", "OUT", source]
        verdicts["dcm2niix"] = by_converter(volume, command, place / "niix")
    if programs.dicom2nifti:
        command = [programs.dicom2nifti, "-G", "-I", "-S", "-C", "-R", source, "OUT"]
        verdicts["dicom2nifti"] = by_converter(volume, command, place / "nifti")
    return verdicts


def by_converter(volume: Volume, command: Sequence[Path | str], out: Path) -> Verdict:
    """The best of the files that a converter writes: beside the true one it may write resampled ones."""
    out.mkdir()
    try:
        call = [out if part == "OUT" else part for part in command]
        subprocess.run(call, capture_output=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return NOT_READ
    found = []
    for file in sorted(out.glob("*.nii")):
        image = nib.load(file)
        values = np.asarray(image.dataobj)
        if values.ndim == 4 and values.shape[3] == 1:
            values = values[..., 0]
        found.append(same_grids(volume, values, image.affine) if values.ndim == 3 else
                     Verdict("differs", "shape", f"{'x'.join(map(str, values.shape))}"))  # fmt: skip
    order = {"same": 0, "cannot say": 1, "differs": 2}
    wrong = {"": 0, "positions": 1, "values": 2, "shape": 3}
    return min(found, key=lambda item: (order[item.kind], wrong[item.what])) if found else NOT_READ
