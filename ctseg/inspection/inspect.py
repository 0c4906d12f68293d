"""What a path is, told by names and marks, and who looks into it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ctseg.errors import InputError
from ctseg.files import regular
from ctseg.inspection.report import Report
from ctseg.io.kinds import is_volume, kind_of
from ctseg.progress import ProgressCallback


def kind_of_path(path: Path) -> str:
    """What a path seems to hold, without reading much; 'scans' where nothing says otherwise.

    Raises:
        InputError: if there is nothing.
    """
    path = Path(path)
    if path.is_dir():
        return _kind_of_folder(path)
    try:
        return _kind_of_file(regular(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder; check the path") from None


FOLDER_FILES = (
    ("slices.csv", "slice set"), ("images.npy", "slice set"), ("model.safetensors", "run"), ("checkpoint.pt", "run"),
    ("fold_1", "folds"), ("volumes.json", "segmentation"), ("summary.json", "evaluation"), ("config.toml", "run"),
    ("study.toml", "study"),
)  # fmt: skip
"""(file, kind of the folder that holds it); the first that is there decides."""


def _kind_of_folder(path: Path) -> str:
    found = next((kind for name, kind in FOLDER_FILES if (path / name).exists()), "")
    if found:
        return found
    from ctseg.inspection.outputs import is_outputs

    return "outputs" if is_outputs(path) else "masks" if _only_masks(path) else "scans"


def _kind_of_file(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".safetensors"):
        return "run"
    if name.endswith(".toml"):
        return "study"
    if name.endswith(".csv"):
        from ctseg.matching.pairs import is_pairs_header

        with path.open("rb") as file:
            first = file.readline(4096)
        columns = first.decode("utf-8", "replace").strip().split(",")
        is_pairs = is_pairs_header(first.rstrip(b"\r\n")) or {"source_id", "target_id"} <= set(columns)
        return "pairs" if is_pairs else "unknown"
    return "masks" if _is_mask(path) else "scans"


def _only_masks(folder: Path) -> bool:
    """Whether every volume of a folder holds few whole numbers, as labels do, or every DICOM file is a segmentation.

    Folders below are looked into where it holds none itself.
    """
    files = sorted(folder.iterdir())
    volumes = [path for path in files if is_volume(path.name)]
    if (folder / "dataset.json").exists():
        return False
    volumes = volumes or [path for path in files if path.is_file() and kind_of(path.name).what == "dicom"]
    found = [_is_mask(path) for path in volumes[:5]]
    return _are_masks(found) if found else _only_masks_below(folder)


def _are_masks(found: Sequence[bool | None]) -> bool:
    return True in found and False not in found


def _only_masks_below(folder: Path) -> bool:
    """Whether the first volume, or DICOM file, of every folder below is a mask."""
    found = False
    for place, _, names in os.walk(folder):
        first = next((name for name in sorted(names) if kind_of(name).what in ("dicom", "volume")), None)
        is_mask = None if first is None else _is_mask(Path(place, first))
        if is_mask is False:
            return False
        found = found or bool(is_mask)
    return found


def _is_mask(path: Path) -> bool | None:
    """Whether a file holds a mask; None of one that cannot be read."""
    if not is_volume(path.name):
        from ctseg.io.dicom.seg import is_seg
        from ctseg.io.masks import is_outlines

        return kind_of(path.name).what == "dicom" and (is_seg(path) or is_outlines(path))
    from ctseg.errors import CaseError
    from ctseg.io.nifti.file import open_nifti
    from ctseg.io.nifti.layouts import holds_labels

    try:
        return holds_labels(open_nifti(path, layered=True))
    except CaseError:
        return None


def inspect(
    path: Path, *, workers: int = 0, headers_only: bool = False, progress: ProgressCallback | None = None
) -> Report:
    """Look at whatever a path holds.

    Args:
        path: a file or folder.
        workers: processes that read scans; 0 reads them here.
        headers_only: of scans, read no voxels.
        progress: called while scans or masks are read.

    Raises:
        InputError: if there is nothing, or nothing that ctseg knows.
    """
    from ctseg.inspection import artefacts, masks, outputs, scans

    path = Path(path)
    kind = kind_of_path(path)
    if kind == "scans":
        return scans.inspect_scans(path, workers=workers, headers_only=headers_only, progress=progress)
    if kind == "masks":
        return masks.inspect_masks(path, progress=progress)
    if kind == "outputs":
        return outputs.inspect_outputs(path)
    if kind in artefacts.LOOK:
        return artefacts.LOOK[kind](path)
    raise InputError(f"{path}: nothing that ctseg makes or reads; it knows scans, slice sets, pairs, runs and masks")
