"""Names of temporary and lock files, which never grow too long for the file system."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

LONGEST_IN_TEMPORARY = 100
"""A name of up to so many bytes is part of the name of its temporary in full."""


def temporary_name(name: str) -> str:
    """What a temporary file or folder is named after its target: the name itself, or 32 letters of a long one.

    A temporary name that grows with its target would be too long for the file system where the target's is not.
    The suffixes of a long name stay, because writers go by them.
    """
    if len(os.fsencode(name)) <= LONGEST_IN_TEMPORARY:
        return name
    digest = blake2b(os.fsencode(name), digest_size=10).hexdigest()
    suffixes = "".join(Path(name).suffixes[-2:])
    return digest + (suffixes if len(os.fsencode(suffixes)) <= 12 else "")


def unused(place: Callable[[str], Path]) -> Path:
    """A path that is not taken, to be known before anything is made there: an interruption may come right after that.

    Args:
        place: eight random digits -> path.
    """
    while True:
        path = place(secrets.token_hex(4))
        if not os.path.lexists(path):
            return path
