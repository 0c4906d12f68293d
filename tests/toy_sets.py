"""Tiny slice sets, pairs and head scans that every command can work on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ctseg.cli import common
from ctseg.io.slice_writer import write_slices
from ctseg.preprocess.settings import PreprocessSettings

SIZE = 32


def toy(folder: Path, domain: str, seed: int, count: int = 8, size: int = SIZE) -> Path:
    """An even number of slices, two of a patient, with masks."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 110, (count, size, size)).astype(np.uint8)
    masks = np.zeros_like(images)
    masks[:, 12:18, 10:16] = 1
    images[masks > 0] = 210
    patients = [f"{domain}_p{place // 2}" for place in range(count)]
    table = pd.DataFrame({
        "slice_id": [f"{domain}{place}" for place in range(count)], "patient_id": patients, "series_id": patients,
        "index": [0, 1] * (count // 2), "z_mm": [0.0, 5.0] * (count // 2), "spacing_row_mm": 7.5, "spacing_col_mm": 7.5,
        "brain_px": size * size, "lesion_px": 36, "split": "train",
    })  # fmt: skip
    folder.mkdir()
    write_slices(
        folder, domain=domain, images=images, masks=masks, table=table, intensity={"a": 2.55, "b": 0.0, "unit": "HU"},
        settings=PreprocessSettings(size=size).model_dump(mode="json"),
    )  # fmt: skip
    return folder


def write_pairs(file: Path, targets: Iterable[int]) -> None:
    """Each source slice with one target slice."""
    rows = [f"mr{row},ct{target},1,0.5" for row, target in enumerate(targets)]
    file.write_text("source_id,target_id,rank,distance\n" + "\n".join(rows) + "\n")


def head(folder: Path, name: str, seed: int = 0) -> tuple[Path, np.ndarray]:
    """A head CT of 144 mm across as `folder/NAME.nii.gz`, and where its bleed is."""
    x, y, z = np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) * mm for n, mm in ((40, 5), (40, 5), (12, 10))], indexing="ij")
    hu = np.full(x.shape, -1000.0)
    for radii, value in (((72, 90, 70), 40), ((68, 86, 66), 900), ((62, 80, 60), 33)):
        hu[(x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1] = value
    bleed = (x - 20) ** 2 + y**2 + z**2 < 20**2
    hu[bleed] = 70
    hu += np.random.default_rng(seed).normal(0, 3, hu.shape) * (hu > -900)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    affine = np.diag([-5.0, -5.0, 10.0, 1.0])
    nib.save(nib.Nifti1Image(np.round(hu).astype(np.int16), affine), path)
    return path, bleed


def mask(folder: Path, name: str, bleed: np.ndarray) -> Path:
    """A mask on the grid of `head`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(bleed.astype(np.uint8), np.diag([-5.0, -5.0, 10.0, 1.0])), path)
    return path


@contextmanager
def toy_inputs(folder: Path) -> Iterator[None]:
    """What most commands read, in `folder`: sets `mr` and `ct`, `pairs.csv`, two `scans` and their `truth`.

    The folder is the working directory meanwhile, and commands are quiet.
    """
    outer, before = common.STATE, Path.cwd()
    common.STATE = common.State(quiet=True)
    os.chdir(folder)
    toy(folder / "mr", "mr", 0)
    toy(folder / "ct", "ct", 1)
    write_pairs(folder / "pairs.csv", range(8))
    for name in ("a", "b"):
        mask(folder / "truth", name, head(folder / "scans", name)[1])
    yield
    os.chdir(before)
    common.STATE = outer
