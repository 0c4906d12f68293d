"""Folders of masks that no ctseg command wrote: references, or another program's segmentations."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.inspection.report import Report
from ctseg.io.dicom.rtstruct import read_rtstruct
from ctseg.io.mask_files import about_unread, mask_case, mask_files
from ctseg.io.masks import is_outlines, load_mask
from ctseg.io.source import Source
from ctseg.io.volume import Volume
from ctseg.progress import ProgressCallback
from ctseg.wording import counted, first_of


def inspect_masks(path: Path, *, progress: ProgressCallback | None = None) -> Report:
    """Read every mask of a folder, or one file: label values, volumes, and those that are empty or broken."""
    files, unread = ([(mask_case(path.name), path)], ()) if path.is_file() else mask_files(path)
    report = Report(path, "masks")
    for number, (case, file) in enumerate(files, start=1):
        try:
            row, notes = _of_outlines(file) if is_outlines(file) else _of_voxels(file)
            row["case"] = case
        except CaseError as error:
            report.problems.append(str(error))
            continue
        report.rows.append(row)
        report.remarks += [f"{row['case']}: {note}" for note in notes]
        if progress:
            progress(number, len(files), str(row["case"]))
    _summarise(report, len(files))
    if unread:
        report.remarks.append(about_unread(unread))
    here = shlex.quote(str(path))
    report.steps = [
        f"ctseg evaluate --pred SEGMENTATION --ref {here} -o evaluation",
        f"ctseg preprocess SCANS -o sets/ct --domain ct --masks {here}",
    ]
    return report


def _of_voxels(file: Path) -> tuple[dict[str, Any], list[str]]:
    """The row of a mask, still without its case, and remarks.

    Raises:
        CaseError: if it cannot be read.
    """
    mask, volume = load_mask(file)
    found = [int(value) for value in np.unique(mask) if value]
    row = {"case": "", "slices": len(mask), "ml": _millilitres(mask, volume), "values": found}
    return row, [*volume.notes, *_gap_notes(volume)]


def _of_outlines(file: Path) -> tuple[dict[str, Any], list[str]]:
    """As `_of_voxels`, of an RT structure set: which pixels it encloses is known with its scan alone.

    Raises:
        CaseError: if it cannot be read.
    """
    found = read_rtstruct(Source(str(file)))
    row = {"case": "", "slices": None, "ml": None, "values": list(found.numbers)}
    return row, list(found.notes)


def _summarise(report: Report, files: int) -> None:
    """The masks as a whole."""
    values = {value for row in report.rows for value in row["values"]}
    volumes = [float(row["ml"]) for row in report.rows if row["ml"]]
    empty = _cases(report, lambda row: not row["values"])
    unknown = _cases(report, lambda row: row["ml"] is None and row["slices"] is not None)
    drawn = _cases(report, lambda row: row["slices"] is None)
    report.facts = {
        "masks": files,
        "empty": len(empty),
        "label values": ", ".join(map(str, sorted(values))) or "none",
        "mL of those with a lesion": f"{min(volumes):.2f} to {max(volumes):.2f}" if volumes else "none",
    }
    said = {
        "mask": (empty, "without a lesion"),
        "DICOM SEG": (unknown, "of uneven slices, whose mL are known with their scans alone"),
        "DICOM RTSTRUCT": (drawn, "whose slices and mL are known with their scans alone"),
    }
    report.remarks += [
        f"{counted(len(cases), noun)} {words}: {first_of(cases, 3)}" for noun, (cases, words) in said.items() if cases
    ]


def _cases(report: Report, wanted: Callable[[dict[str, Any]], bool]) -> list[str]:
    return [str(row["case"]) for row in report.rows if wanted(row)]


def _gap_notes(volume: Volume) -> list[str]:
    """What the mL of a mask rest on that leaves out slices between others."""
    is_filled = volume.drawn is not None and volume.drawn.is_even and not volume.drawn.is_frame.all()
    return (
        ["leaves out slices between others; its mL rest on the spacing of slices that it states"] if is_filled else []
    )


def _millilitres(mask: NDArray[np.uint8], volume: Volume) -> float | None:
    """Volume of a mask in mL; None where it has uneven slices and does not say what lies between them."""
    if volume.drawn is not None and not volume.drawn.is_even:
        return None
    return round(float(np.dot((mask > 0).sum(axis=(1, 2)), volume.voxel_ml)), 3)
