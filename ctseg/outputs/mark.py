"""The mark of a folder that ctseg wrote: `.ctseg.json` names the command and every file that belongs to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.files import MOST_JSON, bounded, write_json
from ctseg.outputs.changed import looks
from ctseg.version import __version__

MARK = ".ctseg.json"
SCHEMA = "ctseg-output/1"
ESCAPED = re.compile(r"\[([*?[])\]")
"""What `glob.escape` makes of a wildcard in a name."""
TEMPORARY = re.compile(r"\.partial-[a-z0-9_]{8}-(?P<name>.+)", re.DOTALL)
"""Name of a temporary file of `ctseg.files.write_with`."""
STUDY: ContextVar[str] = ContextVar("study", default="")
"""The key of the study's step that is running; empty for a call by hand."""


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
    inputs: dict[str, Any] = field(default_factory=dict)
    """Digests of what it was made from, see `ctseg.io.input_digests`."""
    study: str | None = field(default_factory=STUDY.get)
    """Key of the study's step that wrote it, empty for a call by hand; None in marks that do not say."""
    made: dict[str, str] = field(default_factory=dict)
    """File -> how it looked when the output was finished, see `ctseg.outputs.changed`; empty until then."""

    def owns(self) -> Callable[[str], bool]:
        """Tells whether a path below the folder belongs to the artefact.

        Of a finished one, only what was there then: a user's `fold_best` beside `fold_1` is no fold.
        """
        if not (self.finished and self.made):
            return owner(self.files)
        owns, named, made = owner(self.files), owner(name for name in self.files if not is_wild(name)), self.made
        return lambda path: owns(path) and (path in made or named(path))

    def finish(self, folder: Path) -> Mark:
        """The mark of a finished folder: what was announced and not written is the user's to use."""
        files = tuple(name for name in self.files if is_wild(name) or (folder / plain(name)).exists())
        return replace(self, files=files, finished=True).seen(folder)

    def seen(self, folder: Path) -> Mark:
        """The mark with how its files look now."""
        by_pattern = owned(folder, replace(self, made={})) if any(map(is_wild, self.files)) else []
        names = [*(plain(name) for name in self.files if not is_wild(name)), *by_pattern]
        return replace(self, made=looks(folder, dict.fromkeys(names)))


def owner(files: Iterable[str], *, any_case: bool = False) -> Callable[[str], bool]:
    """Tells whether a path is among `files`, which may hold wildcards; with `any_case`, in whatever case."""
    if any_case:
        owns_folded = owner([name.casefold() for name in files])
        return lambda path: owns_folded(path.casefold())
    files = tuple(files)
    names = {plain(name) for name in files if not is_wild(name)}
    patterns = [name.split("/") for name in files if is_wild(name)]

    def owns(path: str) -> bool:
        return path in names or any(_fits(path.split("/"), pattern) for pattern in patterns)

    return owns


def plain(name: str) -> str:
    """The path that a name in a mark means: wildcards in it were escaped."""
    return ESCAPED.sub(r"\1", name)


def is_wild(name: str) -> bool:
    """Whether a name in a mark means more than one path."""
    return any(sign in ESCAPED.sub("", name) for sign in "*?[")


def _fits(parts: list[str], pattern: list[str]) -> bool:
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))


def read_mark(folder: Path) -> Mark | None:
    """The mark of a folder; None where there is none, or one of another schema.

    Raises:
        OSError: if the system does not give it, so that nobody knows whose folder it is.
    """
    return _read(Path(folder) / MARK)


def _read(path: Path) -> Mark | None:
    try:
        data = json.loads(bounded(path, MOST_JSON).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, InputError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("files"), list):
        return None
    names = tuple(str(name) for name in data["files"])
    inputs, study, made = data.get("inputs"), data.get("study"), data.get("made")
    return Mark(
        str(data.get("kind")),
        names,
        bool(data.get("finished")),
        str(data.get("tool")),
        inputs if isinstance(inputs, dict) else {},
        study if isinstance(study, str) else None,
        {str(name): str(seen) for name, seen in made.items()} if isinstance(made, dict) else {},
    )


def file_mark(file: Path) -> Path:
    """Where the mark of an output that is a single file lies: `.NAME.ctseg.json` beside it."""
    return file.with_name(f".{file.name}{MARK}")


def read_file_mark(file: Path) -> Mark | None:
    """The mark of a single file; None where there is none."""
    return _read(file_mark(file))


def write_file_mark(file: Path, mark: Mark) -> None:
    """Write the mark of a single file, atomically; a file of that name that is no mark stays."""
    path = file_mark(file)
    if not path.exists() or _read(path) is not None:
        write_json(path, {"schema": SCHEMA, **asdict(mark)})


def write_mark(folder: Path, mark: Mark) -> None:
    """Write `.ctseg.json`, atomically."""
    write_json(Path(folder) / MARK, {"schema": SCHEMA, **asdict(mark)})


def contents(folder: Path) -> tuple[str, ...]:
    """Every file below a folder as a mark names it: wildcards in names are escaped."""
    return tuple(escape(name) for name in sorted(entries(folder)))


def ignores_case(folder: Path) -> bool:
    """Whether a marked folder lies where `A` and `a` are one file, as on macOS, Windows and many network disks."""
    return (Path(folder) / MARK).exists() and (Path(folder) / MARK.upper()).exists()


def entries(folder: Path) -> Iterator[str]:
    """Paths below a folder of its files, links and empty folders; without its mark and temporary files of ctseg's.

    Links are not followed: a link is an entry, what it points to is none.
    """
    return (path for path, _ in _entries(folder))


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """`entries`, and whether each lies in a folder below with a mark of its own: another command's output."""
    marked: set[Path] = set()
    for top, folders, names in os.walk(folder):
        here = Path(top)
        if here != folder and (here.parent in marked or MARK in names):
            marked.add(here)
        for path in _here(folder, here, folders, names):
            yield path, here in marked


def _here(folder: Path, here: Path, folders: list[str], names: list[str]) -> Iterator[str]:
    """What lies in one folder `here` below `folder`; the folder itself where it is empty."""
    linked = [name for name in folders if (here / name).is_symlink()]
    if not names and not folders and here != folder:
        yield here.relative_to(folder).as_posix()
    for name in (*names, *linked):
        path = (here / name).relative_to(folder).as_posix()
        if path != MARK and not TEMPORARY.fullmatch(name):
            yield path


def owned(folder: Path, mark: Mark) -> list[str]:
    """Paths below a marked folder that belong to its artefact; nothing of an output within it, whatever its name."""
    owns = mark.owns()
    return [path for path, is_others in _entries(folder) if not is_others and owns(path)]


def foreign(folder: Path, mark: Mark) -> list[str]:
    """Paths below a marked folder that do not belong to its artefact, such as a user's notes."""
    owns = mark.owns()
    return [path for path, is_others in _entries(folder) if is_others or not owns(path)]
