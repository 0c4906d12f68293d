"""Data sets in BIDS layout: which CT scans a participant has, and masks as BIDS derivatives.

BIDS has no modality CT yet (BEP 024 proposes `ct/sub-01_ct.nii.gz`); that layout is read, and `_ct` in `anat`, which
people use meanwhile.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctseg.errors import CaseError, InputError
from ctseg.files import read_json, write_json, write_text
from ctseg.inference.bids_names import MASK, SCAN, files_of, refusal
from ctseg.inference.label_tables import bids_table
from ctseg.inference.results import CaseResult
from ctseg.io.case import Case, Rejected, safe_name, short_name
from ctseg.io.digest import input_digest
from ctseg.io.discover import discover
from ctseg.io.nifti.volumes import load_mask
from ctseg.outputs.mark import MARK, read_mark
from ctseg.version import __version__

BIDS_VERSION = "1.10.0"
DESCRIPTION, IGNORE = "dataset_description.json", ".bidsignore"
DATASET_FILES = (DESCRIPTION, "README", "desc-haemorrhage_dseg.tsv", IGNORE)
"""What a derivative data set has beside its participants."""
MOST_DESCRIBED = 1 << 20
"""Bytes of a description."""
LABEL = re.compile(r"[A-Za-z0-9+]+")
"""What BIDS lets a participant's label be."""
RAW = "raw"
"""Name of the raw data set in BIDS URIs; `DatasetLinks` says where it lies."""
UNWRITTEN = ("probabilities", "label_tables", "rtstruct", "sr", "deidentify")
"""Settings of `segment` whose files have no place in BIDS."""


@dataclass(frozen=True)
class BidsScan:
    """One CT scan of a data set."""

    path: Path
    participant: str
    """Label without `sub-`."""
    place: str
    """Its folder below the participant's, as `ses-01/ct` or `ct`."""
    shares_name: bool = False
    """Whether another scan of the participant has its name, in `anat` as in `ct`."""

    @property
    def stem(self) -> str:
        """`sub-01_ses-01` and its further entities, without suffix and extension."""
        found = SCAN.fullmatch(self.path.name)
        return found["stem"] if found else self.path.stem

    @property
    def mask(self) -> str:
        """Where its mask goes, below the participant's folder, without `.nii.gz` or `.json`."""
        return f"{self.place}/{self.stem}{MASK}"

    def figure(self, what: str) -> str:
        """Where a picture of it goes, below the participant's folder; scans of one name have their folder's in it."""
        kind = self.place.rpartition("/")[2].capitalize() if self.shares_name else ""
        return f"figures/{self.stem}_desc-{what}{kind}_ct.png"

    @property
    def raw(self) -> str:
        """The scan as a BIDS URI of the raw data set."""
        return f"bids:{RAW}:sub-{self.participant}/{self.place}/{self.path.name}"


@dataclass(frozen=True)
class Participant:
    """What a participant's folder holds."""

    scans: tuple[BidsScan, ...] = ()
    broken: tuple[Rejected, ...] = ()
    """What may be a scan and cannot be taken."""


@dataclass(frozen=True)
class BidsData:
    """The participants of a data set that have anything to be segmented."""

    participants: Mapping[str, Participant]
    """By label without `sub-`."""
    without_ct: tuple[str, ...] = ()
    """Labels of the others."""
    broken: tuple[Rejected, ...] = ()
    """Folders that may be a participant's and are of none."""


def find_participants(folder: Path, wanted: Sequence[str]) -> BidsData:
    """The CT scans of a data set by participant.

    Args:
        folder: with `dataset_description.json` and `sub-*`.
        wanted: labels with or without `sub-`; all where there are none.

    Raises:
        InputError: if the folder is no BIDS data set, a label is no label or is not there, or there is no CT at all.
    """
    folder = Path(folder)
    read_description(folder)
    there, odd = _participant_folders(folder)
    labels = _labels(folder, wanted, there)
    found = {label: _participant(there[label], label) for label in labels}
    with_ct = {label: item for label, item in found.items() if item.scans or item.broken}
    if not with_ct:
        raise InputError(
            f"{folder}: no CT of the participants asked for; scans are looked for as sub-*/[ses-*/]ct/*_ct.nii.gz, or "
            "in anat/"
        )
    return BidsData(with_ct, tuple(label for label in found if label not in with_ct), () if wanted else tuple(odd))


def _participant_folders(folder: Path) -> tuple[dict[str, Path], list[Rejected]]:
    """Label -> folder of each participant, and what looks like one and is none."""
    there: dict[str, Path] = {}
    odd = []
    for path in sorted(folder.iterdir()):
        label = path.name.removeprefix("sub-")
        if not path.name.startswith("sub-") or path.is_file():
            continue
        if not path.is_dir():
            odd.append(Rejected(str(path), "a link to nothing; get what it points to, or remove it", True))
        elif not LABEL.fullmatch(label):
            odd.append(Rejected(str(path), "no participant: a label is of letters and digits; rename the folder", True))
        else:
            there[label] = path
    return there, odd


def _labels(folder: Path, wanted: Sequence[str], there: Mapping[str, Path]) -> list[str]:
    """The labels asked for, each once and without `sub-`; all where none is."""
    labels = list(dict.fromkeys(label.removeprefix("sub-") for label in wanted)) or list(there)
    for label in labels:
        if not LABEL.fullmatch(label) or label not in there:
            known = ", ".join([*list(there)[:5], *(["..."] if len(there) > 5 else [])])
            raise InputError(f"{folder}: no participant {label[:40]!r}; there are {known or 'none'}")
    return labels


def read_description(folder: Path) -> dict[str, Any]:
    """The `dataset_description.json` of a data set.

    Raises:
        InputError: if there is none, or it is not one.
    """
    path = Path(folder) / DESCRIPTION
    if not os.path.lexists(path):
        raise InputError(f"{folder}: no BIDS data set (no {DESCRIPTION}); for scans in any folder use `ctseg segment`")
    data = read_json(path, MOST_DESCRIBED)
    if not isinstance(data, dict) or not isinstance(data.get("Name"), str):
        raise InputError(f"{path}: not the description of a BIDS data set (no Name); correct it")
    return data


def _participant(folder: Path, label: str) -> Participant:
    """The CT scans below a participant's folder, in order of their names."""
    scans: dict[str, BidsScan] = {}
    broken: list[Rejected] = []
    for place, path in files_of(folder, broken):
        reason = refusal(path, label, place)
        scan = BidsScan(path, label, place)
        if reason is None:
            continue
        if not reason and scan.mask in scans:
            reason = f"{scans[scan.mask].path.name} beside it has the same name to BIDS; remove or rename one"
        if reason:
            broken.append(Rejected(str(path), reason, True))
        else:
            scans[scan.mask] = scan
    names = Counter(scan.stem for scan in scans.values())
    return Participant(tuple(replace(scan, shares_name=names[scan.stem] > 1) for scan in scans.values()), tuple(broken))


def found_cases(participant: Participant) -> tuple[dict[str, tuple[BidsScan, Case]], list[Rejected]]:
    """The scans of a participant as cases by their names, and what is none.

    Each scan is looked at by itself: one that is broken, or a link to the same file as another, changes no other.
    """
    cases: dict[str, tuple[BidsScan, Case]] = {}
    broken = list(participant.broken)
    for scan in participant.scans:
        try:
            (case,) = discover([scan.path], "ct").cases
        except InputError as error:
            broken.append(Rejected(str(scan.path), str(error).removeprefix(f"{scan.path}: "), True))
            continue
        above = f"{scan.place.replace('/', '_')}_" if scan.shares_name else ""
        name = short_name(safe_name(f"{above}{scan.stem}_ct"))
        while name in cases:
            name = f"{name}-2"
        cases[name] = scan, replace(case, case_id=name, patient_id=name, series_id=name)
    return cases, broken


def is_done(folder: Path, participant: Participant) -> bool:
    """Whether a participant's folder is whole: every scan's mask is there, made of the very file.

    Args:
        folder: of an earlier call, with the same models and settings.
        participant: what is there now.
    """
    mark = read_mark(folder)
    if mark is None or not mark.finished or participant.broken:
        return False
    cases, broken = found_cases(participant)
    try:
        now = {scan.mask: input_digest(case) for scan, case in cases.values()}
        for name in now:
            load_mask(folder / f"{name}.nii.gz")
    except CaseError:
        return False
    return not broken and mark.inputs.get("scans") == now


def refuse_raw(output: Path, folder: Path) -> None:
    """Refuse derivatives that would lie in a participant's folder of the raw data set.

    Raises:
        InputError: naming that folder.
    """
    raw = Path(os.path.realpath(folder))
    here = Path(os.path.realpath(output))
    inside = next((path for path in (here, *here.parents) if path.parent == raw and path.name.startswith("sub-")), None)
    if inside is not None:
        raise InputError(f"{output}: lies in the input {inside.name}; choose another output folder")


def start_derivatives(folder: Path, source: Path, models: Sequence[dict[str, str]]) -> None:
    """Write what a derivative data set has beside its participants; each file is the same in every call.

    Args:
        folder: of the derivatives, guarded and marked.
        source: the raw data set.
        models: descriptions of the models.
    """
    name = f"Haemorrhage on CT of: {read_description(source)['Name']}"[:200]
    made_by = "; ".join(f"{item['segmenter']} {item['weights']}" for item in models)
    write_json(
        folder / DESCRIPTION,
        {
            "Name": name,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "ctseg", "Version": __version__, "Description": made_by}],
            "DatasetLinks": {RAW: _link(source, folder)},
        },
    )
    _, readme, table, _ = DATASET_FILES
    write_text(folder / readme, "Haemorrhage on head CT, by ctseg. Research software, not a medical device.\n")
    write_text(folder / table, bids_table())
    write_text(folder / IGNORE, f"{MARK}\n**/ct\n**/figures\n{table}\n")


def _link(source: Path, folder: Path) -> str:
    """Where the raw data set lies as BIDS wants it in `DatasetLinks`: relative to the derivatives if it can be."""
    try:
        return Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return source.resolve().as_uri()


def place_case(work: Path, folder: Path, scan: BidsScan, result: CaseResult, made_with: Mapping[str, Any]) -> None:
    """Move one segmented case from the folder of `segment` to its place, and write its sidecar.

    Args:
        work: folder of `segment_cases`.
        folder: the participant's, in the derivative data set.
        scan: where the case came from.
        result: its row, `ok`.
        made_with: descriptions of the `models`, and the `settings`.
    """
    place = folder / scan.place
    place.mkdir(parents=True, exist_ok=True)
    (work / f"{result.case}.nii.gz").replace(folder / f"{scan.mask}.nii.gz")
    for name, what in ((f"{result.case}.png", "haemorrhage"), (f"3d/{result.case}.png", "haemorrhage3d")):
        if (work / name).exists():
            (folder / "figures").mkdir(exist_ok=True)
            (work / name).replace(folder / scan.figure(what))
    row = result.row().items()
    measured = {key: value for key, value in row if key not in ("case", "files", "error") and value not in ("", None)}
    write_json(
        folder / f"{scan.mask}.json",
        {
            "Description": "Intraparenchymal haemorrhage on CT, 1 inside",
            "Type": "Lesion",
            "Sources": [scan.raw],
            "SpatialReference": scan.raw,
            "Ctseg": measured,
            "CtsegModels": list(made_with["models"]),
            "CtsegSettings": dict(made_with["settings"]),
            "CtsegNotice": "research use only",
        },
    )
