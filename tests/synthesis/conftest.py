"""A toy of both domains, 32 x 32: a disc for a brain with a brighter lesion; CT is a darker picture of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import SliceSet, open_slices
from ctseg.networks.blocks import seeded
from ctseg.networks.generator import AmdGenerator
from ctseg.plugins.protocols import Batch, ObjectiveContext
from ctseg.synthesis.objective import CycleObjective
from ctseg.training.settings import SynthesisSettings

SIZE = 32
GREYS = {"mr": (110, 220), "ct": (70, 170)}
SMALL: dict[str, Any] = {
    "discriminator_width": 4,
    "features_width": 4,
    "lesion_width": 4,
    "batch_size": 2,
    "epochs": 3,
    "steps_per_epoch": 3,
    "matched": False,
    "audit_slices": 4,
    "sample_every": 100,
}


def _settings(**changes: Any) -> SynthesisSettings:
    return SynthesisSettings(**{**SMALL, **changes})


def _generator(seed: int = 0) -> AmdGenerator:
    with seeded(seed):
        return AmdGenerator(width=4, growth=2, layers=2)


def _objective(generator: torch.nn.Module | None = None, **changes: Any) -> CycleObjective:
    context = ObjectiveContext(_settings(**changes), torch.device("cpu"), nullcontext)
    with seeded(1):
        return CycleObjective(generator or _generator(), context)


def _batch(seed: int = 0, size: int = SIZE) -> Batch:
    def draw() -> Tensor:
        return torch.from_numpy(random.uniform(-1, 1, (2, 1, size, size))).float()

    random = np.random.default_rng(seed)
    return Batch(draw(), (draw() > 0.8).float(), draw())


def toy_slices(folder: Path, domain: str, count: int = 12) -> SliceSet:
    """`count` slices of patients with 4 slices each, the first patient in 'val'."""
    random = np.random.default_rng(len(domain) + ord(domain[0]))
    yy, xx = np.mgrid[:SIZE, :SIZE]
    brain = np.hypot(yy - SIZE / 2, xx - SIZE / 2) < 13
    tissue, lesion_grey = GREYS[domain]
    images, masks = [], []
    for _ in range(count):
        row, column = random.uniform(12, 20, 2)
        lesion = np.hypot(yy - row, xx - column) < random.uniform(3, 5)
        image = np.where(lesion, lesion_grey, tissue) + random.normal(0, 4, brain.shape)
        images.append(np.where(brain, image, 0).astype(np.uint8))
        masks.append(lesion.astype(np.uint8))
    folder.mkdir(parents=True)
    write_slices(
        folder, domain=domain, images=np.array(images), masks=np.array(masks) if domain == "mr" else None,
        table=_table(domain, count, masks), intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={},
    )  # fmt: skip
    return open_slices(folder)


def _table(domain: str, count: int, masks: list[Any]) -> pd.DataFrame:
    patients = [f"{domain}-p{row // 4}" for row in range(count)]
    return pd.DataFrame(
        {
            "slice_id": [f"{domain}_{row}" for row in range(count)],
            "patient_id": patients,
            "series_id": patients,
            "index": [row % 4 for row in range(count)],
            "z_mm": [5.0 * (row % 4) for row in range(count)],
            "spacing_row_mm": 2.0,
            "spacing_col_mm": 1.5,
            "brain_px": 531,
            "lesion_px": [int(mask.sum()) for mask in masks],
            "split": ["val" if row < 4 else "train" for row in range(count)],
        }
    )


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[SliceSet, SliceSet]:
    root = tmp_path_factory.mktemp("toy")
    return toy_slices(root / "mr", "mr"), toy_slices(root / "ct", "ct")


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., SynthesisSettings]:
    return _settings


@pytest.fixture(scope="session")
def make_generator() -> Callable[..., AmdGenerator]:
    return _generator


@pytest.fixture(scope="session")
def make_objective() -> Callable[..., CycleObjective]:
    return _objective


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    return _batch
