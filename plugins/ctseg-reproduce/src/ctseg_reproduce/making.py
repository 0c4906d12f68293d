"""What the commands that make the package's models share: a folder that they go on in, and what they say in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

from ctseg.cli import common
from ctseg.errors import InputError
from ctseg.files import read_json, write_json
from ctseg_reproduce.stages import read_table

SECONDS = "seconds.json"
T = TypeVar("T")


def read_back(load: Callable[[Path], T], path: Path) -> T:
    """An intermediate file that an earlier call wrote.

    Raises:
        InputError: if it is damaged.
    """
    try:
        return load(path)
    except (ValueError, KeyError, EOFError, OSError, BadZipFile) as error:
        raise InputError(f"{path}: cannot be read; remove it and call again") from error


def keep_request(root: Path, asked: Mapping[str, Any], what: str) -> None:
    """Write what was asked for; a folder that was begun with another request is refused.

    Args:
        root: the folder.
        asked: what decides the weights.
        what: names it for the message.

    Raises:
        InputError: naming the folder.
    """
    path = root / "request.json"
    if path.exists() and read_json(path) != asked:
        raise InputError(f"{root}: begun with another {what}; choose another -o")
    write_json(path, asked)


def add_seconds(root: Path, part: str, seconds: float) -> None:
    """Add to the time that a part has taken in all calls."""
    path = root / SECONDS
    spent = read_table(path) if path.exists() else {}
    write_json(path, spent | {part: round(spent.get(part, 0.0) + seconds, 1)})


def finish(weights: Path, as_json: bool) -> None:
    """Say where the weights are, and their digest."""
    from ctseg.io.input_digests import file_sha256

    found = file_sha256(weights)
    common.finish({"weights": str(weights), "sha256": found}, [f"weights: {weights}", f"SHA-256: {found}"], as_json)
