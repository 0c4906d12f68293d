"""How a command ends: one line and an exit code for what a user or the machine can be at fault for."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Collection
from typing import Any

import typer

from ctseg.cli import common
from ctseg.errors import CtsegError, PluginError
from ctseg.harmless import shortened, visible

INTERRUPTED, TERMINATED = 130, 143
DISK_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES", "EBUSY", "EDQUOT", "EEXIST", "EFBIG", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENFILE",
        "ENODEV", "ENOLCK", "ENOLINK", "ENOMEM", "ENOSPC", "ENOTCONN", "ENOTDIR", "ENXIO", "EPERM", "EREMOTEIO",
        "EROFS", "ESTALE", "ETIMEDOUT", "ETXTBSY",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""What a disk may answer to a path that is right for ctseg: no defect of it, so one line and no traceback."""
UsageError: Any = typer.BadParameter.__base__
"""Click's usage error, whichever copy of click typer carries."""
ClickException: Any = UsageError.__base__


def ended_by(
    error: BaseException, flags: Collection[str] = (), elsewhere: Collection[str] = (), called: str = "ctseg"
) -> int:
    """One line about what ended a command, and its exit code; a defect of ctseg goes on as it came.

    Args:
        error: what ended it.
        flags: the flags that the command has: no other is advised.
        elsewhere: lines about options that were not typed, one of which may be at fault.
        called: the command that was called, for errors that do not know theirs.
    """
    if isinstance(error, UsageError):
        path = error.ctx.command_path if error.ctx else called
        text = usage_text(error)
        return complain(f"{text}{_origin(error, elsewhere)}; see `{path} --help`" if text else "", error.exit_code)
    if isinstance(error, ClickException):
        return complain(error.format_message(), error.exit_code)
    if isinstance(error, CtsegError):
        return complain(str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt | typer.Abort | Terminated):
        return stopped_by_signal(error, flags)
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        common.close_stdout()  # typer exits with 1, but a reader that has seen enough is no error
        return 0
    return refused_by_machine(error, flags)


def not_an_exit(error: BaseException, called: str) -> BaseException:
    """The error as it came; for a `sys.exit` of a plugin or a library, whose code may be 0, one that is said."""
    from ctseg.plugins.called import place_of

    if not isinstance(error, SystemExit) or isinstance(error.__context__, BrokenPipeError):
        return error
    place = place_of(error)
    if place.startswith(("click/", "typer/")):  # completion ends so
        return error
    return PluginError(
        f"sys.exit({error.code!r}) in {place} ended `{called}` before it was done; its package is at fault"
    )


def _origin(error: Any, elsewhere: Collection[str]) -> str:
    """Which line about options that were not typed is about the one at fault; empty where it was typed."""
    option = getattr(getattr(error, "param", None), "opts", [""])[0]
    return next((f" ({line})" for line in elsewhere if option and f"{option} " in line), "")


def usage_text(error: Any) -> str:
    """What click says of words that a command does not take; empty where it has shown the help instead."""
    text = str(error.format_message()).replace("Value error, ", "").replace("Input should be", "it should be")
    return re.sub(r", unable to parse string as an? \w+", "", text).rstrip(".")


def refused_by_machine(error: BaseException, flags: Collection[str] = ()) -> int:
    """One line where the disk or the memory is at its end; anything else goes on as it came."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{error.strerror}; check the path, its permissions and the free space", 2)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError | ImportError) and _is_out_of_memory(error)):
        return complain(out_of_memory(flags), 2)
    raise error


def out_of_memory(flags: Collection[str]) -> str:
    """What to do about it, with the flags that the command has."""
    ways = ["fewer --workers"] if "--workers" in flags else []
    ways += ["a smaller --batch-size"] if "--batch-size" in flags else []
    ways += ["a smaller --set batch_size=..."] if "--set batch_size" in flags else []
    kept = "; what was finished is kept, and --resume goes on" if "--resume" in flags else ""
    return f"out of memory; use {', '.join([*ways, 'or ' * bool(ways) + 'a larger machine'])}{kept}"


def _is_out_of_memory(error: Exception) -> bool:
    """Whether torch ran out of memory, on a GPU, on the CPU, or while its library was loaded; without importing it."""
    said = ("can't allocate memory", "out of memory", "failed to map segment", "Cannot allocate memory")
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in said)


class Terminated(BaseException):
    """SIGTERM, which batch systems and `kill` send; it ends a command as Ctrl-C does."""


def complain(message: str, code: int) -> int:
    """One line on stderr; `STATE` keeps it."""
    common.STATE.error = visible(shortened(" ".join(message.split())))
    if message:
        sys.stderr.write(f"ctseg: error: {common.STATE.error}\n")
    return code


def stopped_by_signal(stop: BaseException, flags: Collection[str] = ()) -> int:
    """One line for Ctrl-C or SIGTERM, and its exit code."""
    word, code = ("terminated", TERMINATED) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)
    if common.STATE.is_member or common.STATE.error.startswith(f"{word};"):  # a step of this call has said it
        return code
    again = "--resume continues it" if "--resume" in flags else "start it again"
    return complain(f"{word}; nothing half-written was left, {again}", code)
