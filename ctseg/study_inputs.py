"""What a study's step reads from outside the study: digests of content, so that a changed scan runs the step again.

A file whose size and times are those of the last look is not read again. Of folders all that is below counts, but for
hidden files, documents, and the outputs of the study itself; of a slice set and of a run what a command reads of it.
The names of files are kept as digests: people name scans after patients.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import glob
from hashlib import file_digest, sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.files import bounded
from ctseg.wording import first_of

DIGITS = 12
MOST_NAMED = 2000
"""Of inputs with more files only a digest of the whole is kept, so that what differs cannot be named."""
MOST_BYTES = 50 * 10**9
"""Larger inputs are compared by names, sizes and times alone."""
DOCUMENTS = (".txt", ".md", ".log", ".html", ".pdf")
"""Not read below a folder; a file that is an argument itself is."""
WORDS = frozenset(
    {
        "--batch-size", "--brain", "--brain-cache", "--device", "--devices", "--direction", "--domain", "--folds",
        "--format", "--fov", "--generator", "--hours", "--lesion-labels", "--min-lesion-ml", "--num-nodes", "--output",
        "--precision", "--preset", "--report", "--rows", "--scale", "--scheduler", "--seed", "--seeds", "--segmenter",
        "--select", "--set", "--similarity", "--size", "--slices", "--split", "--threshold", "--top", "--window",
        "--workers", "-o",
    }
)  # fmt: skip
"""Flags whose value is no path to read, though a file may have its name (`--domain ct`)."""

Files = dict[str, Path]


@dataclass(frozen=True)
class Content:
    """An input as a study remembers it."""

    digest: str
    """Of names and content of all its files."""
    looks: str
    """Of names, sizes and times of all its files: while it is the same, nothing is read."""
    files: Mapping[str, tuple[str, str]]
    """Digest of a file's name -> (size and times, digest of its content); empty of inputs with very many files."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        files = {name: list(had) for name, had in self.files.items()}
        return {"digest": self.digest, "looks": self.looks, "files": files}

    @classmethod
    def of(cls, data: Any) -> Content | None:
        """From JSON; None where it is anything else."""
        files = data.get("files") if isinstance(data, dict) else None
        if not isinstance(files, dict) or not all(isinstance(data.get(key), str) for key in ("digest", "looks")):
            return None
        known = {str(name): (str(had[0]), str(had[1])) for name, had in files.items() if _is_pair(had)}
        return cls(data["digest"], data["looks"], known)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def paths_read(argv: Sequence[str], outputs: Iterable[str]) -> list[str]:
    """The words of a command line that are paths from outside the study, as they are written; globs are spread.

    Args:
        argv: command and flags.
        outputs: of the study's steps, whose content their own keys record.
    """
    made = [Path(os.path.abspath(output)) for output in outputs if output]  # noqa: PTH100 - links stay
    found: list[str] = []
    for before, word in pairwise(argv):
        text = "" if before in WORDS else _value(word)
        found += [name for name in _spread(text) if not _is_made(name, made)]
    return list(dict.fromkeys(found))


def _value(word: str) -> str:
    """What may be a path of a word: all of it, or of a flag what follows `=`, if anything does."""
    is_flag = word.startswith("-") and not _exists(word)
    return word.partition("=")[2] if is_flag else word


def _is_made(name: str, made: Sequence[Path]) -> bool:
    here = Path(os.path.abspath(name))  # noqa: PTH100
    return any(here == output or output in here.parents for output in made)


def _spread(text: str) -> Iterator[str]:
    """A path, what fits a glob, and what a list of paths names."""
    if _exists(text):
        yield text
        if text.lower().endswith(".txt") and Path(text).is_file():
            yield from (line for line in _lines(Path(text)) if _exists(line))
    elif any(sign in text for sign in "*?["):
        yield from sorted(glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):
        return False


def _lines(path: Path) -> list[str]:
    try:
        data = bounded(path).read_bytes()
    except (OSError, InputError):
        return []
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return [line.strip() for line in data.decode(encoding, errors="replace").splitlines() if line.strip()]


def content_of(name: str, outputs: Iterable[str], before: Content | None) -> Content:
    """Look at an input; only what has another size or time than `before` is read."""
    files = _files(Path(name), _real(outputs))
    states = {inner: _looks(path) for inner, path in files.items()}
    looks = _digest(f"{inner} {state}" for inner, state in sorted(states.items()))
    if before is not None and before.looks == looks:
        return before
    table = _table(files, states, {} if before is None else before.files)
    digest = _digest(f"{inner} {read}" for inner, (_, read) in sorted(table.items()))
    is_long = len(table) > MOST_NAMED
    return Content(digest, looks, {} if is_long else {name_digest(inner): had for inner, had in table.items()})


def _table(files: Files, states: Mapping[str, str], known: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Name -> (looks, content) of each file; of very large inputs the looks count as the content."""
    is_large = sum(int(state.partition(" ")[0]) for state in states.values()) > MOST_BYTES
    table = {}
    for inner, path in files.items():
        state = states[inner]
        had = known.get(name_digest(inner), ("", ""))
        if had[0] == state:
            table[inner] = had
        else:
            table[inner] = state, state if is_large else _read(path, state)
    return table


def what_changed(name: str, outputs: Iterable[str], before: Content, now: Content) -> str:
    """`scans (a.nii.gz and 2 more changed, 1 gone)`: which files of an input differ from what the study read."""
    files = _files(Path(name), _real(outputs))
    if not before.files or not now.files or files.keys() == {""}:
        return name
    changed = _changed({name_digest(inner): inner for inner in files}, before, now)
    gone = len(before.files.keys() - now.files.keys())
    parts = ([f"{first_of(changed)} changed"] if changed else []) + ([f"{gone} gone"] if gone else [])
    return f"{name} ({', '.join(parts)})" if parts else name


def _changed(names: Mapping[str, str], before: Content, now: Content) -> list[str]:
    """The names of the files that are new or have other content."""
    had = {key: read for key, (_, read) in before.files.items()}
    return [names[key] for key, (_, read) in now.files.items() if key in names and had.get(key) != read]


def _real(outputs: Iterable[str]) -> list[Path]:
    return [Path(os.path.realpath(output)) for output in outputs if output]


def name_digest(inner: str) -> str:
    """The digest that replaces a file's name."""
    return sha256(os.fsencode(inner)).hexdigest()[:DIGITS]


def _digest(lines: Iterable[str]) -> str:
    whole = sha256()
    for line in lines:
        whole.update(os.fsencode(line) + b"\n")
    return whole.hexdigest()[:DIGITS]


def _looks(path: Path) -> str:
    """Size and times; a file that cannot be looked at has none."""
    try:
        status = path.stat()
    except OSError as error:
        return f"0 errno {error.errno}"
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


@lru_cache(maxsize=100_000)
def _read(path: Path, _state: str) -> str:
    """Digest of a file's content, read once in a process while it looks the same; an error where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()[:DIGITS]
    except OSError as error:
        return f"errno {error.errno}"


def _files(path: Path, outputs: Sequence[Path]) -> Files:
    """Name below the input -> file; the name of a file that is an input itself is empty."""
    if not path.is_dir():
        return {"": path}
    for names in (("images.npy", "masks.npy", "slices.csv", "dataset.json"), ("model.safetensors",)):
        if (path / ".ctseg.json").is_file() and (path / names[-1]).is_file():
            return {name: path / name for name in names if (path / name).is_file()}
    return dict(sorted(_below(path, outputs)))


def _below(folder: Path, outputs: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Links to folders are followed, each folder once."""
    seen: set[str] = set()
    for top, folders, names in os.walk(folder, followlinks=True):
        here = Path(top)
        real = os.path.realpath(top)
        if real in seen or Path(real) in outputs:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and not name.lower().endswith(DOCUMENTS) and (here / name).is_file():
                yield (here / name).relative_to(folder).as_posix(), here / name
