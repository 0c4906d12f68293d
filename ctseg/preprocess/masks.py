"""Lesion masks that lie in a folder of their own: `CASE.nii.gz`, each on its scan's grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ctseg.errors import CaseError, InputError
from ctseg.io.masks import load_mask
from ctseg.io.volume import Volume

SUFFIXES = (".nii.gz", ".nii")


def check_masks(folder: Path) -> Path:
    """The folder, if it holds any NIfTI file.

    Raises:
        InputError: if it does not.
    """
    if not any(path.name.endswith(SUFFIXES) for path in (folder.iterdir() if folder.is_dir() else ())):
        raise InputError(f"{folder}: no NIfTI mask (CASE.nii.gz) in it; name the folder of masks with --masks")
    return folder


def mask_of(case_id: str, folder: Path) -> Path | None:
    """The file of a case's mask; None where there is none."""
    return next((path for end in SUFFIXES if (path := folder / f"{case_id}{end}").is_file()), None)


def with_mask(volume: Volume, folder: Path) -> Volume:
    """The scan with its mask as `labels`.

    Args:
        volume: a scan without labels.
        folder: holds `CASE.nii.gz` or `CASE.nii`, named as `ctseg segment` names the case.

    Raises:
        CaseError: if there is none, or it lies on another grid.
    """
    path = mask_of(volume.case_id, folder)
    if path is None:
        raise CaseError(f"{volume.case_id}: no mask {volume.case_id}.nii.gz in {folder}; add it or leave the scan out")
    mask, place = load_mask(path)
    if mask.shape != volume.voxels.shape or _offset_mm(volume, place) > _tolerance_mm(volume):
        raise CaseError(f"{path}: lies on another grid than its scan; resample it to the scan's slices")
    return replace(volume, labels=mask)


def _offset_mm(volume: Volume, other: Volume) -> float:
    """How far two grids of one shape lie apart at their outermost corners.

    Slices in between are not compared: without a sidecar a NIfTI file cannot tell uneven steps.
    """
    rows, cols = volume.voxels.shape[1:]
    ends = [
        np.abs(_corner(volume, row, col) - _corner(other, row, col)).max()
        for row in (0, rows - 1)
        for col in (0, cols - 1)
    ]
    return float(max(ends))


def _corner(volume: Volume, row: int, col: int) -> np.ndarray:
    return volume.origins_mm[[0, -1]] + row * volume.row_step_mm + col * volume.col_step_mm


def _tolerance_mm(volume: Volume) -> float:
    """Half a slice step, and at least half a pixel."""
    return float(max(volume.slab_mm.min(), *volume.spacing_mm)) / 2
