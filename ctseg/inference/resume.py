"""Which finished cases of an earlier run are still valid: the same input, a complete mask, and every file there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ctseg.errors import CaseError
from ctseg.inference.kind_slices import OTHER
from ctseg.inference.results import CaseResult, case_files
from ctseg.io.case import Case
from ctseg.io.nifti.volumes import load_mask
from ctseg.outputs.changed import changed
from ctseg.parallel import attempt


def unchanged(
    folder: Path,
    cases: Sequence[Case],
    finished: Mapping[str, CaseResult],
    digest: Callable[[Case], str],
) -> dict[str, CaseResult]:
    """The finished rows without those of `cases` that have to be done again.

    A name is no proof: another scan can have it now. Rows of cases that are not among `cases` are kept.

    Args:
        folder: the output folder.
        cases: to segment now.
        finished: rows of the earlier run by case name.
        digest: of a case's input.
    """
    changed = {
        case.case_id
        for case in cases
        if case.case_id in finished and not is_current(folder, case, finished[case.case_id], digest)
    }
    return {name: row for name, row in finished.items() if name not in changed}


def is_current(folder: Path, case: Case, row: CaseResult, digest: Callable[[Case], str]) -> bool:
    """Whether a finished row is still valid: the same input, whole masks, and no file gone that the row names."""
    name, files = case.case_id, row.files.split()
    masks = {f"{name}.nii.gz": bool(row.lesions)}
    if row.other_ml is not None:
        masks[f"{OTHER}/{name}.nii.gz"] = row.other_ml > 0
    if changed(folder, row.looks):
        return False
    if not {*masks} <= {*files} <= {*case_files(name)} or not all((folder / file).is_file() for file in files):
        return False
    return (
        all(_is_whole(folder / mask, filled) for mask, filled in masks.items()) and attempt(digest, case) == row.input
    )


def _is_whole(mask: Path, filled: bool) -> bool:
    """Whether the mask can be read and is empty only where its row says so."""
    try:
        values, _ = load_mask(mask)
    except CaseError:
        return False
    return bool(values.any()) == filled
