"""Which files of a folder are masks and of which case, and which may be masks in forms that are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ctseg.errors import InputError
from ctseg.io.kinds import DICOM_SUFFIXES, kind_of
from ctseg.io.nifti.layouts import companions

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".seg.nhdr", ".nhdr", ".mha", ".mhd", ".hdr")
"""What a mask's name has behind the case; 3D Slicer's `.seg` is no part of the case."""
OWN_OBJECTS = ("", "_resampled", "_rtstruct", "_sr")
"""What `ctseg segment` puts behind a case's name in DICOM objects beside its mask."""
FORM_OF = {
    **dict.fromkeys(DICOM_SUFFIXES, "DICOM"), ".mgz": "FreeSurfer", ".mgh": "FreeSurfer", ".mnc": "MINC",
}  # fmt: skip
AS_NIFTI = (
    "write them as NIfTI on the grid of the scan (SEG: segimage2itkimage of dcmqi; RTSTRUCT: plastimatch convert; "
    "others: SimpleITK or nibabel)"
)


@dataclass(frozen=True)
class MaskFolder:
    """The masks of a folder, or the one of a file."""

    masks: dict[str, Path]
    """Case -> file, in the order of the files' names."""
    unread: tuple[str, ...]
    """Names of files that may hold masks of further cases, in forms that are not read."""


def case_of(name: str) -> str | None:
    """The case of a mask by its file's name; None for the name of no mask."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is None or name.startswith("."):
        return None
    return name[: -len(suffix)]


def files_of(mask: Path) -> tuple[Path, ...]:
    """A mask's file, and the files beside it that hold its voxels (`.raw` beside `.mhd`)."""
    return (mask, *companions(mask))


def mask_folder(folder: Path) -> MaskFolder:
    """The masks `CASE.nii.gz`, `CASE.seg.nrrd`, ... of a folder; or the one file given.

    Raises:
        InputError: if the folder is missing, or one case has two files.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; check the path")
    files = [folder] if folder.is_file() else sorted(folder.iterdir())
    masks: dict[str, Path] = {}
    for file in files:
        case = case_of(file.name)
        if case is None:
            continue
        if case in masks:
            raise InputError(f"{folder}: holds {masks[case].name} and {file.name} of one case; keep one of them")
        masks[case] = file
    return MaskFolder(masks, _unread(files, masks))


def _unread(files: Iterable[Path], masks: dict[str, Path]) -> tuple[str, ...]:
    """Names of files that are no mask by their name, and may be one by their kind."""
    voxels = {beside for mask in masks.values() for beside in companions(mask)}
    names = (file.name for file in files if file not in voxels and not file.is_dir())
    read = {mask.name for mask in masks.values()}
    return tuple(name for name in names if case_of(name) is None and _may_be_mask(name, masks, read))


def _may_be_mask(name: str, cases: Collection[str], files: Collection[str]) -> bool:
    """Whether a file of this name, which is not read, may hold a mask that lies in no other file.

    `ctseg segment` itself puts DICOM objects beside its masks, with the same names.
    """
    path = PurePath(name)
    if path.suffix.lower() in DICOM_SUFFIXES:
        return not any(path.stem.endswith(end) and path.stem.removesuffix(end) in cases for end in OWN_OBJECTS)
    return kind_of(name).what in ("left", "zip") and not _is_copy(name, files)


def _is_copy(name: str, files: Collection[str]) -> bool:
    """Whether it is `CASE.nii.gz.changed`, `CASE.nii.gz~` or the like beside the mask itself."""
    return any(name[:end] in files for end in range(1, len(name)))


def about_unread(names: Sequence[str]) -> str:
    """What is said of them: how many of which form, and the way out."""
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{files} in forms that are not read ({forms_of(names)}), such as {names[0]}; {AS_NIFTI}"


def forms_of(names: Sequence[str]) -> str:
    """`2 DICOM, 1 MINC`."""
    found = Counter(FORM_OF.get(suffix := PurePath(name).suffix.lower(), suffix) for name in names)
    return ", ".join(f"{count} {form}" for form, count in found.items())


def no_masks(folder: Path, found: MaskFolder) -> InputError:
    """The error that a folder holds no mask, with the way out where it holds masks in other forms."""
    way_out = f", but {about_unread(found.unread)}" if found.unread else ""
    return InputError(f"{folder}: no mask (CASE.nii.gz, CASE.seg.nrrd, CASE.mha) in it{way_out}")
