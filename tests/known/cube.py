"""A head with a bright cube at a known place in mm, written in every form that is read."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

CENTRE_LPS = np.array([21.0, -18.0, 12.0])
"""On the patient's left, in front, towards the head."""
HALF_MM = np.array([9.0, 7.0, 8.0])
BRAIN_MM = np.array([46.0, 54.0, 50.0])
SHAPE, SPACING = (40, 36, 30), (3.0, 3.5, 4.0)
"""Columns, rows, slices, and their distances: all different, so that no two axes can be taken for each other."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "feet first": ((-1, 0, 0), (0, 1, 0)),
    "feet first, prone": ((1, 0, 0), (0, -1, 0)),
    "lying on the right": ((0, -1, 0), (1, 0, 0)),
    "lying on the left": ((0, 1, 0), (-1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "oblique": ((0.98, 0.17, 0.1), (-0.17, 0.97, 0.17)),
}
"""Directions of growing columns and of growing rows."""
SYNTAXES = {
    "implicit": ImplicitVRLittleEndian, "explicit": ExplicitVRLittleEndian, "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian, "RLE": RLELossless, "JPEG 2000": JPEG2000Lossless,
    "JPEG-LS": JPEGLSLossless,
}  # fmt: skip


def hu(points_lps: np.ndarray) -> np.ndarray:
    """(..., 3) LPS mm -> HU of air, brain and the cube."""
    inside = ((points_lps / BRAIN_MM) ** 2).sum(axis=-1) <= 1
    cube = (np.abs(points_lps - CENTRE_LPS) <= HALF_MM).all(axis=-1)
    texture = np.round(3 * np.sin(points_lps[..., 0] / 7) * np.cos(points_lps[..., 1] / 5))
    return np.where(cube, 80.0, np.where(inside, 30.0, -1000.0)) + texture


def sample(affine_ras: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """HU (i, j, k) of a grid by its RAS affine."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    lps = (LPS_TO_RAS @ affine_ras) @ np.concatenate([index, np.ones((*shape, 1))], axis=-1)[..., None]
    return hu(lps[..., :3, 0])


def affine_of(codes: str) -> np.ndarray:
    """A RAS affine whose axes point the way the codes say, around the head's middle."""
    turn = nib.orientations.axcodes2ornt(tuple(codes))
    affine = np.eye(4)
    for axis, (target, sign) in enumerate(turn):
        affine[:3, axis] = 0
        affine[int(target), axis] = sign * SPACING[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def nifti(path: Path, codes: str = "LAS", kind: type = nib.Nifti1Image, forms: tuple[int, int] = (1, 1)) -> Path:
    """A NIfTI file of an orientation, with sform and qform codes."""
    affine = affine_of(codes)
    image = kind(sample(affine, SHAPE).astype(np.int16), affine)
    image.set_sform(affine if forms[0] else None, code=forms[0])
    image.set_qform(affine if forms[1] else None, code=forms[1])
    nib.save(image, path)
    return path


def itk(path: Path, codes: str = "LPI", compressed: bool = False) -> Path:
    """NRRD or MetaImage by SimpleITK, which states directions in LPS."""
    affine = affine_of(codes)
    image = sitk.GetImageFromArray(sample(affine, SHAPE).astype(np.int16).T)
    lps = LPS_TO_RAS @ affine
    image.SetSpacing(SPACING)
    image.SetOrigin(lps[:3, 3])
    image.SetDirection((lps[:3, :3] / np.array(SPACING)).ravel())
    sitk.WriteImage(image, str(path), compressed)
    return path


def series(folder: Path, axes: str = "axial", steps_mm: np.ndarray | None = None, tilt_deg: float = 0.0) -> Path:
    """A series of single slices; slices follow along the normal, or along the table where the gantry is tilted."""
    folder.mkdir(parents=True)
    along, down = (np.array(axis, float) / np.linalg.norm(axis) for axis in AXES[axes])
    down = np.array([0.0, np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))]) if tilt_deg else down
    down = down - (down @ along) * along
    down /= np.linalg.norm(down)
    normal = np.array([0.0, 0.0, 1.0]) if tilt_deg else np.cross(along, down)
    steps = np.full(SHAPE[2] - 1, SPACING[2]) if steps_mm is None else steps_mm
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    corner = -(SHAPE[0] - 1) / 2 * SPACING[0] * along - (SHAPE[1] - 1) / 2 * SPACING[1] * down
    study, name, place = (generate_uid() for _ in range(3))
    for number, height in enumerate(heights - heights.mean()):
        origin = corner + height * normal
        columns, rows = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]))
        points = origin + columns[..., None] * SPACING[0] * along + rows[..., None] * SPACING[1] * down
        dataset = slice_header(origin, along, down, hu(points))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, name, place
        dataset.InstanceNumber = number + 1
        dataset.save_as(folder / f"{(number * 7) % len(heights):03d}.dcm", enforce_file_format=True)
    return folder


def slice_header(origin: np.ndarray, along: np.ndarray, down: np.ndarray, plane: np.ndarray) -> Dataset:
    """One CT slice with its pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Cube", "cube", "", ""
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20200102", "101112", "", ""
    dataset.ReferringPhysicianName, dataset.SeriesNumber, dataset.AcquisitionNumber = "", 2, 1
    dataset.Manufacturer, dataset.PositionReferenceIndicator, dataset.SeriesDate = "", "", "20200102"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelSpacing, dataset.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    dataset.ImagePositionPatient = [round(float(x), 6) for x in origin]
    dataset.ImageOrientationPatient = [round(float(x), 9) for x in (*along, *down)]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "HU"
    dataset.PixelData = plane.astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def encoded(folder: Path, syntax: str) -> Path:
    """The axial series in another transfer syntax."""
    wanted = SYNTAXES[syntax]
    for file in series(folder).iterdir():
        dataset = pydicom.dcmread(file)
        if wanted.is_compressed and wanted != DeflatedExplicitVRLittleEndian:
            dataset.compress(wanted, generate_instance_uid=False)
        elif wanted == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = wanted
        pydicom.dcmwrite(
            file, dataset, implicit_vr=wanted.is_implicit_VR, little_endian=wanted.is_little_endian,
            enforce_file_format=False, force_encoding=True,
        )  # fmt: skip
    return folder


def zipped(path: Path) -> Path:
    """The axial series in a zip, its members in folders and in no order."""
    folder = series(path.parent / "unzipped")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(sorted(folder.iterdir(), reverse=True)):
            archive.write(file, f"{number % 3}/{file.name}")
    shutil.rmtree(folder)
    return path


def gzipped(folder: Path) -> Path:
    """The axial series, each file compressed by gzip."""
    for file in list(series(folder).iterdir()):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
        file.unlink()
    return folder


def multiframe(path: Path) -> Path:
    """The axial series as one enhanced object."""
    slices = [pydicom.dcmread(file) for file in sorted(series(path.parent / "single").iterdir())]
    made = LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1)
    made.save_as(path)
    shutil.rmtree(path.parent / "single")
    return path


def uneven() -> np.ndarray:
    """Slice steps of 2.5 and 5 mm."""
    return np.where(np.arange(SHAPE[2] - 1) < 12, 5.0, 2.5)


KINDS: dict[str, Callable[[Path], Path]] = {
    **{f"DICOM {axes}": lambda place, axes=axes: series(place / "s", axes) for axes in AXES},
    "DICOM tilted": lambda place: series(place / "s", tilt_deg=18.0),
    "DICOM tilted back": lambda place: series(place / "s", tilt_deg=-22.0),
    "DICOM uneven": lambda place: series(place / "s", steps_mm=uneven()),
    "DICOM zip": lambda place: zipped(place / "s.zip"),
    "DICOM gz": lambda place: gzipped(place / "s"),
    "NIfTI": lambda place: nifti(place / "s.nii.gz"),
    "NIfTI sform": lambda place: nifti(place / "s.nii", "PIR", forms=(1, 0)),
    "NIfTI qform": lambda place: nifti(place / "s.nii", "SRA", forms=(0, 1)),
    "NIfTI-2": lambda place: nifti(place / "s.nii.gz", "RPS", nib.Nifti2Image),
    "NIfTI pair": lambda place: nifti(place / "s.img", "ASL", nib.Nifti1Pair).with_suffix(".hdr"),
    "NRRD": lambda place: itk(place / "s.nrrd"),
    "NRRD gzip": lambda place: itk(place / "s.nrrd", "PIR", True),
    "NRRD detached": lambda place: itk(place / "s.nhdr", "RAI"),
    "MetaImage": lambda place: itk(place / "s.mha", "ARS"),
    "MetaImage zlib": lambda place: itk(place / "s.mha", "SLP", True),
    "MetaImage detached": lambda place: itk(place / "s.mhd", "IPR"),
}
