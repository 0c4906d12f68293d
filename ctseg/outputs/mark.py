"""The mark of a folder that ctseg wrote: `.ctseg.json` names the command and every file that belongs to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from ctseg.files import write_json
from ctseg.version import __version__

MARK = ".ctseg.json"
SCHEMA = "ctseg-output/1"
TEMPORARY = re.compile(r"\.partial-[a-z0-9_]{8}-(?P<name>.+)", re.DOTALL)
"""Name of a temporary file of `ctseg.files.write_with`."""


@dataclass(frozen=True)
class Mark:
    """What `.ctseg.json` says."""

    kind: str
    """The command that writes the folder."""
    files: tuple[str, ...] = ()
    """Paths below the folder, with `/`; `*`, `?` and `[...]` are wildcards within one name."""
    finished: bool = True
    """Whether the folder is whole; a training and a segmentation are unfinished until their command ends well."""
    tool: str = f"ctseg {__version__}"

    def owns(self) -> Callable[[str], bool]:
        """Tells whether a path below the folder belongs to the artefact."""
        return owner(self.files)

    def finish(self, folder: Path) -> Mark:
        """The mark of a finished folder: what was announced and not written is the user's to use."""
        return replace(
            self, files=tuple(name for name in self.files if _wild(name) or (folder / name).exists()), finished=True
        )


def owner(files: Iterable[str]) -> Callable[[str], bool]:
    """Tells whether a path is among `files`, which may hold wildcards."""
    files = tuple(files)
    plain = {name for name in files if not _wild(name)}
    patterns = [name.split("/") for name in files if _wild(name)]

    def owns(path: str) -> bool:
        return path in plain or any(_fits(path.split("/"), pattern) for pattern in patterns)

    return owns


def _wild(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _fits(parts: list[str], pattern: list[str]) -> bool:
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))


def read_mark(folder: Path) -> Mark | None:
    """The mark of a folder; None where there is none, or one of another schema."""
    try:
        data = json.loads((Path(folder) / MARK).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("files"), list):
        return None
    names = tuple(str(name) for name in data["files"])
    return Mark(str(data.get("kind")), names, bool(data.get("finished")), str(data.get("tool")))


def write_mark(folder: Path, mark: Mark) -> None:
    """Write `.ctseg.json`, atomically."""
    write_json(Path(folder) / MARK, {"schema": SCHEMA, **asdict(mark)})


def contents(folder: Path) -> tuple[str, ...]:
    """Every file below a folder as a mark names it: wildcards in names are escaped."""
    return tuple(escape(name) for name in sorted(entries(folder)))


def entries(folder: Path) -> Iterator[str]:
    """Paths below a folder of its files, links and empty folders; without its mark and temporary files of ctseg's.

    Links are not followed: a link is an entry, what it points to is none.
    """
    for top, folders, names in os.walk(folder):
        here = Path(top)
        linked = [name for name in folders if (here / name).is_symlink()]
        if not names and not folders and here != folder:
            yield here.relative_to(folder).as_posix()
        for name in (*names, *linked):
            path = (here / name).relative_to(folder).as_posix()
            if path != MARK and not TEMPORARY.fullmatch(name):
                yield path


def foreign(folder: Path, mark: Mark) -> list[str]:
    """Paths below a marked folder that do not belong to its artefact, such as a user's notes."""
    owns = mark.owns()
    return [path for path in entries(folder) if not owns(path)]
