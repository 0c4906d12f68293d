"""Why the system did not give a file: one line with the way out, for errors that say nothing about the file itself."""

from __future__ import annotations

import errno
import os

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

LOOK_AT_DISK = "check the disk or the network, and call again"


def system_failure(error: BaseException) -> str:
    """One line about an error of the system (disk, network, memory, limits); empty where the file is to blame."""
    if isinstance(error, MemoryError):
        return f"does not fit into memory; {WAYS_OUT[errno.ENOMEM]}"
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    reason = error.strerror or os.strerror(error.errno)
    return f"cannot be read ({reason}); {WAYS_OUT.get(error.errno, LOOK_AT_DISK)}"
