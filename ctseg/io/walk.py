"""All regular files below some paths, links followed once, and one line for all that is not looked at."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctseg.errors import InputError
from ctseg.failures import system_failure
from ctseg.files import MOST_JSON, bounded, special
from ctseg.io.case import Rejected
from ctseg.io.dicom.index import is_index
from ctseg.io.kinds import is_hidden_folder, kind_of

LOOKED_FOR = "DICOM series, DICOM zips, NIfTI (.nii, .nii.gz), a Decathlon task folder or BraTS cases"
MARK = ".ctseg.json"
"""In every folder that ctseg wrote."""
OWN_OUTPUTS = frozenset(
    {
        "segment", "segment --brain-cache", "preprocess", "evaluate", "synth-train", "das-train", "finetune",
        "synthesize", "match",
    }
)  # fmt: skip
"""Folders of these commands hold no scans; a phantom's do."""

Identity = tuple[int, int]


@dataclass
class Files:
    """What lies below the inputs."""

    files: list[Path] = field(default_factory=list)
    """Regular files, in a fixed order."""
    rejected: list[Rejected] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """How many files of each ignored kind there are."""
    indexes: list[Path] = field(default_factory=list)
    """Each DICOMDIR."""


def all_files(paths: Sequence[Path], without: Path | None = None) -> Files:
    """Every regular file of the inputs.

    Links to folders are followed after all real folders; a folder that was looked at before, by whatever name, is not
    looked at again, so that links in a circle end. Hidden folders are counted and not looked into.

    Args:
        paths: files and folders.
        without: the command's own output, whose files the caller takes out and counts.

    Raises:
        InputError: if an input is missing or an empty folder.
    """
    walk = _Walk(without)
    for path in paths:
        walk.add(path)
    walk.follow_links()
    return walk.found


class _Walk:
    def __init__(self, without: Path | None) -> None:
        self.found = Files()
        self._without = None if without is None else os.path.realpath(without)
        self._seen: dict[Identity, Path] = {}
        self._links: list[Path] = []

    def add(self, path: Path) -> None:
        """One input, as it was given."""
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise InputError(f"{path}: no such file or folder") from None
        except OSError as error:
            self._leave(path, system_failure(error), broken=True)
            return
        if stat.S_ISDIR(mode):
            if self._is_new(path) and not self._below(path):
                raise InputError(f"{path}: an empty folder; looked for {LOOKED_FOR}")
        elif stat.S_ISREG(mode):
            self._add_named(path)
        else:
            self._leave(path, f"{special(mode)}, not a file; it is not opened")

    def follow_links(self) -> None:
        """Look into the folders that links name; they may hold further links."""
        while self._links:
            link = self._links.pop(0)
            if self._is_new(link, say=True):
                self._below(link)

    def _add_named(self, path: Path) -> None:
        kind = kind_of(path.name)
        if is_index(path.name):
            self.found.indexes.append(path)
            self._leave(path, "an index of other files; give the folder that it lies in")
        elif kind.what == "ignored" and path.name != "dataset.json":
            self._leave(path, f"no scan by its name ({kind.reason})")
        else:
            self.found.files.append(path)

    def _below(self, top: Path) -> int:
        """Files below a folder; returns how many entries there are."""
        count, waiting = 0, [top]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self._leave(folder, system_failure(error), broken=True)
                count += 1
                continue
            if folder != top and self._is_own_output(folder, entries):
                continue
            count += sum(not entry.name.startswith(".") for entry in entries)
            folders = [found for entry in entries if (found := self._entry(Path(folder, entry.name), entry))]
            waiting += [path for path in reversed(folders) if self._is_new(path)]
        return count

    def _entry(self, path: Path, entry: os.DirEntry[str]) -> Path | None:
        """Sort one entry in; returns it if it is a real folder to look into."""
        try:
            is_link = entry.is_symlink()
            if entry.is_dir():
                return self._folder(path, is_link)
            if entry.is_file():
                self._file(path)
            elif kind_of(path.name).what != "ignored":
                self._leave(path, *_what_else(path, is_link))
            else:
                self.found.ignored[kind_of(path.name).reason] += 1
        except OSError as error:
            self._leave(path, system_failure(error), broken=True)
        return None

    def _folder(self, path: Path, is_link: bool) -> Path | None:
        if is_hidden_folder(path.name):
            self.found.ignored["hidden folders"] += 1
        elif is_link:
            self._links.append(path)
        else:
            return path
        return None

    def _file(self, path: Path) -> None:
        kind = kind_of(path.name)
        if is_index(path.name):
            self.found.indexes.append(path)
        if kind.what == "ignored" and path.name != "dataset.json":
            self.found.ignored[kind.reason] += 1
        else:
            self.found.files.append(path)

    def _is_new(self, folder: Path, *, say: bool = False) -> bool:
        """Whether a folder was not looked at before."""
        try:
            status = folder.stat()
        except OSError as error:
            self._leave(folder, system_failure(error), broken=True)
            return False
        before = self._seen.setdefault((status.st_dev, status.st_ino), folder)
        if before is folder:
            return True
        if say:
            self._leave(folder, f"a link to {before}, which is read once")
        return False

    def _is_own_output(self, folder: Path, entries: Sequence[os.DirEntry[str]]) -> bool:
        if not any(entry.name == MARK and entry.is_file() for entry in entries):
            return False
        if os.path.realpath(folder) == self._without:
            return False
        kind, reason = _mark_kind(folder / MARK)
        if reason:
            self._leave(folder / MARK, reason, broken=True)
            return True
        if kind in OWN_OUTPUTS:
            self._leave(folder, f"an output of `ctseg {kind}`; it is not looked into")
        return kind in OWN_OUTPUTS

    def _leave(self, path: Path, reason: str, broken: bool = False) -> None:
        self.found.rejected.append(Rejected(str(path), reason, broken))


def _mark_kind(path: Path) -> tuple[str, str]:
    """Which command a mark names, or why the system does not give the mark."""
    try:
        data = json.loads(bounded(path, MOST_JSON).read_text(encoding="utf-8"))
    except OSError as error:
        return "", system_failure(error)
    except (InputError, ValueError, RecursionError):
        return "", ""
    return (str(data.get("kind")), "") if isinstance(data, dict) else ("", "")


def _what_else(path: Path, is_link: bool) -> tuple[str, bool]:
    """(why it is left out, whether it may be a scan) of what is neither a file nor a folder."""
    try:
        return f"{special(path.stat().st_mode)}, not a file; it is not opened", False
    except OSError:
        if is_link:
            return "a link to nothing that is there; fetch the file (`datalad get`) or correct the link", True
        raise
