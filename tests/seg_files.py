"""CT series of any geometry, and masks of them as DICOM SEG by highdicom and by dcmqi."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume

NAME = "Doe^Jane"
SHAPE = (19, 26)
"""Rows and columns: 494 pixels, so that frames of single bits begin within a byte."""
EVEN = [(-8.0, -9.0, 12.0 + 2.5 * k) for k in range(9)]
UNEVEN = [(-8.0, -9.0, z) for z in (0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0)]
TILTED = [(-8.0, -9.0 - 0.8 * k, 3.0 * k) for k in range(9)]

GEOMETRIES: dict[str, dict[str, Any]] = {
    "even": {"origins": EVEN}, "uneven": {"origins": UNEVEN}, "tilted": {"origins": TILTED},
    "feet last": {"origins": EVEN[::-1]}, "mirrored": {"origins": EVEN, "along": (-1, 0, 0)},
    "columns first": {"origins": EVEN, "along": (0, 1, 0), "down": (1, 0, 0)},
    "oblique": {"origins": EVEN, "along": (0.96, 0.28, 0.0), "down": (-0.28, 0.96, 0.0)},
    "sagittal": {"origins": [(2.5 * k, -9.0, 30.0) for k in range(9)], "along": (0, 1, 0), "down": (0, 0, -1)},
    "coronal": {"origins": [(-8.0, 2.5 * k, 30.0) for k in range(9)], "along": (1, 0, 0), "down": (0, 0, -1)},
}  # fmt: skip


def ct(
    folder: Path, origins: Sequence[Sequence[float]] = EVEN, *, along: Sequence[float] = (1, 0, 0),
    down: Sequence[float] = (0, 1, 0), spacing: tuple[float, float] = (0.9, 0.7), shape: tuple[int, int] = SHAPE,
    voxels: np.ndarray | None = None, **tags: Any,
) -> list[Dataset]:  # fmt: skip
    """Write a series of slices in the order of `origins`, one file each; returns their datasets."""
    folder.mkdir(parents=True)
    if voxels is None:
        voxels = np.full((len(origins), *shape), -1000)
        inner = np.s_[:, 4:-4, 4:-4]
        voxels[inner] = np.random.default_rng(2).normal(30, 6, voxels[inner].shape)
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    return [_slice(folder, k, voxels[k], origins[k], along, down, spacing, uids | tags) for k in range(len(origins))]


def _slice(
    folder: Path, k: int, plane: np.ndarray, origin: Sequence[float], along: Sequence[float], down: Sequence[float],
    spacing: tuple[float, float], tags: dict[str, Any],
) -> Dataset:  # fmt: skip
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.Modality, made.ImageType, made.PatientName, made.PatientID = (
        "CT",
        ["ORIGINAL", "PRIMARY"],
        NAME,
        "SECRET-4711",
    )
    made.PatientBirthDate, made.PatientSex, made.StudyDate, made.StudyTime = "19610203", "F", "20200102", "101112"
    made.AccessionNumber, made.StudyID, made.ReferringPhysicianName = "ACC99", "7", ""
    made.SeriesNumber, made.InstanceNumber, made.Manufacturer = 2, k + 1, "x"
    made.Rows, made.Columns = plane.shape
    made.PixelSpacing, made.SliceThickness = list(spacing), 2.5
    made.ImagePositionPatient, made.ImageOrientationPatient = list(map(float, origin)), [*along, *down]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.RescaleSlope, made.RescaleIntercept = 15, 1, 1, 0
    for name, value in tags.items():
        setattr(made, name, value)
    made.PixelData = np.asarray(plane).astype("<i2").tobytes()
    made.save_as(folder / f"{(k * 7) % 97:03d}.dcm", enforce_file_format=True)
    return made


def scan_of(folder: Path) -> Volume:
    (case,) = discover(folder).cases
    return read_case(case)


def native(mask: np.ndarray, scan: Volume) -> np.ndarray:
    """(K, rows, columns) on the scan's own slices, in order along their normal."""
    return scan.native.to_native(mask).transpose(2, 1, 0)


def wanted(labels: np.ndarray, sources: list[Dataset]) -> np.ndarray:
    """Labels in the order of `native`, found by the headers of the slices alone."""
    orientation = np.array(sources[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    return labels[np.argsort([np.dot(np.array(item.ImagePositionPatient, float), normal) for item in sources])]


def lesions(slices: int = 9, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Labels (K, rows, columns) 1 and 2 that are other in every mirror image; the first and last slices hold none."""
    labels = np.zeros((slices, *shape), np.uint8)
    labels[2:5, 5:9, 6:14] = 1
    labels[3, 10, 17] = 1
    labels[4:7, 12:15, 3:5] = 2
    return labels


def segment(number: int) -> SegmentDescription:
    return SegmentDescription(
        number, f"{NAME} {number}", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Hemorrhage, "MANUAL"
    )


def seg(
    path: Path, sources: Sequence[Dataset], labels: np.ndarray, kind: str = "BINARY", *, segments: int = 2, **more: Any
) -> Dataset:
    """Write labels (K, rows, columns), or segments (K, rows, columns, S), as highdicom does."""
    made = Segmentation(
        sources, labels, SegmentationTypeValues[kind], [segment(number + 1) for number in range(segments)],
        series_instance_uid=generate_uid(), series_number=9, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="highdicom", manufacturer_model_name="x", software_versions="1", device_serial_number="1", **more,
    )  # fmt: skip
    path.parent.mkdir(exist_ok=True, parents=True)
    made.save_as(path, enforce_file_format=True)
    return made


def changed(path: Path, other: Path, change: Any) -> Path:
    """A SEG with its dataset changed by `change(dataset)`."""
    made = pydicom.dcmread(path)
    change(made)
    made.save_as(other, enforce_file_format=True)
    return other


def program(name: str) -> str:
    """A program of dcmqi; the test is skipped where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed (pip install dcmqi)")
    return found


def dcmqi_seg(path: Path, image: Path, series: Path, numbers: Sequence[int], *flags: str) -> Path:
    """Write an image of labels as dcmqi does, with 3D Slicer's code."""
    finding = {"CodeValue": "50960005", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Hemorrhage"}
    kind = {
        "CodeValue": "49755003",
        "CodingSchemeDesignator": "SCT",
        "CodeMeaning": "Morphologically Altered Structure",
    }
    said = {
        "ContentCreatorName": "Reader1", "SeriesDescription": "Segmentation", "SeriesNumber": "300",
        "InstanceNumber": "1", "BodyPartExamined": "HEAD",
        "segmentAttributes": [[
            {
                "labelID": number, "SegmentDescription": NAME, "SegmentAlgorithmType": "MANUAL",
                "SegmentedPropertyCategoryCodeSequence": kind, "SegmentedPropertyTypeCodeSequence": finding,
                "recommendedDisplayRGBValue": [220, 20, 20],
            }
            for number in numbers
        ]],
    }  # fmt: skip
    meta = path.with_suffix(".meta")
    path.parent.mkdir(exist_ok=True, parents=True)
    meta.write_text(json.dumps(said))
    words = [
        program("itkimage2segimage"), "--inputImageList", str(image), "--inputDICOMDirectory", str(series),
        "--outputDICOM", str(path), "--inputMetadata", str(meta), *flags,
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    meta.unlink()
    assert path.is_file(), done.stdout + done.stderr
    return path
