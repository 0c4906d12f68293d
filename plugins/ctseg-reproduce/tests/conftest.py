"""A toy cohort made by hand: two slice sets, and two scans of an egg-shaped head with their truth."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import SliceSet, open_slices
from ctseg.preprocess.settings import PreprocessSettings

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3] / "tests")]  # for helper modules

SIZE = 32
AFFINE = np.diag([-3.0, -3.0, 5.0, 1.0])


def toy_slices(folder: Path, domain: str, patients: int, each: int, *, labelled: bool, seed: int = 0) -> SliceSet:
    """Noisy discs with a brighter square in them; the last patient is the validation split of a labelled set."""
    rng = np.random.default_rng(seed)
    count = patients * each
    rows, cols = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    brain = rows**2 + cols**2 < (0.45 * SIZE) ** 2
    images = np.where(brain, rng.integers(60, 110, (count, SIZE, SIZE)), 0).astype(np.uint8)
    masks = np.zeros_like(images)
    for place, (row, col) in enumerate(rng.integers(10, 18, (count, 2))):
        masks[place, row : row + 5, col : col + 5] = 1
    images[masks > 0] = 200
    patient = np.arange(count) // each
    table = pd.DataFrame(
        {
            "slice_id": [f"{domain}_{place}" for place in range(count)],
            "patient_id": [f"{domain}_p{number}" for number in patient],
            "series_id": [f"{domain}_s{number}" for number in patient],
            "index": np.arange(count) % each,
            "z_mm": 5.0 * (np.arange(count) % each),
            "spacing_row_mm": 7.5,
            "spacing_col_mm": 7.5,
            "brain_px": int(brain.sum()),
            "lesion_px": masks.sum(axis=(1, 2)) if labelled else "",
            "split": np.where((patient == patients - 1) & (domain == "mr"), "val", "train"),
        }
    )
    folder.mkdir(parents=True)
    write_slices(
        folder,
        domain=domain,
        images=images,
        masks=masks if labelled else None,
        table=table,
        intensity={"a": 2.55, "b": 0.0, "unit": "HU"},
        settings=PreprocessSettings(size=SIZE).model_dump(mode="json"),
    )
    return open_slices(folder)


def save_head(scans: Path, truth: Path, name: str, column: int) -> None:
    """A head of 900 HU bone around 35 HU brain with a bleed of 70 HU, and the bleed's mask."""
    z, y, x = np.mgrid[:20, :64, :64]
    radius = ((z - 9.5) * 5 / 46) ** 2 + ((y - 31.5) * 3 / 80) ** 2 + ((x - 31.5) * 3 / 64) ** 2
    hu = np.select([radius < 1, radius < 1.25], [35.0, 900.0], -1000.0)
    bleed = np.zeros(hu.shape, bool)
    bleed[8:11, 28:36, column : column + 8] = True
    hu[bleed] = 70.0
    for folder, values in ((scans, hu.astype(np.int16)), (truth, bleed.astype(np.uint8))):
        folder.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), AFFINE), folder / f"{name}.nii.gz")


@pytest.fixture
def make_slices() -> Callable[..., SliceSet]:
    return toy_slices


@pytest.fixture
def make_head() -> Callable[..., None]:
    return save_head


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mr`, `ct`, `scans` and `truth`."""
    folder = tmp_path_factory.mktemp("cohort")
    toy_slices(folder / "mr", "mr", 4, 4, labelled=True)
    toy_slices(folder / "ct", "ct", 2, 2, labelled=False, seed=1)
    save_head(folder / "scans", folder / "truth", "ct_one", 20)
    save_head(folder / "scans", folder / "truth", "ct_two", 36)
    return folder


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors run faster on one thread, and xdist workers do not fight over the cores."""
    import torch

    torch.set_num_threads(1)
