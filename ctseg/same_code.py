"""Which code of ctseg a process runs, for processes on several machines that work on one output."""

from __future__ import annotations

import sys
from hashlib import sha256
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


def _digest_of(package: str) -> str:
    """Of a package's modules, or of a module that is one file; empty for what has none, as a built-in."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    return _digest(path.parent) if path.name == "__init__.py" else sha256(path.read_bytes()).hexdigest()[:DIGITS]
