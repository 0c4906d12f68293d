"""Data sets in BIDS layout: which CT scans a participant has, and masks as BIDS derivatives.

BIDS has no modality CT yet (BEP 024 proposes `ct/sub-01_ct.nii.gz`); that layout is read, and `_ct` in `anat`, which
people use meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.files import read_json, write_json, write_text
from ctseg.inference.label_tables import bids_table
from ctseg.inference.results import CaseResult
from ctseg.outputs.mark import MARK
from ctseg.version import __version__

BIDS_VERSION = "1.10.0"
DESCRIPTION, IGNORE = "dataset_description.json", ".bidsignore"
LABEL = re.compile(r"[A-Za-z0-9+]+")
"""What BIDS lets a participant's label be."""
DATATYPES = ("ct", "anat")
MASK = "_label-haemorrhage_mask"


@dataclass(frozen=True)
class BidsScan:
    """One CT scan of a data set."""

    path: Path
    participant: str
    """Label without `sub-`."""
    place: str
    """Its folder below the participant's, as `ses-01/ct` or `ct`."""

    @property
    def stem(self) -> str:
        """`sub-01_ses-01` and its further entities, without suffix and extension."""
        return self.path.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_ct")

    @property
    def raw(self) -> str:
        """The scan as a BIDS URI of the raw data set."""
        return f"bids:raw:sub-{self.participant}/{self.place}/{self.path.name}"


def find_participants(folder: Path, wanted: Sequence[str]) -> dict[str, list[BidsScan]]:
    """The CT scans of a data set by participant; those without one are left out.

    Args:
        folder: with `dataset_description.json` and `sub-*`.
        wanted: labels with or without `sub-`; all where there are none.

    Raises:
        InputError: if the folder is no BIDS data set, a label is no label or is not there, or there is no CT at all.
    """
    folder = Path(folder)
    read_description(folder)
    there = {path.name.removeprefix("sub-"): path for path in sorted(folder.glob("sub-*")) if path.is_dir()}
    labels = [label.removeprefix("sub-") for label in wanted] or list(there)
    for label in labels:
        _check_label(folder, label, list(there))
    found = {label: _scans(there[label], label) for label in dict.fromkeys(labels)}
    if not any(found.values()):
        raise InputError(
            f"{folder}: no CT of the participants asked for; scans are looked for as sub-*/[ses-*/]ct/*_ct.nii.gz, or "
            "in anat/"
        )
    return {label: scans for label, scans in found.items() if scans}


def _check_label(folder: Path, label: str, there: Sequence[str]) -> None:
    if not LABEL.fullmatch(label) or label not in there:
        known = ", ".join([*there[:5], *(["..."] if len(there) > 5 else [])])
        raise InputError(f"{folder}: no participant {label[:40]!r}; there are {known or 'none'}")


def read_description(folder: Path) -> dict[str, Any]:
    """The `dataset_description.json` of a data set.

    Raises:
        InputError: if there is none, or it is not one.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{folder}: no BIDS data set (no {DESCRIPTION}); for scans in any folder use `ctseg segment`")
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("Name"), str):
        raise InputError(f"{path}: not the description of a BIDS data set (no Name); correct it")
    return data


def _scans(folder: Path, label: str) -> list[BidsScan]:
    """The CT scans below a participant's folder, in order of their names."""
    patterns = [f"{above}{datatype}/*_ct.nii*" for datatype in DATATYPES for above in ("", "ses-*/")]
    paths = [
        path
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if path.name.startswith(f"sub-{label}_") and path.name.endswith((".nii", ".nii.gz")) and path.is_file()
    ]
    return [BidsScan(path, label, path.parent.relative_to(folder).as_posix()) for path in paths]


def start_derivatives(folder: Path, source: Path, models: Sequence[dict[str, str]]) -> None:
    """Write what a derivative data set has beside its participants; each file is the same in every call.

    Args:
        folder: of the derivatives.
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
        },
    )
    write_text(folder / "README", "Haemorrhage on head CT, by ctseg. Research software, not a medical device.\n")
    write_text(folder / "desc-haemorrhage_dseg.tsv", bids_table())
    write_text(folder / IGNORE, f"{MARK}\n**/ct\n**/figures\ndesc-haemorrhage_dseg.tsv\n")


def place_case(work: Path, folder: Path, scan: BidsScan, result: CaseResult, models: Sequence[dict[str, str]]) -> None:
    """Move one segmented case from the folder of `segment` to its place, and write its sidecar.

    Args:
        work: folder of `segment_cases`.
        folder: the participant's, in the derivative data set.
        scan: where the case came from.
        result: its row, `ok`.
        models: descriptions of the models.
    """
    place = folder / scan.place
    place.mkdir(parents=True, exist_ok=True)
    (work / f"{result.case}.nii.gz").replace(place / f"{scan.stem}{MASK}.nii.gz")
    picture = work / f"{result.case}.png"
    if picture.exists():
        (folder / "figures").mkdir(exist_ok=True)
        picture.replace(folder / "figures" / f"{scan.stem}_desc-haemorrhage_ct.png")
    row = result.row().items()
    measured = {key: value for key, value in row if key not in ("case", "error") and value not in ("", None)}
    write_json(
        place / f"{scan.stem}{MASK}.json",
        {
            "Type": "Lesion",
            "Sources": [scan.raw],
            "SpatialReference": scan.raw,
            "Ctseg": measured,
            "CtsegModels": list(models),
            "CtsegNotice": "research use only",
        },
    )
