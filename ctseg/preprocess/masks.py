"""Lesion masks that lie in a folder of their own: `CASE.nii.gz`, `CASE.seg.nrrd`, ..., each on its scan's grid."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ctseg.errors import CaseError, InputError
from ctseg.io.case import Case, Rejected
from ctseg.io.input_digests import file_digest, text_digest
from ctseg.io.mask_files import MaskFolder, files_of, forms_of, mask_folder, no_masks, ways_out
from ctseg.io.masks import load_mask
from ctseg.io.nifti.file import guarded
from ctseg.io.nifti.slicer import is_part
from ctseg.io.placing import placed
from ctseg.io.volume import Volume

WITHOUT_SCAN = "a mask without its scan"
LABELLED = "a mask of a scan that has a label of its own, which is used"


def given_masks(folder: Path | None, cases: Sequence[Case]) -> tuple[dict[str, Path], list[Rejected]]:
    """The masks of a folder by their cases, and what lies there and is not used; nothing where no folder is given.

    Raises:
        InputError: if the folder holds no mask, or one case has two files.
    """
    if folder is None:
        return {}, []
    found = mask_folder(folder) if folder.is_dir() else MaskFolder({}, ())
    if not found.masks:
        raise InputError(f"{no_masks(folder, found)}; name the folder of masks with --masks")
    return found.masks, _left_out(folder, found, cases)


def _left_out(folder: Path, found: MaskFolder, cases: Sequence[Case]) -> list[Rejected]:
    """What lies in a folder of masks and is not used."""
    why = f"masks in forms that are not read ({forms_of(found.unread)}); {ways_out(found.unread)}"
    names, labelled = {case.case_id for case in cases}, {case.case_id for case in cases if case.label_file is not None}
    return [
        *_line([folder / file.name for file in found.unread], why),
        *_line([path for case, path in found.masks.items() if case not in names], WITHOUT_SCAN),
        *_line([path for case, path in found.masks.items() if case in labelled], LABELLED),
    ]


def _line(files: Sequence[Path], reason: str) -> list[Rejected]:
    """One line about all files that are left out for a reason."""
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [Rejected(f"{files[0]}{more}", reason)] if files else []


def mask_digest(mask: Path) -> str:
    """12 hex digits of a mask's SHA-256; of one whose voxels lie in a second file, of both files' together."""
    digests = [file_digest(path) for path in files_of(mask)]
    return digests[0] if len(digests) == 1 else text_digest(" ".join(digests))


def with_mask(volume: Volume, mask: Path | None, folder: Path, chosen: Collection[int] = ()) -> Volume:
    """The scan with its mask as `labels`.

    Args:
        volume: a scan without labels.
        mask: its file, see `given_masks`.
        folder: where masks are.
        chosen: label values that are seen where segments overlap; empty for all.

    Raises:
        CaseError: if there is none, or it lies on another grid.
    """
    if mask is None:
        raise CaseError(f"{volume.case_id}: no mask {volume.case_id}.nii.gz in {folder}; add it or leave the scan out")
    labels, place = load_mask(mask, chosen)
    if labels.shape != volume.voxels.shape and is_part(mask):
        return replace(volume, labels=guarded(mask, lambda: placed(labels, place, volume)))
    if labels.shape != volume.voxels.shape or _offset_mm(volume, place) > _tolerance_mm(volume):
        raise CaseError(f"{mask}: lies on another grid than its scan; resample it to the scan's slices")
    return replace(volume, labels=labels)


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
