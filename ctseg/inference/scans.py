"""Which scans some paths hold and of what domain: one rule for the command and for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ctseg.errors import InputError
from ctseg.inference.models import ModelGroup
from ctseg.inference.prepare import ReadyCase, prepare_case
from ctseg.inference.slice_set import check_size, ready_slices, slices_by_case
from ctseg.io.case import Discovery
from ctseg.io.discover import discover
from ctseg.io.slices import SliceSet, is_slice_set, open_slices
from ctseg.plugins.protocols import BrainExtractor
from ctseg.progress import ProgressCallback


def find_scans(
    paths: Sequence[Path],
    *,
    workers: int = 0,
    progress: ProgressCallback | None = None,
    without: Path | None = None,
    nameless: bool = False,
) -> Discovery | SliceSet:
    """The CT scans below some paths, or the slice set that the one path is.

    Whoever segments says that the scans are CT, so nothing has to be guessed from a NIfTI file's name or voxels.

    Args:
        paths: DICOM folders, zips, NIfTI files and folders in any mix, or one slice set.
        workers: processes for DICOM headers, as in `discover`.
        progress: called with (files read, files in all, "").
        without: a folder not to look into: the command's own output, where it lies in an input.
        nameless: whether the error that no scan was found names no file.

    Raises:
        InputError: if a path is missing, no scan is found at all, or a slice set is given beside other paths.
    """
    sets = [path for path in paths if is_slice_set(path)]
    if not sets:
        return discover(paths, "ct", workers=workers, progress=progress, without=without, nameless=nameless)
    if len(paths) > 1:
        raise InputError(f"{sets[0]}: is a slice set; segment it in a call of its own, without other paths")
    return open_slices(sets[0])


def ready_scan(path: Path, groups: Sequence[ModelGroup], extractor: BrainExtractor) -> ReadyCase:
    """The only scan at a path, prepared for every group of models.

    Raises:
        InputError: if the path holds no scan or several, or a file that cannot be read.
        CaseError: if the scan is broken or shows no brain.
    """
    found = find_scans([path])
    if isinstance(found, SliceSet):
        check_size(found, groups)
        rows = slices_by_case(found)
        name = _only(path, list(rows))
        return ready_slices(found, name, rows[name], groups)
    broken = [str(item) for item in found.rejected if item.broken]
    name = _only(path, [*(case.case_id for case in found.cases), *broken])
    case = next(case for case in found.cases if case.case_id == name)
    return prepare_case(case, [group.preprocessing for group in groups], extractor)


def _only(path: Path, names: Sequence[str]) -> str:
    if len(names) != 1:
        more = ", ..." if len(names) > 3 else ""
        raise InputError(
            f"{path}: holds {len(names)} scans ({', '.join(names[:3])}{more}); name one, or use the command for many"
        )
    return names[0]
