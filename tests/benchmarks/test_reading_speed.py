"""Reading a DICOM series: ctseg beside bare pydicom and SimpleITK, on the same files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import pytest
import SimpleITK
from interleaved import Row, least_seconds
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ctseg.io.dicom.reader import read_series

SLICES, SIDE, STEP_MM = 28, 512, 5.0


def write_series(folder: Path, hu: NDArray[np.float32], pixel_mm: float = 0.45) -> list[Path]:
    """One file a slice of (K, H, W) HU, from feet to head, as scanners write them."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = []
    for k, plane in enumerate(hu):
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = CTImageStorage
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = study, series, frame
        made.Modality, made.ImageType, made.PatientID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "benchmark"
        made.PatientName, made.PatientBirthDate, made.PatientSex = "B^", "", ""
        made.InstanceNumber, made.AcquisitionNumber, made.SliceThickness = k + 1, 1, STEP_MM
        made.StudyDate = made.StudyTime = made.AccessionNumber = made.StudyID = made.ReferringPhysicianName = ""
        made.Rows, made.Columns = plane.shape
        made.PixelSpacing, made.ImagePositionPatient = [pixel_mm, pixel_mm], [0.0, 0.0, STEP_MM * k]
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated = made.BitsStored = 16
        made.HighBit, made.PixelRepresentation, made.RescaleSlope, made.RescaleIntercept = 15, 0, 1, -1024
        made.PixelData = (np.clip(plane, -1024, 3000) + 1024).astype("<u2").tobytes()
        files.append(folder / f"{k:03d}.dcm")
        made.save_as(files[-1], enforce_file_format=True)
    return files


def head(slices: int = SLICES, side: int = SIDE) -> NDArray[np.float32]:
    """A ball of brain in bone and air, (K, H, W) whole HU."""
    z_mm, mm = np.arange(slices) * STEP_MM, 230 / side
    place = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2) * mm)
    across = np.sqrt(np.maximum(0, 78.0**2 - (z_mm - 70) ** 2))[:, None, None]
    noise = np.random.default_rng(0).normal(0, 4, (slices, side, side))
    return np.rint(np.where(place < across, 32.0, np.where(place < across + 8, 900.0, -1000.0)) + noise).astype("f4")


def bare_pydicom(files: list[Path]) -> NDArray[np.uint16]:
    """Stored values, in the order of the files; no positions, no HU."""
    return np.stack([pydicom.dcmread(file).pixel_array for file in files])


def simple_itk(files: list[Path]) -> NDArray[np.float32]:
    """HU."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    return SimpleITK.GetArrayFromImage(reader.Execute()).astype(np.float32)


def rows(slices: int = SLICES, side: int = SIDE) -> list[Row]:
    """All comparisons of this file."""
    with TemporaryDirectory() as folder:
        files = write_series(Path(folder), head(slices, side))
        ours = {"ctseg, HU checked": lambda: read_series(files).voxels}
        beside, found = least_seconds({**ours, "SimpleITK": lambda: simple_itk(files)})
        np.testing.assert_array_equal(*found.values())
        bare, _ = least_seconds({**ours, "pydicom, pixels alone": lambda: bare_pydicom(files)})
    what = f"read a series of {slices} slices of {side} x {side}"
    return [Row(what, beside, "the same HU"), Row(what, bare, "stored values, unordered")]


@pytest.mark.slow
def test_the_same_hu_as_simple_itk() -> None:
    assert all(row.ratio > 0 for row in rows(5, 128))
