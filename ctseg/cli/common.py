"""What the commands share: their options, the registry, and how they speak."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import completion
from ctseg.cli.path_lists import is_there, read_list, read_stdin
from ctseg.errors import InputError, SettingError
from ctseg.harmless import visible

if TYPE_CHECKING:
    from ctseg.io.slices import SliceSet
    from ctseg.outputs import Output
    from ctseg.plugins.host import Registry
    from ctseg.progress import Progress


@dataclass
class State:
    """The global options of this process."""

    quiet: bool = False
    verbose: bool = False
    outside_plugins: bool = True
    registry: Registry | None = None
    announced: list[str] = field(default_factory=list)
    """What is to be said before the command begins."""
    argv: tuple[str, ...] = ()
    """The command's own arguments."""
    error: str = ""
    """The line that the last command which failed ended with; a study's caller reads it."""
    is_member: bool = False
    """Whether another process of a training speaks for this one: of what was set elsewhere, and of signals."""


STATE = State()

MACHINE = "Machine"
LARGEST_SEED = (1 << 63) - 1
"""What every generator of random numbers takes."""
MOST_PROCESSES = 1024
"""More of them are a slip: no machine has so many cores, and all would be started."""
Device = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda, cuda:1 or mps.", autocompletion=completion.devices, rich_help_panel=MACHINE
    ),
]
Devices = Annotated[
    int | None,
    typer.Option("--devices", help="Processes on this machine, each with its GPU.", min=1, rich_help_panel=MACHINE),
]
NumNodes = Annotated[
    int | None, typer.Option("--num-nodes", help="Machines that train together.", min=1, rich_help_panel=MACHINE)
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="auto, 32 or bf16 (mixed).", autocompletion=completion.precisions, rich_help_panel=MACHINE
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers", help="Worker processes; 0 works in this one.", min=0, max=MOST_PROCESSES, rich_help_panel=MACHINE
    ),
]
Scheduler = Annotated[
    str, typer.Option("--scheduler", help="Address of a Dask scheduler to work on instead.", rich_help_panel=MACHINE)
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.", min=0, max=LARGEST_SEED)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue where an earlier call stopped.")]
Share = Annotated[
    bool,
    typer.Option(
        "--share",
        help="Share the cases with other calls of this very command, on any machines.",
        rich_help_panel=MACHINE,
    ),
]
Null = Annotated[bool, typer.Option("-0", "--null", help="NUL bytes separate listed paths (find -print0).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Set = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting; repeat for more. `ctseg settings COMMAND` lists them.",
        autocompletion=completion.settings,
    ),
]  # fmt: skip
Source = Annotated[Path, typer.Option("--src", help="Slice set of the source domain (labelled MR).")]
Target = Annotated[Path, typer.Option("--tgt", help="Slice set of the target domain (CT).")]


def registry() -> Registry:
    """The plugin registry of this process, loaded once; warns of broken plugins."""
    if STATE.registry is None:
        from ctseg.plugins.host import load

        STATE.registry = load(outside=STATE.outside_plugins)
        for item in STATE.registry.broken:
            say(f"warning: plugin {item.package} {item.version} is broken and left out: {item.error}")
        for clash in STATE.registry.clashes:
            warn(clash)
    return STATE.registry


FAILED = "FAILED "
"""How a line about a case begins that could not be done: such a line is an error, which `--quiet` leaves."""


def say(message: str, *, is_error: bool = False) -> None:
    """A line for people, on stderr; `is_error`: under `--quiet`, too."""
    if is_error or not STATE.quiet:
        sys.stderr.write(visible(message) + "\n")


def warn(message: str) -> None:
    """A warning for people, on stderr."""
    say(f"warning: {message}")


def hush() -> Callable[[], None]:
    """Leave out the warnings of trainings, which their files hold, too; the function that is given undoes it."""
    import logging

    logger = logging.getLogger("ctseg")
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    return lambda: logger.setLevel(level)


def show(text: str) -> None:
    """A line of what was asked for, on stdout; names of packages, models and files come from outside."""
    typer.echo(visible(text))


def say_cost(started: float) -> None:
    """What a call took: versions, seconds and the most memory, for `-v`.

    Args:
        started: `time.monotonic()` at its beginning.
    """
    import platform
    import time

    from ctseg.version import __version__

    seconds, memory = time.monotonic() - started, peak_memory_gb()
    most = "" if memory is None else f", at most {memory:.2f} GB of memory"
    say(f"ctseg {__version__}, Python {platform.python_version()}: {seconds:.1f} s{most}")


def peak_memory_gb() -> float | None:
    """The most memory that this process had; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def close_stdout() -> None:
    """After a broken pipe: what is still in the buffer goes nowhere, instead of failing once more at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def finish(summary: Mapping[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """End a command: JSON on stdout when asked for, lines for people on stderr."""
    for line in lines:
        say(line, is_error=line.startswith(FAILED))
    if as_json:
        typer.echo(json.dumps(summary, default=str))


def bar(title: str, total: int | None = None) -> Progress:
    """A progress bar; none under `--quiet`."""
    from ctseg.progress import Progress

    return Progress(title, total, quiet=STATE.quiet)


def number_pair(text: str, flag: str) -> tuple[float, float]:
    """`0:100` -> (0.0, 100.0).

    Raises:
        SettingError: if it is not two rising numbers.
    """
    try:
        low, high = map(_number, text.split(":"))
    except ValueError:
        raise SettingError(f"{flag} {text}: expected LOW:HIGH, as 0:100") from None
    if high <= low:
        raise SettingError(f"{flag} {text}: the first number must be the smaller one")
    return low, high


def _number(text: str) -> float:
    """A finite number; `nan` would pass every comparison that follows (ValueError)."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def numbers(text: str, flag: str) -> tuple[float, ...]:
    """`0.8:0.2` -> (0.8, 0.2).

    Raises:
        SettingError: if a part is no number.
    """
    try:
        return tuple(map(_number, text.split(":")))
    except ValueError:
        raise SettingError(f"{flag} {text}: expected numbers joined by colons, as 0.8:0.2") from None


@contextmanager
def executor(scheduler: str) -> Iterator[Any]:
    """The executor of a Dask scheduler, or None for worker processes of our own.

    Raises:
        SettingError: if no scheduler can be worked on there, see `ctseg.cli.cluster`.
    """
    if not scheduler:
        yield None
        return
    from ctseg.cli.cluster import connected

    with connected(scheduler) as client:
        yield client.get_executor()


def guard(
    path: Path,
    kind: str,
    inputs: Iterable[Path | str | None] = (),
    *,
    overwrite: bool = False,
    resume: bool = False,
    share: bool = False,
) -> Output:
    """`ctseg.outputs.guard_output`, which speaks as the commands do.

    Raises:
        SettingError: if an output that is shared would be replaced by each call.
    """
    from ctseg.outputs import guard_output

    if share and overwrite:
        raise SettingError("--share and --overwrite: each call would start again; remove the output, then share it")
    return guard_output(path, kind, inputs=inputs, overwrite=overwrite, resume=resume, share=share, say=say)


def open_set(folder: Path) -> SliceSet:
    """`ctseg.io.slices.open_slices`, with what is to be said about the set.

    Raises:
        InputError: naming the file, what is wrong and the way out.
    """
    from ctseg.io.slices import open_slices

    slices = open_slices(folder)
    for note in slices.notes():
        say(f"warning: {note}")
    return slices


def existing_path(path: Path) -> Path:
    """The path, if it is there.

    Raises:
        InputError: naming it, if it is not.
    """
    if not is_there(path):
        raise InputError(f"{path}: no such file or folder; check the path")
    return path


def existing_paths(texts: Iterable[str], *, null: bool = False) -> list[Path]:
    """Input paths from arguments: `-` reads paths from stdin, a `.txt` file holds one path a line, globs are spread.

    Args:
        texts: the arguments.
        null: whether NUL bytes separate the paths in lists and on stdin.

    Raises:
        InputError: naming the first path that does not exist, a list that cannot be read, or a glob that fits nothing.
    """
    return [path for text in texts for path in _spread(text, null)]


def _spread(text: str, null: bool) -> list[Path]:
    if text == "-":
        return read_stdin(null=null)
    if text.lower().endswith(".txt") and Path(text).is_file():
        return read_list(Path(text), null=null)
    if any(sign in text for sign in "*?[") and not is_there(Path(text)):
        from glob import glob

        found = sorted(Path(name) for name in glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not found:
            raise InputError(f"{text}: fits no file; check the pattern")
        return found
    return [existing_path(Path(text))]
