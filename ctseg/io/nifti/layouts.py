"""Which NIfTI files are scans, which are their labels: Decathlon and nnU-Net tasks, BraTS cases, plain folders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ctseg.errors import CaseError, UnreadableError
from ctseg.files import read_json, read_json_beside
from ctseg.io.case import Case, Rejected, safe_name
from ctseg.io.kinds import NIFTI
from ctseg.io.nifti.file import BRATS_SHAPE, NiftiFile, open_nifti, read_slab

TASK_FILE = "dataset.json"
RAW = (".raw", ".zraw", ".raw.gz", ".img")
LABEL_WORDS = frozenset(
    {"seg", "segmentation", "label", "labels", "lesion", "lesions", "mask", "masks", "gt", "truth", "annotation"}
)
FLAIR_WORDS = frozenset({"flair", "t2f"})
OTHER_CONTRASTS = frozenset({"t1", "t1ce", "t1c", "t1gd", "t1n", "t2", "t2w", "dwi", "adc", "swi"})
MR_WORDS = FLAIR_WORDS | OTHER_CONTRASTS | {"mr", "mri"}
CT_WORDS = frozenset({"ct", "cct", "ncct", "scct"})
LABEL_FOLDER, IMAGE_FOLDER = (
    re.compile(f"({names})(?P<split>Tr|Ts|Va)?", re.IGNORECASE)
    for names in ("labels?|masks?|seg(mentation)?s?|ground[ _-]?truths?", "images?|scans?")
)
NNUNET_CHANNEL = re.compile(r"_\d{4}$")
FEW_VALUES = 8
"""A file with so few different whole numbers is a mask, not a scan."""
CT_BELOW_HU = -500.0
"""Only CT goes this low."""

SEVERAL_LABELS = "one of several labels of its scan, which has none then; keep one of them"
SAME_NAME = "another scan beside it has the same name but for contrast, channel or suffix; each counts as a scan"
GUESSED = "taken as MR, as neither its name nor its voxels say CT"

Found = tuple[list[Case], list[Rejected]]


def is_nifti(path: Path) -> bool:
    """Whether the name says NIfTI; files that start with a dot are other systems' litter."""
    return path.name.lower().endswith(NIFTI) and not path.name.startswith(".")


def stem(path: Path) -> str:
    """File name without `.nii`, `.nii.gz` or the suffix of another volume format."""
    return re.sub(r"\.(nii|nii\.gz|hdr|nrrd|nhdr|mha|mhd)$", "", path.name, flags=re.IGNORECASE)


def companions(path: Path) -> tuple[Path, ...]:
    """The files that hold the voxels of a header file: `.img` beside `.hdr`, raw files beside `.mhd` and `.nhdr`."""
    suffixes = {".hdr": (".img",), ".mhd": RAW, ".nhdr": RAW}.get(path.suffix.lower(), ())
    upper = tuple(suffix.upper() for suffix in suffixes)
    return tuple(beside for suffix in (*suffixes, *upper) if (beside := path.with_suffix(suffix)).is_file())


def task_folders(files: Iterable[Path]) -> list[Path]:
    """Folders with a Decathlon or nnU-Net `dataset.json`: one that lists channels, or that the system does not give."""
    found = []
    for path in sorted({path for path in files if path.name == TASK_FILE}):
        try:
            info = read_json_beside(path)
        except UnreadableError:
            found.append(path.parent)  # whoever reads its cases says why; its files are no scans by themselves
            continue
        if isinstance(info, dict) and ("modality" in info or "channel_names" in info):
            found.append(path.parent)
    return found


def task_cases(folder: Path, domain: str) -> Found:
    """The labelled training scans of a task folder; a task without any label gives all its images."""
    info = read_json(folder / TASK_FILE)
    channels = [str(name) for name in _in_order(info.get("modality") or info.get("channel_names") or {})]
    kind_domain = "ct" if channels and channels[0].upper() == "CT" else "mr"
    if domain not in ("auto", kind_domain):
        return [], [Rejected(str(folder), f"a task of {channels or 'no'} channels, not {domain}")]
    channel, notes = _flair_channel(channels)
    cases, rejected = [], []
    for image, label in _task_pairs(folder, info, channel):
        reason = _task_fault(folder, image, label)
        if reason:
            rejected.append(Rejected(str(image), reason))
            continue
        name = NNUNET_CHANNEL.sub("", stem(image))
        case = Case(
            safe_name(name), safe_name(name), "msd", kind_domain, (image,), label, safe_name(name), notes, channel
        )
        cases.append(case)
    return cases, rejected + _unlabelled(folder, info, cases)


def _in_order(channels: Any) -> list[Any]:
    """Channel names by index; a Decathlon task has {"0": "FLAIR", ...}."""
    if isinstance(channels, dict):
        return [channels[key] for key in sorted(channels, key=lambda key: int(key) if str(key).isdigit() else 0)]
    return list(channels) if isinstance(channels, list) else [channels]


def _flair_channel(channels: Sequence[str]) -> tuple[int | None, tuple[str, ...]]:
    """Which channel to read, and a note where there is no FLAIR among several."""
    if len(channels) < 2:
        return None, ()
    for index, name in enumerate(channels):
        if name.lower() in FLAIR_WORDS:
            return index, ()
    return 0, (f"no FLAIR among the channels; the first ({channels[0]}) is read",)


def _task_pairs(folder: Path, info: dict[str, Any], channel: int | None) -> Iterator[tuple[Path, Path | None]]:
    """(image, label) of the training scans, from the list in dataset.json or by nnU-Net's file names."""
    listed = [entry for entry in info.get("training") or [] if isinstance(entry, dict) and "image" in entry]
    for entry in listed:
        label = entry.get("label")
        yield folder / str(entry["image"]), folder / str(label) if label else None
    if not listed:
        yield from _named_pairs(folder, channel)


def _named_pairs(folder: Path, channel: int | None) -> Iterator[tuple[Path, Path]]:
    """(image, label) of the training scans by nnU-Net's file names."""
    wanted = f"_{channel or 0:04d}"
    for image in sorted(path for path in (folder / "imagesTr").glob("*") if is_nifti(path)):
        if not NNUNET_CHANNEL.search(stem(image)) or stem(image).endswith(wanted):
            yield image, folder / "labelsTr" / NNUNET_CHANNEL.sub("", image.name.replace(wanted, ""))


def _task_fault(folder: Path, image: Path, label: Path | None) -> str:
    """Why a listed scan cannot be read; empty where it can."""
    for path in (image, label):
        if path is None:
            continue
        if folder.resolve() not in path.resolve().parents:
            return "dataset.json points outside its folder"
        if not path.is_file():
            return f"listed in dataset.json, but {path.name} is missing in {path.parent.name}"
    return ""


def _unlabelled(folder: Path, info: dict[str, Any], cases: Sequence[Case]) -> list[Rejected]:
    tests = info.get("test") or []
    if not tests or not any(case.label_file for case in cases):
        return []
    return [Rejected(str(folder), f"{len(tests)} test images without labels are not used")]


def folder_cases(files: Sequence[Path], domain: str) -> Found:
    """Scans among NIfTI files of any folders, with the labels that lie beside them.

    A label is a file whose name has a label word (`_seg`, `-label`, `_lesions`, `_mask`) and otherwise the same words,
    or one of the same name in a folder such as labelsTr. Of several MR contrasts of one case the FLAIR is taken.
    """
    scans, labels = _sort_labels(files)
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in scans:
        groups[path.parent, _key(path)].append(path)
    cases: list[Case] = []
    rejected: list[Rejected] = []
    for (folder, key), paths in sorted(groups.items()):
        chosen, others = _choose_contrast(paths)
        rejected += [Rejected(str(path), "another contrast of its case; the FLAIR is used") for path in others]
        beside = labels.pop((_scan_folder(folder), key), [])
        label = beside[0] if len(beside) == 1 else None
        rejected += [Rejected(str(path), SEVERAL_LABELS) for path in beside if label is None]
        found, refused = _scans_of_a_name(chosen, label, domain)
        cases, rejected = cases + found, rejected + refused
    spare = [path for beside in labels.values() for path in beside]
    return cases, rejected + [Rejected(str(path), "a label file without its scan") for path in spare]


def _scans_of_a_name(paths: Sequence[Path], label: Path | None, domain: str) -> Found:
    """The scans among files whose names differ in contrast, channel or suffix alone; of several, each says so."""
    found = [_nifti_case(path, label, domain) for path in paths]
    notes = (SAME_NAME,) if len(paths) > 1 else ()
    cases = [replace(case, notes=(*case.notes, *notes)) for case in found if isinstance(case, Case)]
    return cases, [item for item in found if isinstance(item, Rejected)]


def _sort_labels(files: Sequence[Path]) -> tuple[list[Path], dict[tuple[Path, str], list[Path]]]:
    """Scans, and labels by the folder and key of the scan that they belong to."""
    scans, labels = [], defaultdict[tuple[Path, str], list[Path]](list)
    for path in sorted(files):
        is_label = LABEL_FOLDER.fullmatch(path.parent.name) or LABEL_WORDS & set(_words(path))
        if is_label and len(files) > 1:
            labels[_scan_folder(path.parent), _key(path)].append(path)
        else:
            scans.append(path)
    return scans, labels


def _scan_folder(folder: Path) -> Path:
    """One place for images and labels that lie in sibling folders (imagesTr and labelsTr, images and ground truths)."""
    found = LABEL_FOLDER.fullmatch(folder.name) or IMAGE_FOLDER.fullmatch(folder.name)
    return folder if found is None else folder.parent / (found["split"] or "").lower()


def _words(path: Path) -> list[str]:
    return [word.lower() for word in re.split(r"[_\-. ]+", stem(path)) if word]


def _key(path: Path) -> str:
    """What the files of one case share: the name without contrast, label word and nnU-Net channel."""
    left = NNUNET_CHANNEL.sub("", stem(path))
    drop = LABEL_WORDS | FLAIR_WORDS | OTHER_CONTRASTS
    kept = [part for part in re.split(r"([_\-. ]+)", left) if part.lower() not in drop]
    return re.sub(r"([_\-. ])[_\-. ]+", r"\1", "".join(kept)).strip("_-. ") or left


def _choose_contrast(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(to read, other contrasts of the same case)."""
    flair = [path for path in paths if FLAIR_WORDS & set(_words(path))]
    others = [path for path in paths if path not in flair and OTHER_CONTRASTS & set(_words(path))]
    if not flair:
        return list(paths), []
    return [path for path in paths if path not in others], others


def _nifti_case(path: Path, label: Path | None, domain: str) -> Case | Rejected:
    flair = bool(FLAIR_WORDS & set(_words(path)))
    shape: tuple[int, ...] = ()
    try:
        file = open_nifti(path)
        shape, found = file.shape, "mr" if flair else _kind(file, label, domain)
    except CaseError as error:
        if domain == "auto":
            return Rejected(str(path), str(error).removeprefix(f"{path}: "), broken=True)
        found = domain  # a case all the same: reading it says what is wrong, in its row of the table
    reason = _why_no_scan(found, domain, flair)
    if reason:
        return Rejected(str(path), reason)
    name = safe_name(_key(path) if flair else stem(path))
    kind = "brats" if flair and label is not None and shape[:2] == BRATS_SHAPE else "nifti"
    case = Case(name, name, kind, found if domain == "auto" else domain, (path, *companions(path)), label, name)
    return _marked(case, domain)


def _marked(case: Case, domain: str) -> Case:
    """The case, with a note where its domain was asked to be found and nothing says that it is MR."""
    if domain != "auto" or case.domain == "ct" or MR_WORDS & set(_words(case.files[0])):
        return case
    return replace(case, is_guess=True, notes=(GUESSED,))


def _why_no_scan(found: str, domain: str, flair: bool) -> str:
    """Why a readable file is no scan of the domain; empty where it is one."""
    if found == "mask":
        return f"a mask (up to {FEW_VALUES} whole numbers), not a scan"
    return "an MR FLAIR by its name, not CT" if flair and domain == "ct" else ""


def _kind(file: NiftiFile, label: Path | None, domain: str) -> str:
    """'ct', 'mr' or 'mask': as asked for, but for files of bytes, which may be masks."""
    small = file.header.get_data_dtype().itemsize == 1
    return domain if domain != "auto" and not small else _look(file, label is not None)


def holds_labels(file: NiftiFile) -> bool:
    """Whether a file's middle holds few whole numbers, as masks do."""
    return _few_whole(read_slab(file))


def _few_whole(values: np.ndarray) -> bool:
    whole = values.dtype.kind in "iu" or np.array_equal(values, np.round(values))
    return whole and len(np.unique(values)) <= FEW_VALUES


def _look(file: NiftiFile, labelled: bool) -> str:
    """'ct', 'mr' or 'mask', from a slab around the middle, or the name where CT has no air left."""
    values = read_slab(file)
    if not labelled and _few_whole(values):
        return "mask"
    if values.size and values.min() <= CT_BELOW_HU:
        return "ct"
    return "ct" if CT_WORDS & set(_words(file.path)) else "mr"
