"""Small hand-made DICOM series, written to disk as scanners do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = "1.2.826.0.1.3680043.8.498.1"
PATIENT = "SECRET-4711"
NAME = "Doe^Jane"


def head(rng: np.random.Generator, shape: tuple[int, ...] = (24, 20)) -> np.ndarray:
    """HU of something with air around and soft tissue inside: enough for the HU check."""
    hu = np.full(shape, -1000.0)
    inner = tuple(slice(size // 5, -(size // 5)) for size in shape[-2:])
    target = hu[(..., *inner)]
    target[...] = np.round(rng.normal(30, 5, target.shape))
    return hu


def dataset(hu: np.ndarray, position: tuple[float, ...], **tags: Any) -> FileDataset:
    """One CT slice (rows, columns) with int16 pixels; `tags` replace or, when None, remove what is there."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    pixels = np.asarray(tags.pop("pixels", None) if "pixels" in tags else hu)
    defaults = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientID": PATIENT,
        "PatientName": NAME,
        "StudyInstanceUID": SERIES + ".1",
        "SeriesInstanceUID": SERIES,
        "ImagePositionPatient": [float(value) for value in position],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.4],
        "SliceThickness": 5.0,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    for name, value in {**defaults, **tags}.items():
        if value is not None:
            setattr(made, name, value)
    kind = "<i2" if made.get("PixelRepresentation") == 1 else "<u2"
    made.PixelData = np.asarray(pixels).astype(kind).tobytes()
    made["PixelData"].VR = "OW"
    return made


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., list[Path]]:
    """`write_series(volume_hu, positions, folder="", **tags)` writes slices in shuffled file order."""

    def write(volume: np.ndarray, positions: Any, folder: str = "ct", **tags: Any) -> list[Path]:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        files = []
        order = np.random.default_rng(len(volume)).permutation(len(volume))
        for name, index in enumerate(order):
            each = {key: value[index] if isinstance(value, tuple) else value for key, value in tags.items()}
            path = place / f"{name:03d}.dcm"
            dataset(volume[index], positions[index], **each).save_as(path, enforce_file_format=True)
            files.append(path)
        return files

    return write


@pytest.fixture
def head_ct(rng: np.random.Generator) -> np.ndarray:
    """(6, 24, 20) HU."""
    return head(rng, (6, 24, 20))


@pytest.fixture
def straight() -> list[tuple[float, float, float]]:
    """Positions of six slices 5 mm apart."""
    return [(-4.0, -6.0, 5.0 * k) for k in range(6)]
