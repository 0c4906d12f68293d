"""Files on a shared disk that appear whole, once, and for all who look."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ctseg.files import sync


def is_gone(error: OSError) -> bool:
    """Whether an error says that a file or folder is not there any more; a network disk calls that stale."""
    return error.errno in (errno.ENOENT, errno.ESTALE)


def appear(new: Path, path: Path) -> bool:
    """Give a file its name, unless it is taken; without hard links (some network disks) two may both get it."""
    try:
        os.link(new, path)
    except FileExistsError:
        # A network disk that lost the answer was asked twice, and found the name that it had just given.
        return _are_one(new, path)
    except OSError as error:
        if is_gone(error) or path.exists():
            return False  # gone: all is done, and the folder is removed
        new.replace(path)
    sync(path.parent)
    return True


def _are_one(new: Path, path: Path) -> bool:
    try:
        return new.samefile(path)
    except OSError:
        return False
