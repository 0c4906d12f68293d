"""Which code of ctseg a process runs, for processes on several machines that work on one output."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

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
