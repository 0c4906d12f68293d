"""Which code of ctseg a process runs, for processes on several machines that work on one output."""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ctseg.version import __version__

DIGITS = 12


def _digest(folder: Path) -> str:
    """The first hex digits of a SHA-256 of all modules below a folder, with their names; the same on every system."""
    digest = sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:DIGITS]


CODE = f"ctseg {__version__} (code {_digest(Path(__file__).parent)})"
"""Version and digest; of a version under development the number alone tells nothing."""


def codes_of(*parts: Any) -> list[str]:
    """Which other packages some objects come from, and a digest of their modules, as `ctseg_other 0123456789ab`.

    Args:
        parts: brain extractors or networks, functions or objects; of one that is around another, both count.
    """
    packages: set[str] = set()
    for part in parts:
        while part is not None:
            packages.add(str(getattr(part, "__module__", type(part).__module__)).split(".")[0])
            part = getattr(part, "extractor", None)
    return [f"{name} {_digest_of(name)}" for name in sorted(packages - {"ctseg"})]


@lru_cache
def _plugins() -> frozenset[str]:
    """The packages that installed plugins are of."""
    names: set[str] = set()
    for distribution in distributions():
        with suppress(Exception):  # a half-removed package, which the plugin host passes over, too
            points = [point for point in distribution.entry_points if point.group == "ctseg"]
            names |= {point.module.split(".")[0] for point in points}
    return frozenset(names - {"ctseg"})


def plugins_in(packed: bytes) -> dict[str, str]:
    """The plugins' packages that a pickled object needs, and a digest of the modules of each."""
    if not _plugins():
        return {}
    words = {word.split(" ")[0].split(".")[0] for _, word, _ in pickletools.genops(packed) if isinstance(word, str)}
    return digests_of(sorted(words & _plugins()))


def digests_of(packages: Iterable[str]) -> dict[str, str]:
    """A digest of each package's modules as they are installed here; empty for one that is not."""
    return {name: _installed(name) for name in packages}


@lru_cache
def _installed(package: str) -> str:
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        return ""
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return ""
    return _digest_at(Path(found.origin))


def differing(plugins: Mapping[str, str]) -> str:
    """How the first plugin that differs here is other than that of the call; empty where none does.

    Args:
        plugins: package -> digest, of the call.
    """
    found = digests_of(plugins)
    return next(filter(None, (difference(name, plugins[name], found[name]) for name in plugins)), "")


def difference(package: str, here: str, there: str) -> str:
    """How a package of another process differs from that of the call; empty where it does not."""
    if there == here:
        return ""
    if not there:
        return f"lacks the plugin {package} (code {here})"
    return f"has other code of the plugin {package} ({there}, and this call {here})"


def _digest_of(package: str) -> str:
    """Of a package's modules, or of a module that is one file; empty for what has none, as a built-in."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None:
        return ""
    return _digest_at(Path(file))


def _digest_at(path: Path) -> str:
    return _digest(path.parent) if path.name == "__init__.py" else sha256(path.read_bytes()).hexdigest()[:DIGITS]
