"""Lesion masks that lie in a folder of their own: `CASE.nii.gz`, `CASE.seg.nrrd`, `CASE.dcm`, ..., on its scan."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError, InputError
from ctseg.io.case import Case, Rejected
from ctseg.io.dicom.rtstruct import read_rtstruct
from ctseg.io.drawn import slice_names
from ctseg.io.identity import FOLDERS_UP
from ctseg.io.input_digests import file_digest, text_digest
from ctseg.io.mask_files import MaskFolder, case_of, files_of, forms_of, mask_folder, no_masks, ways_out
from ctseg.io.mask_places import disagree, folders_of, names_in
from ctseg.io.masks import is_outlines, load_mask
from ctseg.io.named_masks import with_named
from ctseg.io.nifti.file import guarded
from ctseg.io.nifti.slicer import is_part
from ctseg.io.outlines import outlines_on
from ctseg.io.placing import off_by, placed
from ctseg.io.seg_masks import seg_on
from ctseg.io.source import Source
from ctseg.io.volume import Volume
from ctseg.wording import first_of

WITHOUT_SCAN = "a mask without its scan"
ANOTHER_GRID = "lies on another grid than its scan; resample it to the scan's slices"
LEAST_BRIGHTER_HU = 3.0
"""Fresh blood has 50 to 80 HU where brain has 25 to 40; a mask on the wrong side of a head is brain."""
OUTSIDE = "more than half of its mask lies outside the brain: is it this scan's, and not mirrored?"
MOST = "its mask marks more than half of the brain: does its background have the value 0?"
DARK = "its mask is not brighter than the rest of the brain, as fresh blood is: is it this scan's, and not mirrored?"
LOST = "its mask has no pixel left in the slices that are kept: it is too small for their pixels, or lies outside them"
ELSEWHERE = "a mask in {} of a scan in {}; put it into the folder of masks itself, if it is this scan's"
LABELLED = "a mask of a scan that has a label of its own, which is used"


def given_masks(folder: Path | None, cases: Sequence[Case]) -> tuple[dict[str, Path], list[Rejected]]:
    """The masks of a folder by their cases, and what lies there and is not used; nothing where no folder is given.

    A mask belongs to the scan of its name; a DICOM one of no scan's name to the scan that it names itself.

    Raises:
        InputError: if the folder holds no mask, or one case has two files.
    """
    if folder is None:
        return {}, []
    found = mask_folder(folder) if folder.is_dir() else MaskFolder({}, mask_folder(folder).unread)
    if not found.masks:
        raise InputError(f"{no_masks(folder, found)}; name the folder of masks with --masks")
    found = with_named(found, {case.case_id for case in cases}, folder)
    apart = _apart(folder, found.masks, cases)
    found = replace(found, masks={case: path for case, path in found.masks.items() if path not in apart})
    lines = [Rejected(str(path), reason) for path, reason in apart.items()]
    return found.masks, [*lines, *_left_out(folder, found, cases)]


def _apart(folder: Path, masks: Mapping[str, Path], cases: Sequence[Case]) -> dict[Path, str]:
    """Masks whose folders say that they are of another scan of the same name, and why they are not used."""
    scans = {case.case_id: case.files[0].parent.parts[-FOLDERS_UP:] for case in cases if case.kind != "dicom"}
    own = folders_of(masks, folder)
    sides = names_in(own), names_in(scans)
    found = {case: disagree(own[case], scans[case], *sides) for case in own if case in scans}
    return {masks[case]: ELSEWHERE.format(*names) for case, names in found.items() if names is not None}


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
    return [Rejected(first_of(files), reason)] if files else []


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
        CaseError: if there is none, or it lies on another grid: of another shape, or off by more than half a voxel.
    """
    if mask is None:
        near = _similar(folder, volume.case_id)
        way_out = f"rename {near}, if it is this scan's" if near else "add it or leave the scan out"
        raise CaseError(f"{volume.case_id}: no mask {volume.case_id}.nii.gz in {folder}; {way_out}")
    if is_outlines(mask):
        found = read_rtstruct(Source(str(mask)), chosen)
        put, notes = guarded(mask, lambda: outlines_on(found, volume, slice_names(volume), chosen))
        return replace(volume, labels=put, notes=(*volume.notes, *notes))
    labels, place = load_mask(mask, chosen)
    if place.drawn is not None:
        put, notes = guarded(mask, lambda: seg_on(labels, place, volume, slice_names(volume)))
        return replace(volume, labels=put, notes=(*volume.notes, *place.notes, *notes))
    if labels.shape != volume.voxels.shape and is_part(mask):
        return replace(volume, labels=guarded(mask, lambda: placed(labels, place, volume)))
    if labels.shape != volume.voxels.shape:
        raise CaseError(f"{mask}: {ANOTHER_GRID}")
    return replace(
        volume, labels=labels, notes=(*volume.notes, *_place_notes(mask, _offsets_mm(volume, place), volume))
    )


def _similar(folder: Path, case: str) -> str:
    """The first mask in a folder that has a case's name in its own, as `CASE_mask.nii.gz`; empty where none has."""
    named = re.compile(rf"(?<![a-z0-9]){re.escape(case)}(?![a-z0-9])", re.IGNORECASE)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return next((name for name in names if case_of(name) is not None and named.search(name)), "")


def about_mask(
    lesion: NDArray[np.bool_],
    masks: NDArray[np.uint8],
    brain: NDArray[np.bool_],
    images: NDArray[np.uint8],
    grey_per_hu: float | None,
) -> tuple[str, ...]:
    """What is said of a mask that cannot be a lesion of its scan by where it lies, or is lost at this size.

    Its grid says nothing of that: a mask can be another scan's, mirrored, or mark what is no lesion.

    Args:
        lesion: (n, h, w) the lesion in the slices that are kept, on the scan's grid.
        masks: (n, H, W) the same in the slice set, 0 or 1.
        brain: (n, H, W) where the brain is.
        images: (n, H, W) grey values 0 to 255.
        grey_per_hu: of the window; None in MR, where lesions need not be brighter than brain.
    """
    marked = masks > 0
    if not marked.any():
        return (LOST,) if lesion.any() else ()
    inside = marked & brain
    if 2 * np.count_nonzero(inside) < np.count_nonzero(marked):
        return (OUTSIDE,)
    if 2 * np.count_nonzero(inside) > np.count_nonzero(brain):
        return (MOST,)
    rest = brain & ~marked
    brighter = float(images[inside].mean()) - float(images[rest].mean()) if rest.any() else np.inf
    return (DARK,) if grey_per_hu is not None and brighter < LEAST_BRIGHTER_HU * grey_per_hu else ()


def _place_notes(mask: Path, offsets: NDArray[np.float64], volume: Volume) -> list[str]:
    """What is said of a mask of the scan's shape that does not lie quite where the scan does.

    Args:
        mask: its file.
        offsets: (n, 3) how far its corners lie off along slices, rows and columns, in mm.
        volume: the scan.

    Raises:
        CaseError: if a corner lies off by more than half a voxel in any of the three.
    """
    furthest = np.abs(offsets).max(axis=0)
    if (furthest > np.array([volume.slab_mm.min(), *volume.spacing_mm]) / 2).any():
        raise CaseError(f"{mask}: {ANOTHER_GRID}")
    return off_by(float(furthest.max()))


def _offsets_mm(volume: Volume, other: Volume) -> NDArray[np.float64]:
    """(4 to 8, 3) how far the outermost corners of two grids of one shape lie apart, along slices, rows and columns.

    Slices in between are not compared: without a sidecar a NIfTI file cannot tell uneven steps.
    """
    rows, cols = volume.voxels.shape[1:]
    apart = [_corner(volume, row, col) - _corner(other, row, col) for row in (0, rows - 1) for col in (0, cols - 1)]
    steps = [volume.normal, _unit(volume.row_step_mm), _unit(volume.col_step_mm)]
    return np.asarray(np.concatenate(apart) @ np.transpose(steps), dtype=np.float64)


def _unit(step: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(step / np.linalg.norm(step), dtype=np.float64)


def _corner(volume: Volume, row: int, col: int) -> NDArray[np.float64]:
    return np.asarray(volume.origins_mm[[0, -1]] + row * volume.row_step_mm + col * volume.col_step_mm)
