"""Synthetic heads with known bleedings, as DICOM series and NIfTI files, and a network that finds what is bright.

A module of its own, not a conftest, so that spawned worker processes can unpickle what is in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import torch
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from torch import nn

from ctseg.inference.kind_slices import CLASSES, NEIGHBOURS
from ctseg.inference.models import LoadedModel, ModelGroup, by_preprocessing
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader

AIR, BRAIN, BLOOD = -1000.0, 30.0, 80.0
NAME, NUMBER = "Doe^Jane^Quixotic", "PAT-7331-SECRET"
UNEVEN_Z = np.cumsum([0, 4, 4, 5, 5, 3, 3, 4, 6, 4, 5, 2, 5, 4, 4, 5, 4.0])
"""Slice positions along the normal, mm."""


class BrightIsLesion(nn.Module):
    """Logits rise through 0 at 55 HU, half way between brain and blood, when 0..100 HU are -1..1."""

    hidden_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.1))

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        logits = 20 * (images - self.threshold)
        return SegmenterOutput(logits, images)


class NonAirIsBrain:
    """Everything above air and below bone."""

    def __call__(self, volume: Volume) -> np.ndarray:
        return (volume.voxels > -100) & (volume.voxels < 150)


class KilledOn:
    """An extractor that ends its process on one case, as the kernel does when memory runs out."""

    def __init__(self, case_id: str) -> None:
        self.case_id = case_id

    def __call__(self, volume):
        if volume.case_id == self.case_id:
            os._exit(9)
        return NonAirIsBrain()(volume)


def bright_header(size: int = 64, fov_mm: float = 96.0) -> ModelHeader:
    settings = PreprocessSettings(size=size, fov_mm=fov_mm)
    return ModelHeader(
        "segmenter", "bright", {}, "ctseg-tests", "1.0", input={"preprocess": settings.model_dump(mode="json")}
    )


def bright_model(size: int = 64, fov_mm: float = 96.0) -> LoadedModel:
    header = bright_header(size, fov_mm)
    settings = PreprocessSettings(size=size, fov_mm=fov_mm)
    return LoadedModel(BrightIsLesion().eval(), header, torch.device("cpu"), settings, "0" * 12)


def bright_models(size: int = 64, fov_mm: float = 96.0) -> list[ModelGroup]:
    return by_preprocessing([bright_model(size, fov_mm)])


IVH, SDH = 1, 3


class BrightIsBlood(nn.Module):
    """IVH where a pixel is bright and left of the middle, SDH where it is bright and right of it; keeps its input."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        self.given.append(images)
        middle = images[:, NEIGHBOURS // 2]
        bright = 6 * (middle - 0.1)
        left = torch.arange(images.shape[-1]) < images.shape[-1] // 2
        logits = torch.full((len(images), CLASSES, *images.shape[2:]), -99.0)
        logits[:, 0] = 0
        logits[:, 1 + IVH] = torch.where(left, bright, torch.tensor(-99.0))
        logits[:, 1 + SDH] = torch.where(left, torch.tensor(-99.0), bright)
        return SegmenterOutput(logits, images)


class NothingIsLesion(BrightIsLesion):
    """A model that segments nothing."""

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        return SegmenterOutput(torch.full_like(images, -99.0), images)


def kinds_model(size: int = 64, fov_mm: float = 96.0) -> ModelGroup:
    return replace(bright_model(size, fov_mm), module=BrightIsBlood())


def blind() -> list[ModelGroup]:
    [group] = bright_models()
    return [replace(group, models=(replace(group.models[0], module=NothingIsLesion().eval()),))]


@dataclass(frozen=True)
class Head:
    """A brain ellipsoid with a blood ellipsoid in air, in patient coordinates (LPS mm) around the origin."""

    brain_mm: tuple[float, float, float] = (40.0, 44.0, 60.0)
    blood_centre: tuple[float, float, float] = (14.0, -10.0, 4.0)
    blood_mm: tuple[float, float, float] = (13.0, 17.0, 21.0)
    rim_hu: float = BLOOD
    """Of the outer fifth of the blood."""

    @property
    def blood_ml(self) -> float:
        return 4 / 3 * np.pi * float(np.prod(self.blood_mm)) / 1000

    def inside_blood(self, points: np.ndarray, share: float = 1.0) -> np.ndarray:
        return (((points - self.blood_centre) / self.blood_mm) ** 2).sum(axis=-1) <= share**2

    def hu(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) LPS mm -> HU."""
        brain = ((points / np.array(self.brain_mm)) ** 2).sum(axis=-1) <= 1
        texture = (
            3 * np.sin(points[..., 0] / 7) * np.cos(points[..., 1] / 5)
        )  # scans with few values are taken for masks
        blood = np.where(self.inside_blood(points, 0.8), BLOOD, self.rim_hu)
        return texture + np.where(self.inside_blood(points), blood, np.where(brain, BRAIN, AIR))


@dataclass(frozen=True)
class Stack:
    """A stack of slices: tilted about the left-right axis like a gantry, at any positions along its normal."""

    z_mm: np.ndarray
    tilt_deg: float = 18.5
    size: int = 64
    pixel_mm: float = 1.5
    head_first: bool = True

    @property
    def row_step(self) -> np.ndarray:
        angle = np.radians(self.tilt_deg)
        return self.pixel_mm * np.array([0.0, np.cos(angle), np.sin(angle)])

    @property
    def col_step(self) -> np.ndarray:
        return self.pixel_mm * np.array([1.0, 0.0, 0.0])

    @property
    def origins(self) -> np.ndarray:
        """(K, 3): the table moves along z, so tilted slices shift against their normal."""
        angle = np.radians(self.tilt_deg)
        table = (self.z_mm - self.z_mm.mean()) / np.cos(angle)
        corner = -(self.size - 1) / 2 * (self.row_step + self.col_step)
        return corner + table[:, None] * np.array([0.0, 0.0, 1.0])

    def points(self) -> np.ndarray:
        """(K, H, W, 3) LPS mm of every voxel."""
        n = np.arange(self.size)
        rows, cols = n[:, None, None] * self.row_step, n[None, :, None] * self.col_step
        return self.origins[:, None, None] + rows + cols

    def volume(self, voxels: np.ndarray) -> Volume:
        return Volume(voxels.astype(np.float32), self.origins, self.row_step, self.col_step, "ct", "stack", "stack")


def write_dicom(folder: Path, stack: Stack, head: Head, number: str = NUMBER) -> Path:
    """One file a slice, names in no order, one identity in every header."""
    folder.mkdir(parents=True)
    voxels = head.hu(stack.points())
    study, series, place = generate_uid(), generate_uid(), generate_uid()
    for k, plane in enumerate(voxels):
        dataset = _slice_header(stack, k, number)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, place
        dataset.PixelData = (plane + 1024).astype(np.uint16).tobytes()
        dataset.save_as(folder / f"{(k * 7) % len(voxels):03d}.dcm", enforce_file_format=True)
    return folder


def _slice_header(stack: Stack, k: int, number: str) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID = NAME, number
    dataset.PatientBirthDate, dataset.PatientSex = "19610203", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20200102", "101112", "ACC99", "7"
    dataset.ReferringPhysicianName = "House^Gregory"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 2, len(stack.z_mm) - k, 1
    dataset.Rows = dataset.Columns = stack.size
    dataset.PixelSpacing, dataset.SliceThickness = [stack.pixel_mm, stack.pixel_mm], 5.0
    dataset.ImagePositionPatient = [round(float(x), 5) for x in stack.origins[k]]
    dataset.ImageOrientationPatient = [
        round(float(x), 8) for x in [*stack.col_step / stack.pixel_mm, *stack.row_step / stack.pixel_mm]
    ]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    return dataset


def write_nifti(path: Path, head: Head, axes=(0, 1, 2), signs=(1, 1, 1), steps=(1.5, 1.5, 4.0), shape=(64, 64, 30)):
    """A head on any axis order and flips; returns its affine and the RAS mm of every voxel."""
    path.parent.mkdir(exist_ok=True)
    affine = np.zeros((4, 4))
    for native, world in enumerate(axes):
        affine[world, native] = steps[world] * signs[world]
    native_shape = tuple(shape[world] for world in axes)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(native_shape) - 1) / 2)
    affine[3, 3] = 1
    grid = np.stack(np.meshgrid(*map(np.arange, native_shape), indexing="ij"), axis=-1)
    ras = grid @ affine[:3, :3].T + affine[:3, 3]
    lps = ras * (-1, -1, 1)
    nib.save(nib.Nifti1Image(head.hu(lps).astype(np.int16), affine), path)
    return lps
