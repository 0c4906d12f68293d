"""The `ctseg` command: the application, the global options and the one error boundary."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from ctseg.cli import common
from ctseg.cli.streams import keep_streams
from ctseg.errors import CtsegError, InputError
from ctseg.version import __version__

INTERRUPTED, TERMINATED = 130, 143
DISK_ERRORS = frozenset(
    getattr(errno, name)
    for name in [
        "EACCES",
        "EDQUOT",
        "EEXIST",
        "EFBIG",
        "EIO",
        "EISDIR",
        "EMFILE",
        "ENAMETOOLONG",
        "ENFILE",
        "ENODEV",
        "ENOMEM",
        "ENOSPC",
        "ENOTCONN",
        "ENOTDIR",
        "ENXIO",
        "EPERM",
        "EROFS",
        "ESTALE",
        "ETIMEDOUT",
    ]
    if hasattr(errno, name)
)
"""What a disk may answer to a path that is right for ctseg: no defect of it, so one line and no traceback."""
OUT_OF_MEMORY = (
    "out of memory; use fewer --workers, a smaller --batch-size or --set batch_size, or a larger machine; what was "
    "finished is kept, and --resume goes on where a command knows it"
)
UsageError: Any = typer.BadParameter.__base__
"""Click's usage error, whichever copy of click typer carries."""
ClickException: Any = UsageError.__base__

EPILOG = (
    "Research software, not a medical device. Exit codes: 0 done, 1 some cases failed, 2 bad usage or input, "
    "130 interrupted, 143 terminated."
)
COMMANDS = (
    "preprocess", "match", "synth_train", "synthesize", "das_train", "segment", "evaluate",
    "finetune",
    "run", "demo", "phantom", "models", "plugins", "settings",
)  # fmt: skip

ELSEWHERE = dict.fromkeys(("reproduce", "source-subsets", "location-prior", "shuffle-labels"), "ctseg-reproduce")
"""Commands that other packages of this project bring."""


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        typer.echo(f"ctseg {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages but errors.")] = False,
    no_plugins: Annotated[bool, typer.Option("--no-plugins", help="Use nothing but the built-ins.")] = False,
) -> None:
    """Segment haemorrhage on head CT with a model trained on labelled glioma MR and unlabelled CT.

    The pipeline: preprocess, match, synth-train, synthesize, das-train, segment, evaluate; `ctseg demo` runs
    all of it.
    """
    del version  # handled by its callback
    common.STATE.quiet = quiet or common.STATE.quiet
    common.STATE.outside_plugins = not no_plugins


def build_app(argv: Sequence[str] = ()) -> typer.Typer:
    """The application; plugins' own commands join it where the call may be about them."""
    from importlib import import_module

    app = typer.Typer(
        name="ctseg", no_args_is_help=True, add_completion=True, epilog=EPILOG, pretty_exceptions_enable=False
    )
    app.callback()(options)
    for name in COMMANDS:
        import_module(f"ctseg.cli.{name}").add_to(app)
    named = next((word for word in argv if not word.startswith("-")), "")
    if named.replace("-", "_") not in COMMANDS and "--no-plugins" not in argv:
        from ctseg.plugins.host import register_commands

        register_commands(common.registry(), app)
    if named in ELSEWHERE and named not in {command.name for command in app.registered_commands}:
        package = ELSEWHERE[named]
        raise InputError(
            f"`ctseg {named}` is a command of the package {package}, which is not installed or is disabled; "
            f"install it: pip install {package} (from a clone: pip install ./plugins/{package})"
        )
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command in this process and return its exit code; never raises for a user's error."""
    argv = list(sys.argv[1:] if argv is None else argv)
    outer = replace(common.STATE)
    try:
        command = typer.main.get_command(build_app(argv))
        result = command.main(args=argv, prog_name="ctseg", standalone_mode=False)
        if result == INTERRUPTED:
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except BaseException as error:
        return ended_by(error)
    finally:
        # A study's steps run in this process under the outer call's options; they must not change them.
        common.STATE.quiet, common.STATE.outside_plugins = outer.quiet, outer.outside_plugins


def ended_by(error: BaseException) -> int:
    """One line about what ended a command, and its exit code; a defect of ctseg goes on as it came."""
    if isinstance(error, UsageError):
        path = error.ctx.command_path if error.ctx else "ctseg"
        text = usage_text(error)
        return complain(f"{text}; see `{path} --help`" if text else "", error.exit_code)
    if isinstance(error, ClickException):
        return complain(error.format_message(), error.exit_code)
    if isinstance(error, CtsegError):
        return complain(str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt | typer.Abort | Terminated):
        return stopped_by_signal(error)
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        common.close_stdout()  # typer exits with 1, but a reader that has seen enough is no error
        return 0
    return refused_by_machine(error)


def usage_text(error: Any) -> str:
    """What click says of words that a command does not take; empty where it has shown the help instead."""
    return str(error.format_message()).replace("Value error, ", "").rstrip(".")


def refused_by_machine(error: BaseException) -> int:
    """One line where the disk or the memory is at its end; anything else goes on as it came."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{error.strerror}; check the path, its permissions and the free space", 2)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _is_out_of_memory(error)):
        return complain(OUT_OF_MEMORY, 2)
    raise error


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU; asked without importing it."""
    text = str(error)
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text or "out of memory" in text


def complain(message: str, code: int) -> int:
    """One line on stderr."""
    if message:
        sys.stderr.write(f"ctseg: error: {' '.join(message.split())}\n")
    return code


class Terminated(BaseException):
    """SIGTERM, which batch systems and `kill` send; it ends a command as Ctrl-C does."""


def stopped_by_signal(stop: BaseException) -> int:
    """One line for Ctrl-C or SIGTERM, and its exit code."""
    word, code = ("terminated", TERMINATED) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)
    return complain(f"{word}; nothing half-written was left, --resume continues where a command knows it", code)


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Signal handler of SIGTERM."""
    raise Terminated


def run() -> None:
    """The console script."""
    keep_streams()
    signal.signal(signal.SIGTERM, terminate)
    sys.exit(main())
