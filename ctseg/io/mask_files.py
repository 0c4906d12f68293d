"""Which files of a folder are masks and of which case, and which may be masks in forms that are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ctseg.errors import InputError
from ctseg.io.dicom.header import NoHeader, SliceHeader, made_by, read_header
from ctseg.io.kinds import DICOM_SUFFIXES, INFLATE, kind_of
from ctseg.io.nifti.layouts import companions
from ctseg.io.source import Source
from ctseg.io.walk import MARK

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".seg.nhdr", ".nhdr", ".mha", ".mhd", ".hdr")
"""What a mask's name has behind the case; 3D Slicer's `.seg` is no part of the case."""
OWN_OBJECTS = ("", "_resampled", "_rtstruct", "_sr")
"""What `ctseg segment` puts behind a case's name in DICOM objects beside its mask; the first is a mask itself."""
OWN_MAKER = "ctseg"
"""Manufacturer in these objects."""
FORM_OF = {".mgz": "FreeSurfer", ".mgh": "FreeSurfer", ".mnc": "MINC"}
NAMED_FORMS = {"SEG": "DICOM SEG", "RTSTRUCT": "DICOM RTSTRUCT"}
"""Modality -> form of the DICOM objects that are masks; others are DICOM alone."""
AS_NIFTI = "write them as NIfTI on the grid of the scan (SimpleITK, nibabel)"
MOST_LOOKED_AT = 5
"""DICOM files of a folder within a folder of masks whose headers are read: the first tell what all of them are."""


@dataclass(frozen=True)
class Unread:
    """A file that may hold a mask, in a form that is not read."""

    name: str
    form: str
    """Such as `MINC` or `DICOM SEG`."""
    way_out: str = ""
    """Where that is another than to write it as NIfTI."""


@dataclass(frozen=True)
class MaskFolder:
    """The masks of a folder, or the one of a file."""

    masks: dict[str, Path]
    """Case -> file, in the order of the files' names."""
    unread: tuple[Unread, ...]
    """Files that may hold masks of further cases, in forms that are not read."""


def case_of(name: str) -> str | None:
    """The case of a mask by its file's name; None for the name of no mask."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is None or name.startswith("."):
        return None
    return name[: -len(suffix)]


def mask_case(name: str) -> str:
    """The case of a file that is read as a mask: its name without the suffix, also of DICOM."""
    suffix = PurePath(name).suffix
    return case_of(name) or (name.removesuffix(suffix) if suffix.lower() in DICOM_SUFFIXES else name)


def files_of(mask: Path) -> tuple[Path, ...]:
    """A mask's file, and the files beside it that hold its voxels (`.raw` beside `.mhd`)."""
    return (mask, *companions(mask))


def mask_folder(folder: Path) -> MaskFolder:
    """The masks `CASE.nii.gz`, `CASE.seg.nrrd`, `CASE.dcm` (DICOM SEG, RTSTRUCT), ... of a folder; or the one file.

    Raises:
        InputError: if the folder is missing, or one case has two files.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; check the path")
    if folder.is_file():
        return _mask_file(folder)
    files = sorted(folder.iterdir())
    found, masks = _masks_among(files), dict[str, Path]()
    for file in found:
        case = mask_case(file.name)
        if case in masks:
            raise InputError(f"{folder}: holds {masks[case].name} and {file.name} of one case; keep one of them")
        masks[case] = file
    return MaskFolder(masks, _unread(files, found))


def _mask_file(file: Path) -> MaskFolder:
    """The one mask of a file that is given itself, whatever the name of a DICOM object."""
    is_mask = case_of(file.name) is not None or _modality(file) in NAMED_FORMS
    masks = {mask_case(file.name): file} if is_mask else {}
    return MaskFolder(masks, _unread([file], list(masks.values())))


def mask_files(folder: Path) -> tuple[list[Path], tuple[Unread, ...]]:
    """The masks of a folder, also several of one case, and files that may be masks in forms that are not read."""
    files = sorted(folder.iterdir())
    found = _masks_among(files)
    return found, _unread(files, found)


def _masks_among(files: Sequence[Path]) -> list[Path]:
    """The files that are masks by their name, and DICOM SEG and RTSTRUCT that are no objects beside another mask."""
    named = {file for file in files if case_of(file.name) is not None}
    beside = {str(case_of(file.name)) for file in named}
    objects = _without_own([file for file in files if file not in named and _is_object(file)], beside)
    found = named | set(_without_own(objects, {mask_case(file.name) for file in objects}, OWN_OBJECTS[1:]))
    return [file for file in files if file in found]


def _without_own(files: Sequence[Path], cases: Collection[str], ends: Sequence[str] = OWN_OBJECTS) -> list[Path]:
    return [file for file in files if not _is_own(file, cases, ends)]


def _is_object(file: Path) -> bool:
    """Whether a file is a DICOM SEG or RTSTRUCT, which `CASE.dcm` and files without a suffix can be."""
    is_plain = kind_of(file.name).what == "dicom" and file.suffix.lower() != ".gz"
    return is_plain and file.is_file() and _modality(file) in NAMED_FORMS


def _modality(file: Path) -> str:
    """Modality of a DICOM file; empty of any other."""
    header = read_header(Source(str(file)))
    return header.modality if isinstance(header, SliceHeader) else ""


def _unread(files: Iterable[Path], masks: Collection[Path]) -> tuple[Unread, ...]:
    """Files that are no mask by their name, and may be one by their kind or by what they hold."""
    voxels = {beside for mask in masks for beside in companions(mask)}
    rest = [file for file in files if file not in masks and file not in voxels]
    cases, read = {mask_case(mask.name) for mask in masks}, {mask.name for mask in masks}
    return tuple(item for file in rest if (item := _may_be_mask(file, cases, read)) is not None)


def _may_be_mask(file: Path, cases: Collection[str], read: Collection[str]) -> Unread | None:
    """What a file, which is not read, is in place of a mask; None for one that lies beside masks as no other.

    Args:
        file: a file or folder that is no mask by its name.
        cases: of the masks in its folder.
        read: their files' names.
    """
    if file.is_dir():
        return _with_masks(file)
    kind = kind_of(file.name)
    if kind.what == "dicom":
        return _by_content(file, cases)
    is_left = kind.what in ("left", "zip") and not _is_copy(file.name, read)
    return Unread(file.name, FORM_OF.get(suffix := file.suffix.lower(), suffix)) if is_left else None


def _with_masks(folder: Path) -> Unread | None:
    """A folder within a folder of masks that holds some itself, by their names; None for any other.

    Hidden folders are left alone, and those of ctseg's own outputs, such as the maps of probability.
    """
    if folder.name.startswith(".") or (folder.parent / MARK).exists():
        return None
    try:
        inside = _holds_masks(sorted(folder.iterdir()))
    except OSError as error:
        return Unread(f"{folder.name}/", "folder that cannot be opened", f"{error.strerror}; check its permissions")
    form, way_out = "folder with masks", "put its masks beside the others, each under its case's name"
    return Unread(f"{folder.name}/", form, way_out) if inside else None


def _holds_masks(files: Sequence[Path]) -> bool:
    """Whether there is a mask by its name, or a DICOM SEG or RTSTRUCT among the first files that may be one."""
    dicom = [file for file in files if kind_of(file.name).what == "dicom" and file.is_file()]
    return any(case_of(file.name) is not None for file in files) or any(
        _modality(file) in NAMED_FORMS for file in dicom[:MOST_LOOKED_AT]
    )


def _by_content(file: Path, cases: Collection[str]) -> Unread | None:
    """The form of a file whose name leaves open what it is, as DICOM without a suffix does; None if it is no volume.

    `ctseg segment` itself puts DICOM objects beside its masks, with the same names; another maker's are no such.
    """
    source = Source(str(file))
    header = read_header(source)
    if isinstance(header, SliceHeader):
        form = NAMED_FORMS.get(header.modality, "DICOM")
        way_out = f"{INFLATE} (gunzip)" if file.suffix.lower() == ".gz" else ""
        return None if _is_own(file, cases) else Unread(file.name, form, way_out)
    if file.suffix.lower() in DICOM_SUFFIXES:
        return Unread(file.name, "DICOM")
    return _without_header(file.name, header)


def _without_header(name: str, header: NoHeader) -> Unread | None:
    """A file that is no readable DICOM, but a volume or an archive by its first bytes, or not given by the system."""
    if not header.broken:
        return None
    form, _, way_out = header.reason.partition("; ")
    return Unread(name, form, way_out)


def _is_own(file: Path, cases: Collection[str], ends: Sequence[str] = OWN_OBJECTS) -> bool:
    """Whether `ctseg segment` put a DICOM object beside the mask of one of these cases, by its name and its maker."""
    stem, suffix = PurePath(file.name).stem, PurePath(file.name).suffix
    has_name = suffix == ".dcm" and any(stem.endswith(end) and stem.removesuffix(end) in cases for end in ends)
    return has_name and made_by(Source(str(file))) == OWN_MAKER


def _is_copy(name: str, files: Collection[str]) -> bool:
    """Whether it is `CASE.nii.gz.changed`, `CASE.nii.gz~` or the like beside the mask itself."""
    return any(name[:end] in files for end in range(1, len(name)))


def about_unread(files: Sequence[Unread]) -> str:
    """What is said of them: how many of which form, and the way out."""
    folders = sum(file.name.endswith("/") for file in files)
    nouns = ("file", "files") if not folders else ("folder", "folders") if folders == len(files) else ("", "names")
    count = f"{len(files)} {nouns[len(files) > 1]}"
    return f"{count} in forms that are not read ({forms_of(files)}), such as {files[0].name}; {ways_out(files)}"


def forms_of(files: Sequence[Unread]) -> str:
    """`2 DICOM SEG, 1 MINC`."""
    return ", ".join(f"{count} {form}" for form, count in Counter(file.form for file in files).items())


def ways_out(files: Sequence[Unread]) -> str:
    """To write them as NIfTI; and another way for the first file that has one of its own."""
    written = [AS_NIFTI] if any(not file.way_out for file in files) else []
    other = next(([f"{file.name}: {file.way_out}"] for file in files if file.way_out), [])
    return "; ".join([*written, *other])


def no_masks(folder: Path, found: MaskFolder) -> InputError:
    """The error that a folder holds no mask, with the way out where it holds masks in other forms."""
    way_out = f", but {about_unread(found.unread)}" if found.unread else ""
    return InputError(f"{folder}: no mask (CASE.nii.gz, CASE.seg.nrrd, CASE.mha, CASE.dcm) in it{way_out}")
