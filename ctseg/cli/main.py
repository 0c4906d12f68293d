"""The `ctseg` command: the application, the global options and the one error boundary."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from ctseg.cli import common
from ctseg.cli.defaults import Default, any_set, as_map, in_force, read_defaults, said
from ctseg.cli.ending import INTERRUPTED, ended_by, not_an_exit
from ctseg.cli.examples import HELP_FLAGS, finish_help
from ctseg.cli.quick_start import begun, listed, quicken
from ctseg.cli.signals import end_by_signals
from ctseg.cli.streams import keep_streams
from ctseg.cli.waiting import name_what_is_left
from ctseg.cli.words import ELSEWHERE, globals_first
from ctseg.errors import InputError
from ctseg.failures import check_here
from ctseg.harmless import visible
from ctseg.version import __version__

EPILOG = (
    "Research software, not a medical device. Exit codes: 0 done, 1 some cases failed, 2 bad usage or input, "
    "130 interrupted, 143 terminated."
)
COMMANDS = (
    "preprocess", "match", "synth_train", "synthesize", "das_train", "segment", "evaluate",
    "finetune",
    "run", "demo", "phantom", "models", "export", "bids", "plugins", "settings", "config", "inspect", "doctor",
)  # fmt: skip


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        typer.echo(f"ctseg {__version__}")
        raise typer.Exit


def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages but errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also versions, seconds and peak memory at the end.")
    ] = False,
    no_plugins: Annotated[bool, typer.Option("--no-plugins", help="Use nothing but the built-ins.")] = False,
) -> None:
    """Segment haemorrhage on head CT and measure it; train models on labelled glioma MR and unlabelled CT.

    The pipeline: preprocess, match, synth-train, synthesize, das-train, segment, evaluate; `ctseg demo` runs
    all of it.
    """
    del version  # handled by its callback
    common.STATE.quiet = quiet or common.STATE.quiet
    common.STATE.verbose = verbose or common.STATE.verbose
    common.STATE.outside_plugins = not no_plugins
    if common.STATE.quiet:
        context.call_on_close(common.hush())
    for line in () if common.STATE.is_member else common.STATE.announced:
        common.say(line)


def build_app(argv: Sequence[str] = (), *, alone: bool = False) -> typer.Typer:
    """The application; plugins' own commands join it where the call may be about them.

    Args:
        argv: the call.
        alone: without the commands that the call is not about, where it is about one of ctseg's own.
    """
    from importlib import import_module

    app = typer.Typer(
        name="ctseg", no_args_is_help=True, add_completion=True, epilog=EPILOG, pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP_FLAGS},
    )  # fmt: skip
    app.callback()(options)
    named = next((word for word in argv if not word.startswith("-")), "")
    own = {named.replace("-", "_")} & set(COMMANDS) - {"config"}
    for name in own if own and alone else COMMANDS:
        import_module(f"ctseg.cli.{name}").add_to(app)
    if not own and "--no-plugins" not in argv:
        from ctseg.plugins.commands import register_commands

        register_commands(common.registry(), app)
    _check_there(named, app)
    return app


def _check_there(named: str, app: typer.Typer) -> None:
    """Refuse a command of another package of this project that is not there.

    Raises:
        InputError: naming the package.
    """
    if named in ELSEWHERE and named not in {command.name for command in app.registered_commands}:
        package = ELSEWHERE[named]
        raise InputError(
            f"`ctseg {named}` is a command of the package {package}, which is not installed or is disabled; "
            f"install it: pip install {package} (from a clone: pip install ./plugins/{package})"
        )


def main(argv: Sequence[str] | None = None, *, raises: bool = False) -> int:
    """Run one command in this process and return its exit code; never raises for a user's error.

    Args:
        argv: the call, without `ctseg`.
        raises: for a command within another one, which says what went wrong: errors are raised and not said.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    outer, started = replace(common.STATE), time.monotonic()
    common.STATE.argv, common.STATE.error = tuple(argv), ""
    command: Any = None
    set_elsewhere: list[Default] = []
    is_asked = not set(HELP_FLAGS).isdisjoint(argv)
    try:
        check_here()
        quicken(helps=is_asked or not argv)
        app = build_app(argv, alone=not any_set())
        is_list = is_asked and all(word.startswith("-") for word in argv)
        command = typer.main.get_command(listed(app) if is_list else app)
        finish_help(command)
        argv = globals_first(command, argv)
        set_elsewhere = defaults_of(command, argv)
        begun(is_help=is_asked)
        result = command.main(args=argv, prog_name="ctseg", standalone_mode=False, default_map=as_map(set_elsewhere))
        if result == INTERRUPTED:
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except BaseException as error:
        return _ended(error, command, argv, said(set_elsewhere), raises)
    finally:
        begun()
        # A study's steps run in this process under the outer call's options; they must not change them.
        if common.STATE.verbose:
            common.say_cost(started)
        common.STATE.quiet, common.STATE.outside_plugins = outer.quiet, outer.outside_plugins
        common.STATE.verbose, common.STATE.argv = outer.verbose, outer.argv


def _ended(error: BaseException, command: Any, argv: Sequence[str], elsewhere: Sequence[str], raises: bool) -> int:
    """The exit code of a call that an error ended, which is said; or the error itself."""
    path = called(command, argv)[1]
    if any(path.split()[1:2] == [name.replace("_", "-")] for name in COMMANDS):  # a plugin's may end as they like
        error = not_an_exit(error, path)
    if raises:
        raise error
    return ended_by(error, flags_of(command, argv), elsewhere, path)


def defaults_of(command: Any, argv: Sequence[str]) -> list[Default]:
    """The options of a call that come from elsewhere; `options` says them, once it knows whether to speak."""
    common.STATE.announced = []
    if not argv or "config" in argv[:2]:
        return []
    defaults, unknown = read_defaults(command)
    found = in_force(defaults, argv, command)
    common.STATE.announced = [*(f"warning: {line}" for line in unknown), *said(found)]
    return found


def called(root: Any, argv: Sequence[str]) -> tuple[Any, str]:
    """The command that some words call, and its name as it is typed."""
    found, path = root, "ctseg"
    for word in argv:
        below = getattr(found, "commands", {}).get(word)
        found, path = (below, f"{path} {word}") if below is not None else (found, path)
    return found, path


def flags_of(root: Any, argv: Sequence[str]) -> frozenset[str]:
    """The flags of the command that some words call, and the settings of it that save memory."""
    found, _ = called(root, argv)
    flags = {option for parameter in getattr(found, "params", ()) for option in parameter.opts}
    batched = getattr(found, "name", "") in ("synth-train", "das-train", "finetune", "segment")
    return frozenset(flags | ({"--set batch_size"} if batched else set()))


def run() -> None:
    """The console script.

    Python begins a worker with the working folder first among the places of its modules; a `multiprocessing.py` in a
    folder of scans would be run.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    keep_streams()
    end_by_signals()
    try:
        code = main()
    except Exception:  # a defect: what its libraries say may hold what a terminal obeys
        sys.stderr.write(visible(traceback.format_exc()))
        code = 1
    exec("")  # noqa: S102 - Ctrl-C within an `exec` of a library would end Python by the signal; a new one forgets it
    name_what_is_left()
    sys.exit(code)
