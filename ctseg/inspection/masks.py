"""Folders of masks that no ctseg command wrote: references, or another program's segmentations."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from ctseg.errors import CaseError
from ctseg.inspection.report import Report, counted, first_of
from ctseg.io.mask_files import about_unread, case_of, unread_files
from ctseg.io.masks import load_mask
from ctseg.progress import ProgressCallback


def inspect_masks(path: Path, *, progress: ProgressCallback | None = None) -> Report:
    """Read every mask of a folder, or one file: label values, volumes, and those that are empty or broken."""
    files = [path] if path.is_file() else sorted(filter(_is_volume, path.iterdir()))
    report = Report(path, "masks")
    for number, file in enumerate(files, start=1):
        try:
            mask, volume = load_mask(file)
        except CaseError as error:
            report.problems.append(str(error))
            continue
        found = [int(value) for value in np.unique(mask) if value]
        ml = float(np.dot((mask > 0).sum(axis=(1, 2)), volume.voxel_ml))
        report.rows.append({"case": volume.case_id, "slices": len(mask), "ml": round(ml, 3), "values": found})
        if progress:
            progress(number, len(files), volume.case_id)
    _summarise(report, len(files))
    if path.is_dir() and (unread := unread_files(path)):
        report.remarks.append(about_unread(unread))
    here = shlex.quote(str(path))
    report.steps = [
        f"ctseg evaluate --pred SEGMENTATION --ref {here} -o evaluation",
        f"ctseg preprocess SCANS -o sets/ct --domain ct --masks {here}",
    ]
    return report


def _summarise(report: Report, files: int) -> None:
    """The masks as a whole."""
    values = {value for row in report.rows for value in row["values"]}
    volumes = [float(row["ml"]) for row in report.rows if row["ml"]]
    empty = [str(row["case"]) for row in report.rows if not row["ml"]]
    report.facts = {
        "masks": files,
        "empty": len(empty),
        "label values": ", ".join(map(str, sorted(values))) or "none",
        "mL of those with a lesion": f"{min(volumes):.2f} to {max(volumes):.2f}" if volumes else "none",
    }
    if empty:
        report.remarks.append(f"{counted(len(empty), 'mask')} without a lesion: {first_of(empty)}")


def _is_volume(path: Path) -> bool:
    return path.is_file() and case_of(path.name) is not None
