"""Heads without a bleed, a network that finds what is bright, and a folder as the phantom writes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import nn

from ctseg.inference.models import LoadedModel, ModelGroup, by_preprocessing
from ctseg.inference.prepare import ReadyCase, prepare_volume
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader

PIXEL, STEP = 2.0, 5.0


class BrightIsLesion(nn.Module):
    """Logits rise through 0 at 50 HU."""

    hidden_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.0))

    def forward(self, images: torch.Tensor) -> SegmenterOutput:
        return SegmenterOutput(20 * (images - self.threshold), images)


def bright_models() -> list[ModelGroup]:
    settings = PreprocessSettings(size=80, fov_mm=160.0)
    recorded = {"preprocess": settings.model_dump(mode="json")}
    header = ModelHeader("segmenter", "bright", {}, "ctseg-tests", "1.0", input=recorded)
    return by_preprocessing([LoadedModel(BrightIsLesion().eval(), header, torch.device("cpu"), settings, "0" * 12)])


def head_hu(blood_hu: float | None = None, seed: int = 0) -> tuple[Any, Any, Any]:
    """HU (25, 84, 84), the brain and the blood of an ellipsoid head."""
    k, row, column = np.indices((25, 84, 84)).astype(np.float32)
    place = np.stack([(column - 41.5) * PIXEL, (row - 41.5) * PIXEL, (k - 12) * STEP], axis=-1)
    brain = np.linalg.norm(place / (62.0, 74.0, 56.0), axis=-1) < 1
    blood = np.linalg.norm(place - (25.0, 0.0, 0.0), axis=-1) < 15
    hu = np.where(brain, 32.0, -1000.0) + np.random.default_rng(seed).normal(0, 2, brain.shape)
    if blood_hu is not None:
        hu[blood] = blood_hu
    return hu.astype(np.float32), brain, blood & brain


def head_volume(blood_hu: float | None = None) -> Volume:
    origins = np.zeros((25, 3))
    origins[:, 2] = STEP * np.arange(25)
    steps = np.array([0.0, PIXEL, 0.0]), np.array([PIXEL, 0.0, 0.0])
    return Volume(head_hu(blood_hu)[0], origins, *steps, "ct", "toy", "toy")


def ready_head(blood_hu: float | None = None) -> ReadyCase:
    brain = head_hu(blood_hu)[1]
    preprocessings = [group.preprocessing for group in bright_models()]
    return prepare_volume(head_volume(blood_hu), preprocessings, lambda _: brain)


def write_cohort(folder: Path, scans: int) -> Path:
    """Scans as NIfTI files where the phantom has DICOM, and truth masks beside them."""
    affine = np.diag([-PIXEL, -PIXEL, STEP, 1.0])
    for place in ("rsna/stage_2_test", "truth/iph/test", "truth/brain/test"):
        (folder / place).mkdir(parents=True)
    for number in range(scans):
        hu, brain, blood = head_hu(70.0 + number, seed=number)
        parts = {"rsna/stage_2_test": hu, "truth/iph/test": blood, "truth/brain/test": brain}
        for place, values in parts.items():
            kind = np.int16 if place.startswith("rsna") else np.uint8
            image = nib.Nifti1Image(np.rint(values).transpose(2, 1, 0).astype(kind), affine)
            nib.save(image, folder / place / f"p{number}.nii.gz")
    return folder
