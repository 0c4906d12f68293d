"""Masks of one scan in several forms, and what an evaluation says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from seg_files import SHAPE

from ctseg.evaluation.evaluate import Evaluation, evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.io.masks import save_mask
from ctseg.io.volume import Volume

FAST = EvaluationSettings(resamples=100, permutations=100, pictured_cases=1)
SAGITTAL = [(2.5 * k, -9.0, 30.0) for k in range(9)]
"""Places of slices whose rows run from front to back, and columns from head to feet."""


def predicted() -> np.ndarray:
    """A mask (9, rows, columns) that overlaps `seg_files.lesions` in part."""
    mask = np.zeros((9, *SHAPE), np.uint8)
    mask[1:8, 6:13, 4:12] = 1
    return mask


def save(folder: Path, volume: Volume, mask: np.ndarray, name: str = "a") -> None:
    """Write `NAME.nii.gz` on the grid of a scan."""
    folder.mkdir(exist_ok=True)
    save_mask(folder / f"{name}.nii.gz", volume, mask)


def as_read(mask: np.ndarray, sources: Sequence[Dataset], volume: Volume) -> np.ndarray:
    """A mask (K, rows, columns) in the order of `sources`, as (K, H, W) of the scan that was read from them."""
    uids = [item.SOPInstanceUID for item in sources]
    order = [uids.index(frame.SOPInstanceUID) for frame in volume.frames]
    return np.ascontiguousarray(volume.native.to_canonical(mask[order].transpose(2, 1, 0).astype(np.uint8)))


def slices_in_order(folder: Path) -> list[Dataset]:
    """The slices of an axial series from feet to head."""
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(found, key=lambda item: float(item.ImagePositionPatient[2]))


def numbers(found: Evaluation) -> list[dict]:
    """The rows of the cases without the model's name and what is said of them."""
    return found.cases.drop(columns=["model", "message"]).to_dict("records")


def done(cohort: Path, ref: str, pred: str = "pred", out: str = "", **settings: object) -> Evaluation:
    """An evaluation of two folders of a cohort."""
    chosen = FAST.model_copy(update=settings)
    return evaluate(cohort / pred, cohort / ref, cohort / (out or f"out {ref} {pred}"), settings=chosen)
