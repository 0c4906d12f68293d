"""Paths that name one place though no link tells of it: bind mounts, as containers have them, and overlays.

Every path lies somewhere in one file system. Linux says where, in /proc/self/mountinfo; other systems have no bind
mounts, and device and inode tell what they have.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
Spot = tuple[str, tuple[str, ...]]
"""A file system, and a path in it."""
OCTAL = re.compile(r"\\([0-7]{3})")
LAYERS = ("lowerdir", "upperdir")


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo."""

    point: tuple[str, ...]
    """Where it is seen."""
    device: str
    root: tuple[str, ...]
    """What of the file system is seen there."""
    layers: tuple[str, ...] = ()
    """Folders that an overlay is made of."""


class Spots:
    """Where paths lie in their file systems, as far as that tells more than the paths do."""

    def __init__(self, file: Path = MOUNTS) -> None:
        """Read the mounts as they are now."""
        mounts = _read(file)
        devices = Counter(mount.device for mount in mounts)
        tells_more = any(mount.layers or devices[mount.device] > 1 for mount in mounts)
        self._mounts = {mount.point: mount for mount in mounts} if tells_more else {}  # a later one hides an earlier
        self._folders: dict[str, frozenset[Spot]] = {}

    def of(self, paths: Iterable[Path]) -> frozenset[Spot]:
        """The spots of some names of one file or folder, whether or not it is there; none where paths tell all."""
        if not self._mounts:
            return frozenset()
        found: set[Spot] = set()
        for path in paths:
            folder = os.path.realpath(path.parent)
            parts = (*Path(folder).parts, *path.parts[-1:]) if path.name else Path(folder).parts
            if parts in self._mounts:
                found |= self._seen(parts)
                continue
            if folder not in self._folders:
                self._folders[folder] = self._seen(Path(folder).parts)
            found |= {(device, (*above, path.name)) for device, above in self._folders[folder]}
        return frozenset(found)

    def _seen(self, parts: tuple[str, ...], depth: int = 0) -> frozenset[Spot]:
        """The spots of a path without links; the layers of an overlay are spots of their own."""
        length = next((length for length in range(len(parts), 0, -1) if parts[:length] in self._mounts), 0)
        if not length:
            return frozenset()
        mount, below = self._mounts[parts[:length]], parts[length:]
        found = {(mount.device, (*mount.root, *below))}
        for layer in mount.layers if depth < len(self._mounts) else ():
            found |= self._seen((*Path(layer).parts, *below), depth + 1)
        return frozenset(found)


def holds(outer: Iterable[Spot], inner: Iterable[Spot]) -> bool:
    """Whether a spot lies below another."""
    inner = tuple(inner)
    return any(
        device == other and len(path) < len(below) and below[: len(path)] == path
        for device, path in outer
        for other, below in inner
    )


def _read(file: Path) -> list[Mount]:
    """Every mount; none where the system does not tell."""
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    return [mount for mount in map(_mount, text.splitlines()) if mount is not None]


def _mount(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")
    if len(fields) < 5 or len(kind) < 3:
        return None
    root, point = (Path(_plain(field)).parts for field in fields[3:5])
    return Mount(point, fields[2], root, _layers(kind[2]) if kind[0] == "overlay" else ())


def _layers(options: str) -> tuple[str, ...]:
    """The folders of an overlay that are named by whole paths."""
    named = (option.partition("=") for option in options.split(","))
    folders = (
        folder for name, _, value in named if name.rstrip("+") in LAYERS for folder in re.split(r"(?<!\\):", value)
    )
    return tuple(_plain(folder).replace("\\:", ":") for folder in folders if folder.startswith("/"))


def _plain(text: str) -> str:
    return OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
