"""Which finished cases of an earlier run are still valid: the same input, a complete mask, and every file there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctseg.errors import CaseError
from ctseg.inference.kind_slices import OTHER
from ctseg.inference.results import CaseResult
from ctseg.io.case import Case
from ctseg.io.nifti.volumes import load_mask
from ctseg.parallel import attempt

DICOM_FILES = (
    ("{}.dcm", "dicom_seg", "no DICOM SEG:"),
    ("{}_rtstruct.dcm", "rtstruct", "no DICOM RTSTRUCT:"),
    ("{}_sr.dcm", "sr", "no DICOM SR:"),
)
"""File, the setting that asks for it, and what a row's note says where there is none."""
CROOKED = ("tilted by ", "uneven slice steps", "to be missing")
"""What the note of a series says that has a `CASE_resampled.dcm` beside its `CASE.dcm`."""


def unchanged(
    folder: Path,
    cases: Sequence[Case],
    finished: Mapping[str, CaseResult],
    digest: Callable[[Case], str],
    settings: Mapping[str, Any],
) -> dict[str, CaseResult]:
    """The finished rows without those of `cases` that have to be done again.

    A name is no proof: another scan can have it now. Rows of cases that are not among `cases` are kept.

    Args:
        folder: the output folder.
        cases: to segment now.
        finished: rows of the earlier run by case name.
        digest: of a case's input.
        settings: as `SegmentSettings` dumps them; they say which files a case has.
    """
    changed = {
        case.case_id
        for case in cases
        if case.case_id in finished and not is_current(folder, case, finished[case.case_id], digest, settings)
    }
    return {name: row for name, row in finished.items() if name not in changed}


def is_current(
    folder: Path, case: Case, row: CaseResult, digest: Callable[[Case], str], settings: Mapping[str, Any]
) -> bool:
    """Whether a finished row is still valid: the same input, whole masks, and no file of the case gone."""
    if not all((folder / file).is_file() for file in _files(case, row, settings)):
        return False
    masks = {folder / f"{case.case_id}.nii.gz": bool(row.lesions)}
    if row.other_ml is not None:
        masks[folder / OTHER / f"{case.case_id}.nii.gz"] = row.other_ml > 0
    return all(_is_whole(mask, filled) for mask, filled in masks.items()) and attempt(digest, case) == row.input


def _is_whole(mask: Path, filled: bool) -> bool:
    """Whether the mask can be read and is empty only where its row says so."""
    try:
        values, _ = load_mask(mask)
    except CaseError:
        return False
    return bool(values.any()) == filled


def _files(case: Case, row: CaseResult, settings: Mapping[str, Any]) -> Iterator[str]:
    """The files that a finished case has beside its masks, but for the sidecar of a NIfTI without orientation."""
    name = case.case_id
    maps = ["probabilities/"] * settings["probabilities"]
    yield from (f"{folder}{name}.nii.gz" for folder in maps)
    if settings["preview"]:
        yield f"{name}.png"
        yield from [f"3d/{name}.png"] * settings["preview_3d"]
    if case.kind == "dicom":
        others = [f"{OTHER}/"] if row.other_ml is not None else []
        yield from (f"{folder}{name}.json" for folder in ["", *maps, *others])
        yield from _dicom_files(name, row.note, settings)


def _dicom_files(name: str, note: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """The DICOM objects of a finished case: those that were asked for, but for what its note says is absent."""
    for file, setting, absent in DICOM_FILES:
        if settings[setting] and absent not in note:
            yield file.format(name)
    has_seg = settings["dicom_seg"] and DICOM_FILES[0][2] not in note
    if has_seg and settings["resampled"] and any(text in note for text in CROOKED):
        yield f"{name}_resampled.dcm"
