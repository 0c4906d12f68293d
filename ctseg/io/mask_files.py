"""Which files of a folder are masks and of which case, and which may be masks in forms that are not read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePath

from ctseg.errors import InputError
from ctseg.io.case import Rejected
from ctseg.io.dicom.header import NoHeader, SliceHeader, made_by, read_header
from ctseg.io.identity import keyed_digest
from ctseg.io.kinds import DICOM_SUFFIXES, UNPACK, kind_of
from ctseg.io.nifti.layouts import LABEL_WORDS, companions
from ctseg.io.source import Source
from ctseg.io.walk import MARK, all_files

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".seg.nhdr", ".nhdr", ".mha", ".mhd", ".hdr")
"""What a mask's name has behind the case; 3D Slicer's `.seg` is no part of the case."""
OWN_OBJECTS = ("", "_resampled", "_rtstruct", "_sr")
"""What `ctseg segment` puts behind a case's name in DICOM objects beside its mask; the first is a mask itself."""
OWN_MAKER = "ctseg"
"""Manufacturer in these objects."""
GZIP = ".gz"
FORM_OF = {".mgz": "FreeSurfer", ".mgh": "FreeSurfer", ".mnc": "MINC"}
NAMED_FORMS = {"SEG": "DICOM SEG", "RTSTRUCT": "DICOM RTSTRUCT"}
"""Modality -> form of the DICOM objects that are masks; others are DICOM alone."""
AS_NIFTI = "write them as NIfTI on the grid of the scan (SimpleITK, nibabel)"
HOLDER, HOLDERS = "folder with masks", "folders with masks"
BESIDE = (
    "put its masks beside the others, each under its case's name, or name them in a table (--cases of `ctseg evaluate`)"
)
OWN_MASKS = "an output of `ctseg segment`"
UNZIP = f"{UNPACK}, or put its masks beside the others"


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
    """The case of a file that is read as a mask: its name without the suffix, also of DICOM, packed by gzip or not."""
    if (case := case_of(name)) is not None:
        return case
    inner = name[: -len(GZIP)] if name.lower().endswith(GZIP) else name
    suffix = PurePath(inner).suffix
    return inner.removesuffix(suffix) if suffix.lower() in DICOM_SUFFIXES else inner


def _case(file: Path) -> str:
    """The case of a mask's file; of an object of `ctseg segment` that lies apart from the mask, the mask's."""
    name = mask_case(file.name)
    end = next((end for end in OWN_OBJECTS[1:] if name.endswith(end)), "")
    is_own = end and kind_of(file.name).what == "dicom" and made_by(Source(str(file))) == OWN_MAKER
    return name.removesuffix(end) or name if is_own else name


def files_of(mask: Path) -> tuple[Path, ...]:
    """A mask's file, and the files beside it that hold its voxels (`.raw` beside `.mhd`)."""
    return (mask, *companions(mask))


def mask_folder(folder: Path) -> MaskFolder:
    """The masks `CASE.nii.gz`, `CASE.seg.nrrd`, `CASE.dcm` (DICOM SEG, RTSTRUCT), ... of a folder; or the one file.

    DICOM objects are also found in folders below, as scans are. Archives call all of them alike: the case of one whose
    name another mask has is that name with a digest of its place. Other masks are found there where the folder itself
    holds none (`CASE/mask.nii.gz`, see `named_below`).

    Raises:
        InputError: if the folder is missing, or one case has two files.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; check the path")
    if folder.is_file():
        return _mask_file(folder)
    named, unread = mask_files(folder)
    masks = dict[str, Path]()
    for case, file in named:
        if case in masks:
            both = " and ".join(str(path.relative_to(folder)) for path in (masks[case], file))
            raise InputError(f"{folder}: holds {both} of one case; keep one of them")
        masks[case] = file
    return MaskFolder(masks, unread)


def _mask_file(file: Path) -> MaskFolder:
    """The one mask of a file that is given itself, whatever the name of a DICOM object."""
    is_mask = case_of(file.name) is not None or _modality(file) in NAMED_FORMS
    masks = {_case(file): file} if is_mask else {}
    return MaskFolder(masks, _unread([file], list(masks.values())))


def mask_files(folder: Path) -> tuple[list[tuple[str, Path]], tuple[Unread, ...]]:
    """(case, file) of the masks of a folder, also several of one case, and files that may be masks and are not read."""
    files = sorted(folder.iterdir())
    found, below = _masks_among(files), _below(folder, files)
    volumes = [mask for part in below.inside.values() for mask in part if not _has_no_case(mask)]
    named_volumes = [] if found else named_below(sorted(volumes), folder)
    holders = [] if named_volumes else [mask.parent for mask in volumes]
    names = Counter(map(_case, (*found, *below.objects)))
    named = [(_case(file), file) for file in found] + named_volumes
    named += [(_case_below(file, folder, names), file) for file in below.objects]
    return named, (*_unread(files, found), *_holders(folder, [*holders, *below.own]), *below.lost)


def named_below(volumes: Sequence[Path], folder: Path) -> list[tuple[str, Path]]:
    """(case, file) of masks in folders below a folder that holds none itself.

    `fold_1/anna.nii.gz`: where no two files have one name, that is the case. `anna/mask.nii.gz`: where all have one
    name, each in a folder of its own, and where the name of the only file is made of words for a mask, it is the path
    of the folder (`anna/day 1/mask.nii.gz` is `anna_day 1`). In any other layout it is open which of several masks is
    the one of a case: there is no pair.

    Args:
        volumes: files that are masks by their names.
        folder: above them.
    """
    own = [str(case_of(file.name)) for file in volumes]
    kinds, homes = {name.casefold() for name in own}, {file.parent for file in volumes}
    if len(kinds) == 1 and len(homes) == len(volumes) and (len(volumes) > 1 or _is_word(own[0])):
        return [("_".join(file.parent.relative_to(folder).parts), file) for file in volumes]
    return list(zip(own, volumes, strict=True)) if len(kinds) == len(volumes) else []


def _is_word(name: str) -> bool:
    """Whether a file's name says that it is a mask, and not whose."""
    return set(re.findall("[a-z0-9]+", name.lower())) <= LABEL_WORDS


def _case_below(file: Path, folder: Path, names: Mapping[str, int]) -> str:
    """The case of a DICOM mask in a folder below; other masks may have its name."""
    case = _case(file)
    return case if names[case] == 1 else f"{case}-{keyed_digest(str(file.relative_to(folder)))}"


@dataclass(frozen=True)
class _Below:
    """What lies in folders below a folder."""

    inside: Mapping[Path, list[Path]] = field(default_factory=dict)
    """Folder -> its files."""
    objects: Sequence[Path] = ()
    """DICOM masks."""
    own: Sequence[Path] = ()
    """Outputs of ctseg."""
    lost: Sequence[Unread] = ()
    """Masks in forms that are not read, and what the system does not give."""


def _below(folder: Path, files: Sequence[Path]) -> _Below:
    """What lies in folders below; ctseg's own outputs are not looked into, nor is what systems hide."""
    if (folder / MARK).exists() or not any(file.is_dir() for file in files):
        return _Below()
    found = all_files([folder])
    inside = _by_folder(file for file in found.files if file.parent != folder)
    masks = sorted(filter(_has_no_case, chain.from_iterable(_masks_among(sorted(part)) for part in inside.values())))
    own = [Path(item.path_or_series) for item in found.rejected if OWN_MASKS in item.reason]
    return _Below(inside, masks, own, [*_other_forms(folder, inside), *_lost(folder, found.rejected)])


def _other_forms(folder: Path, inside: Mapping[Path, list[Path]]) -> list[Unread]:
    """The files in folders below whose names are those of volumes, or of archives, that are not read."""
    found = []
    for files in inside.values():
        masks = [file for file in files if not _has_no_case(file)]
        rest = [file for file in files if kind_of(file.name).what in ("left", "zip")]
        found += [
            replace(item, name=str((file.parent / item.name).relative_to(folder)))
            for file in rest
            for item in _unread([file], masks)
        ]
    return found


def _holders(folder: Path, places: Iterable[Path]) -> list[Unread]:
    """A line for each folder below a folder that holds masks which are not read."""
    return [Unread(f"{place.relative_to(folder)}/", HOLDER, BESIDE) for place in sorted(set(places))]


def _by_folder(files: Iterable[Path]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for file in files:
        found.setdefault(file.parent, []).append(file)
    return found


def _has_no_case(file: Path) -> bool:
    return case_of(file.name) is None


def _lost(folder: Path, rejected: Iterable[Rejected]) -> Iterator[Unread]:
    """What the system does not give of folders below a folder."""
    for item in rejected:
        path, (reason, _, way_out) = Path(item.path_or_series), item.reason.partition("; ")
        if item.broken and path.is_dir():
            yield Unread(f"{path.relative_to(folder)}/", "folder that cannot be opened", way_out)
        elif item.broken and path.parent != folder:
            yield Unread(str(path.relative_to(folder)), reason, way_out)


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
    return kind_of(file.name).what == "dicom" and file.is_file() and _modality(file) in NAMED_FORMS


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
        file: one that is no mask by its name; folders are looked into by `_below`.
        cases: of the masks in its folder.
        read: their files' names.
    """
    kind = kind_of(file.name)
    if file.is_dir():
        return None
    if kind.what == "dicom":
        return _by_content(file, cases)
    if kind.what not in ("left", "zip") or _is_copy(file.name, read):
        return None
    is_archive = kind.what == "zip" or kind.reason == UNPACK
    return Unread(file.name, FORM_OF.get(suffix := file.suffix.lower(), suffix), UNZIP if is_archive else "")


def _by_content(file: Path, cases: Collection[str]) -> Unread | None:
    """The form of a file whose name leaves open what it is, as DICOM without a suffix does; None if it is no volume.

    `ctseg segment` itself puts DICOM objects beside its masks, with the same names; another maker's are no such.
    """
    source = Source(str(file))
    header = read_header(source)
    if isinstance(header, SliceHeader):
        return None if _is_own(file, cases) else Unread(file.name, NAMED_FORMS.get(header.modality, "DICOM"))
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
    found = Counter(file.form for file in files)
    return ", ".join(f"{count} {HOLDERS if form == HOLDER and count > 1 else form}" for form, count in found.items())


def ways_out(files: Sequence[Unread]) -> str:
    """To write them as NIfTI; and another way for the first file that has one of its own."""
    written = [AS_NIFTI] if any(not file.way_out for file in files) else []
    other = next(([f"{file.name}: {file.way_out}"] for file in files if file.way_out), [])
    return "; ".join([*written, *other])


def no_masks(folder: Path, found: MaskFolder) -> InputError:
    """The error that a folder holds no mask, with the way out where it holds masks in other forms."""
    way_out = f", but {about_unread(found.unread)}" if found.unread else ""
    return InputError(f"{folder}: no mask (CASE.nii.gz, CASE.seg.nrrd, CASE.mha, CASE.dcm) in it{way_out}")
