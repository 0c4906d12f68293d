"""Where the scans of a segmentation lie, without a name: a later evaluation finds them for its pictures.

People name folders and files after patients, so the folder's mark (`.ctseg.json`, `inputs`) holds digests of names
(`ctseg.io.identity.keyed_digest`). A scan is found by listing folders and comparing digests, first from the
segmentation's own place, so that a tree may be moved as a whole, then from the root. That it is still the same scan,
its digest in `volumes.json` tells.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctseg.io.archive import zip_members
from ctseg.io.case import Case
from ctseg.io.identity import keyed_digest
from ctseg.outputs import read_mark

KEY = "scans"
"""Of the mark's `inputs`."""
NAME_BYTES = 6
"""Of the digest of a name."""

Names = tuple[str, ...]


def remembered_inputs(folder: Path, cases: Iterable[Case], *, resume: bool) -> dict[str, Any]:
    """What the mark of a segmentation says of its scans.

    Args:
        folder: of the segmentation.
        cases: what is segmented now.
        resume: whether the entries of an earlier call stay.
    """
    old = _read(folder) if resume else {}
    folders = {tuple(names): number for number, names in enumerate(old.get("folders", []))}
    entries = dict(old.get("cases", {}))
    chains: dict[Path, Names] = {}

    def number_of(place: Path) -> int:
        """The number of a folder among `folders`; links are resolved once."""
        if place not in chains:
            chains[place] = _digests(place)
        return folders.setdefault(chains[place], len(folders))

    entries |= {case.case_id: _entry(case, number_of) for case in cases}
    return {KEY: {"here": list(_digests(folder)), "folders": [list(names) for names in folders], "cases": entries}}


def _entry(case: Case, number_of: Callable[[Path], int]) -> dict[str, Any]:
    found: dict[int, list[str]] = {}
    for file in (case.zip_file,) if case.zip_file is not None else case.files:
        found.setdefault(number_of(file.parent), []).append(name_digest(file.name))
    return {
        "kind": case.kind, "domain": case.domain, "channel": case.channel, "orientation": case.orientation,
        "files": [[number, names] for number, names in found.items()],
        "members": None if case.zip_file is None else [name_digest(member) for member in case.members],
        "frames": list(case.frames),
    }  # fmt: skip


def _digests(folder: Path) -> Names:
    """The digests of a folder's name and of those above it, from the root; links are resolved."""
    return tuple(name_digest(part) for part in Path(os.path.realpath(folder)).parts[1:])


def name_digest(name: str) -> str:
    """A digest in place of the name of a file or folder."""
    return keyed_digest(name, NAME_BYTES)


class RememberedScans:
    """The scans that a segmentation was made from, as far as they are still there."""

    def __init__(self, folder: Path) -> None:
        """Read the mark of a segmentation; without one, or with a broken one, no scan is known."""
        self.folder = Path(os.path.realpath(folder))
        data = _read(self.folder)
        self.here: Names = tuple(data.get("here", ()))
        self.folders: list[Names] = [tuple(names) for names in data.get("folders", ())]
        self.entries: Mapping[str, Any] = data.get("cases", {})
        self._listed: dict[Path, dict[str, str]] = {}
        self._found: dict[Names, Path | None] = {}

    def __contains__(self, case: object) -> bool:
        return case in self.entries

    def find(self, name: str) -> Case | None:
        """The scan of a case, to be read by `ctseg.io.discover.read_case`; None where it is not there any more."""
        if name not in self.entries:
            return None
        entry = self.entries[name]
        files = self._files(entry["files"])
        if not files:
            return None
        zip_file = files[0] if entry["members"] else None
        members = () if zip_file is None else self._members(zip_file, entry["members"])
        if members is None:
            return None
        return Case(
            name, name, entry["kind"], entry["domain"], tuple(files), channel=entry["channel"],
            orientation=entry["orientation"], zip_file=zip_file, members=members, frames=tuple(entry.get("frames", ())),
        )  # fmt: skip

    def _files(self, places: Sequence[tuple[int, list[str]]]) -> list[Path] | None:
        """The files in order of their names; None where one is missing."""
        files: list[Path] = []
        for number, digests in places:
            folder = self._folder(self.folders[number])
            names = {} if folder is None else self._names(folder)
            if folder is None or not all(digest in names for digest in digests):
                return None
            files += [folder / names[digest] for digest in digests]
        return sorted(files)

    def _folder(self, names: Names) -> Path | None:
        """The folder of a chain of digests: from the segmentation's place, else from the root."""
        if names not in self._found:
            pairs = enumerate(zip(names, self.here, strict=False))
            shared = next((at for at, (one, other) in pairs if one != other), min(len(names), len(self.here)))
            up = len(self.here) - shared
            places = [self.folder, *self.folder.parents]
            starts = [(places[up], names[shared:])] if up < len(places) else []
            starts.append((Path(self.folder.anchor), names))
            found = (self._below(start, chain) for start, chain in starts)
            self._found[names] = next((folder for folder in found if folder is not None), None)
        return self._found[names]

    def _below(self, start: Path, names: Names) -> Path | None:
        for digest in names:
            name = self._names(start).get(digest)
            if name is None:
                return None
            start /= name
        return start

    def _names(self, folder: Path) -> dict[str, str]:
        """Digest -> name of what lies in a folder; nothing where it cannot be listed."""
        if folder not in self._listed:
            try:
                self._listed[folder] = {name_digest(name): name for name in os.listdir(folder)}  # noqa: PTH208
            except OSError:
                self._listed[folder] = {}
        return self._listed[folder]

    @staticmethod
    def _members(path: Path, digests: Sequence[str]) -> tuple[str, ...] | None:
        sources, _ = zip_members(path, Counter())
        names = {name_digest(source.member): source.member for source in sources if source.member is not None}
        return tuple(names[digest] for digest in digests) if all(digest in names for digest in digests) else None


def _read(folder: Path) -> dict[str, Any]:
    """What a mark says of scans, checked; empty where it says nothing or is broken, since no number rests on it."""
    mark = read_mark(folder)
    data = None if mark is None else mark.inputs.get(KEY)
    if not isinstance(data, dict) or not _is_names(data.get("here")):
        return {}
    folders, cases = data.get("folders"), data.get("cases")
    if not isinstance(folders, list) or not all(_is_names(names) for names in folders) or not isinstance(cases, dict):
        return {}
    return data if all(_is_entry(entry, len(folders)) for entry in cases.values()) else {}


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_entry(entry: Any, folders: int) -> bool:
    if not isinstance(entry, dict) or not all(name in entry for name in ENTRY):
        return False
    return (
        all(is_right(entry[name]) for name, is_right in ENTRY.items())
        and all(_is_place(item, folders) for item in entry["files"])
        and _are_numbers(entry.get("frames", []))  # earlier versions say nothing of frames
    )


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) and item > 0 for item in value)


def _is_place(value: Any, folders: int) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not _is_names(value[1]):
        return False
    return isinstance(value[0], int) and 0 <= value[0] < folders


ENTRY: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: value in ("dicom", "nifti", "msd", "brats", "slices"),
    "domain": lambda value: value in ("ct", "mr"),
    "channel": lambda value: value is None or (isinstance(value, int) and value >= 0),
    "orientation": lambda value: value is None or isinstance(value, str),
    "files": lambda value: isinstance(value, list),
    "members": lambda value: value is None or _is_names(value),
}
"""What an entry holds."""
