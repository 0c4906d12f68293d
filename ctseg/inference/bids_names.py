"""Which files of a participant's folder are CT scans by their name and place, and why one is none that can be taken."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ctseg.failures import system_failure
from ctseg.files import special
from ctseg.io.case import Rejected

DATATYPES = ("ct", "anat")
MASK = "_label-haemorrhage_mask"
SCAN = re.compile(r"(?P<stem>.+)_ct\.(?P<suffix>.+)", re.IGNORECASE | re.DOTALL)
SESSION = re.compile(r"_(ses-[^_/]*)(?=_)")
VOXELS = (".nii", ".nii.gz")
BESIDE = (".json", ".tsv")
"""What may lie beside a scan under its name."""
LONGEST_NAME = 255


def files_of(folder: Path, broken: list[Rejected]) -> Iterator[tuple[str, Path]]:
    """(place, path) of what lies where a participant's CT may lie; what lies elsewhere and may be CT joins `broken`.

    A folder that cannot be listed joins `broken`, too.
    """
    sessions = ["", *(f"{path.name}/" for path in _listed(folder, broken) if path.name.startswith("ses-"))]
    places = [f"{session}{datatype}" for datatype in DATATYPES for session in sessions]
    for place in places:
        for path in _listed(folder / place, broken):
            yield place, path
    broken.extend(_misplaced(folder, places))


def _listed(folder: Path, broken: list[Rejected]) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        broken.append(Rejected(str(folder), system_failure(error), True))
        return []


def _misplaced(folder: Path, places: list[str]) -> list[Rejected]:
    """NIfTI files with the name of a CT scan in folders of a participant in which no CT is looked for."""
    known = {number for place in places if (number := _number(folder / place)) is not None}
    found = []
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if _number(Path(above)) in known:
            continue
        found += [Path(above, name) for name in sorted(names) if _is_scan(name)]
    reason = f"lies where BIDS has no CT; move it to {folder.name}/[ses-*/]ct/"
    return [Rejected(str(path), reason, True) for path in found]


def _number(folder: Path) -> tuple[int, int] | None:
    """What a folder is to the system, whatever its name's case; None where it is not there."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_scan(name: str) -> bool:
    found = SCAN.fullmatch(name)
    return found is not None and not name.startswith(".") and f".{found['suffix'].lower()}" in VOXELS


def refusal(path: Path, label: str, place: str) -> str | None:
    """Why a file is no scan that can be taken: empty where it is one, None where it is none of CT at all.

    Args:
        path: the file.
        label: of its participant, without `sub-`.
        place: its folder below the participant's, as `ses-01/ct` or `ct`.
    """
    name, found = path.name, SCAN.fullmatch(path.name)
    is_nifti = name.lower().endswith(VOXELS)
    if name.startswith(".") or name.lower().endswith(BESIDE) or (found is None and path.parent.name != "ct"):
        return None
    if found is None:
        return f"no name of BIDS (sub-{label}_ct.nii.gz); rename it" if is_nifti else None
    if f".{found['suffix'].lower()}" not in VOXELS:
        return "no NIfTI file, which alone BIDS knows; convert it"
    return _other_name(name, label, place) or _too_long(found["stem"]) or _unreadable(path)


def _other_name(name: str, label: str, place: str) -> str:
    """Why a name contradicts its folders: a scan of one time point would be measured as that of another."""
    if not name.startswith(f"sub-{label}_"):
        return f"its name is not one of sub-{label}; rename it"
    return _other_session(label, place, SESSION.findall(name))


def _other_session(label: str, place: str, named: list[str]) -> str:
    """Why the sessions that a name says are not that of its folder: BIDS wants both or neither, and one only."""
    folder = place.rpartition("/")[0]
    if named == [folder] or (not folder and not named):
        return ""
    if not named:
        return f"its name says no session, its folder {folder[:40]}; rename it to sub-{label}_{folder[:40]}_..."
    said = " and ".join(session[:40] for session in named[:2])
    if not folder:
        return f"its name says {said}, and it lies in no folder of a session; move or rename it"
    return f"its name says {said}, its folder {folder[:40]}; rename or move it"


def _too_long(stem: str) -> str:
    too_long = len(os.fsencode(f"{stem}{MASK}.nii.gz")) > LONGEST_NAME
    return "its name is too long for that of its mask; shorten it" if too_long else ""


def _unreadable(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing; get what it points to (`datalad get`), or remove it"
    except OSError as error:
        return system_failure(error)
    return "" if stat.S_ISREG(mode) else f"{special(mode)}, not a file; it is not opened"
