"""Why the system did not give a file: one line with the way out, for errors that say nothing about the file itself."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from ctseg.errors import InputError

RUST_ERROR = re.compile(r"os error (\d+)")
"""How safetensors tells what the system said."""
CUT_SHORT = re.compile(r"(?<!\d)\d++ requested and \d+ written")
"""How numpy tells that not all of an array could be written; what the system said is lost."""
WAYS_OUT = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EMFILE: "use fewer --workers, or raise the limit (`ulimit -n`)",
    errno.ENFILE: "use fewer --workers, or raise the limit of the system",
    errno.ENOMEM: "use fewer --workers, or a machine with more memory",
    errno.ELOOP: "correct the link",
    errno.ENAMETOOLONG: "rename it",
    errno.EISDIR: "give a file",
}
"""What to do about an error of the system; about others, look at the disk."""

TORCH_MEMORY = "can't allocate memory"
"""How torch says on the CPU that there is no room for a tensor."""
LOOK_AT_DISK = "check the disk or the network, and call again"


def check_here() -> None:
    """Refuse to work in a folder that is gone, as the shell's is after `-o .` has replaced it.

    Libraries of torch end the process there.

    Raises:
        InputError: if the working folder is no more.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise InputError("the folder that this was called in is gone (replaced or removed); cd into it again") from None


def error_number(error: BaseException) -> int | None:
    """What the system said, by its number; None of an error that is none of the system's."""
    if isinstance(error, OSError):
        return error.errno or (errno.ENOSPC if CUT_SHORT.search(str(error)) else None)
    found = RUST_ERROR.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    return None if found is None else int(found[1])


def system_failure(error: BaseException) -> str:
    """One line about an error of the system (disk, network, memory, limits); empty where the file is to blame."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and TORCH_MEMORY in str(error)):
        return f"does not fit into memory; {WAYS_OUT[errno.ENOMEM]}"
    number = error_number(error)
    if number is None:
        return ""
    reason = getattr(error, "strerror", None) or os.strerror(number)
    return f"cannot be read ({reason}); {WAYS_OUT.get(number, LOOK_AT_DISK)}"
