"""Toy slices: a grey disc as the brain, with or without a brighter spot in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctseg.io.slices import SliceSet


def disc(size: int, row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def toy_set(domain: str, count: int, size: int, seed: int, *, labelled: bool = True) -> SliceSet:
    """`count` slices, 4 to a patient; the last fourth of the patients is the validation split."""
    rng = np.random.default_rng(seed)
    centre = (size - 1) / 2
    brain = disc(size, centre, centre, 0.45 * size)
    images = np.zeros((count, size, size), np.uint8)
    masks = np.zeros_like(images)
    for place in range(count):
        row, column = centre + rng.uniform(-0.2, 0.2, 2) * size
        lesion = disc(size, row, column, rng.uniform(0.08, 0.16) * size)
        grey, bright = (70, 190) if domain == "mr" else (95, 170)
        images[place] = np.where(brain, np.where(lesion, bright, grey) + rng.integers(-12, 13, (size, size)), 0)
        masks[place] = lesion
    patients = np.arange(count) // 4
    table = pd.DataFrame(
        {
            "slice_id": [f"{domain}-{place}" for place in range(count)],
            "patient_id": [f"{domain}-p{patient}" for patient in patients],
            "series_id": [f"{domain}-s{patient}" for patient in patients],
            "split": np.where(patients < 0.75 * (patients.max() + 1), "train", "val"),
        }
    )
    info = {"domain": domain, "size": [size, size], "intensity": {}, "settings": {}}
    return SliceSet(Path(f"{domain}-toy"), images, masks if labelled else None, table, info)


@pytest.fixture
def make_set() -> Callable[..., SliceSet]:
    return toy_set
