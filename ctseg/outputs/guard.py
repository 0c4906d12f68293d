"""The check that every command makes before it writes, so that no input and nothing of the user's is lost."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ctseg.errors import InputError, OutputExistsError
from ctseg.files import MOST_JSON, bounded
from ctseg.harmless import visible
from ctseg.locks import is_held
from ctseg.outputs.changed import is_another_folder
from ctseg.outputs.inputs import Identity, as_paths, identity, refuse_hard_links, refuse_inputs
from ctseg.outputs.leftovers import Say, clean_files, filled, recover, share_folder
from ctseg.outputs.mark import MARK, read_file_mark, read_mark


def to_stderr(message: str) -> None:
    """A line for people."""
    sys.stderr.write(visible(message) + "\n")


@dataclass(frozen=True)
class Output:
    """A folder that a command may write."""

    path: Path
    """As the user wrote it."""
    kind: str
    """The command; only its own outputs are replaced or continued."""
    inputs: tuple[Path, ...] = ()
    overwrite: bool = False
    resume: bool = False
    say: Say = to_stderr
    share: bool = False
    """Whether several calls make it together; it is then continued as with `resume`."""

    @property
    def real(self) -> Path:
        """The folder with links resolved: a link to an output stays a link."""
        return Path(os.path.realpath(self.path))

    def check(self) -> None:
        """Refuse what would destroy something; see `guard_output`."""
        _refuse_signs(self.path)
        refuse_inputs(self.path, self.inputs)
        _refuse_held(self.path, "-o", shared=self.share)
        others = share_folder(self.real)
        if not self.share or not others.exists():  # what the calls that share it write is no leftover
            recover(self.real, self.say)
        if not self.share and others.exists():
            self.say(f"{others}: work of calls with --share that is not finished; they go on with it, or remove it")
        self.check_filled()

    def check_filled(self) -> None:
        """Refuse a folder of the user's or of another command, and one to be neither replaced nor continued.

        Raises:
            OutputExistsError: naming the folder and what to do.
        """
        if os.path.lexists(self.path) and self.real.exists() and not self.real.is_dir():
            raise OutputExistsError(f"{self.path}: exists already and is no folder; choose another output folder")
        if not filled(self.real):
            return
        mark = read_mark(self.real)
        if mark is None or is_another_folder(self.real, mark.made):
            raise OutputExistsError(
                f"{self.path}: exists already and holds files that ctseg did not write; choose another output folder"
            )
        if mark.kind != self.kind:
            raise OutputExistsError(
                f"{self.path}: exists already and was written by `ctseg {mark.kind}`; choose another output folder"
            )
        refuse_hard_links(self.path, self.inputs)
        if not (self.overwrite or self.resume):
            raise OutputExistsError(f"{self.path}: exists already; {WAYS.get(self.kind, CHOOSE)}")


def is_still_there(folder: Path) -> bool:
    """Whether an output that is being written is where it was, with its mark."""
    return (Path(folder) / MARK).is_file()


def check_still_there(folder: Path, begun: Identity | None = None) -> None:
    """Refuse to write on into what lies where an output lay that somebody moved, removed or replaced meanwhile.

    Args:
        folder: of the output.
        begun: what `ctseg.outputs.inputs.identity` said of it when it was begun; without, its mark alone counts.

    Raises:
        InputError: naming the folder.
    """
    if not is_still_there(folder) or (begun is not None and identity(folder) != begun):
        raise InputError(
            f"{folder}: was moved, removed or replaced while ctseg wrote there; put it back and use --resume, or give "
            "another -o"
        )


def _refuse_signs(path: Path) -> None:
    """Refuse a path that means another place: who finds a folder `~` and removes it may remove the home folder.

    Raises:
        InputError: naming the path and what to write instead.
    """
    first = path.parts[0] if path.parts else ""
    if first.startswith("~") and not Path(first).exists():
        raise InputError(f"{path}: the shell has put no folder in place of {first}; write it out, or ./{first} for one")
    if str(path) == "-":
        raise InputError(
            "-: stands for a stream, which does not hold this; choose another output, or ./- for that name"
        )


def _refuse_part(path: Path) -> None:
    """Refuse a file that another command wrote into its own output, such as a preview among masks.

    Raises:
        OutputExistsError: naming the file and the command.
    """
    real = Path(os.path.realpath(path))
    for folder in real.parents:
        mark = read_mark(folder)
        if mark is not None and real.relative_to(folder).as_posix() in mark.made:
            raise OutputExistsError(
                f"{path}: belongs to what `ctseg {mark.kind}` wrote into {folder}; choose another output file"
            )


def _refuse_held(path: Path, flag: str, *, shared: bool = False) -> None:
    """Refuse an output that another process is writing, before any work is done."""
    if is_held(Path(os.path.realpath(path)), shared=shared):
        raise InputError(f"{path}: another call of ctseg writes there; wait for it or give another {flag}")


CHOOSE = "choose another output or add --overwrite"
GO_ON = "add --resume to go on or --overwrite to start again"
WAYS = dict.fromkeys(("segment", "bids participant", "synth-train", "das-train", "finetune"), GO_ON)
"""What a command offers where its own output is there already."""


def guard_output(
    path: Path,
    kind: str,
    *,
    inputs: Iterable[Path | str | None] = (),
    overwrite: bool = False,
    resume: bool = False,
    share: bool = False,
    say: Say = to_stderr,
) -> Output:
    """Check an output folder before anything is written, and clean up after killed runs.

    Args:
        path: the folder.
        kind: the command that writes it.
        inputs: all that the command reads; None and `-` are passed over.
        overwrite: whether to replace an earlier output of the same command.
        resume: whether to continue one.
        share: whether several calls make it together.
        say: takes a line for people about each leftover of a killed run.

    Raises:
        InputError: if the folder is an input, or holds one.
        OutputExistsError: if it holds anything that this command did not write, or an output of it and neither
            `overwrite` nor `resume` is set.
    """
    output = Output(Path(path), kind, as_paths(inputs), overwrite, resume or share, say, share)
    output.check()
    return output


def guard_file(
    path: Path,
    looks_right: Callable[[bytes], bool],
    *,
    inputs: Iterable[Path | str | None] = (),
    overwrite: bool = False,
    say: Say = to_stderr,
) -> Path:
    """Check an output file before it is written.

    Args:
        path: the file.
        looks_right: tells from the first line whether a file is such an output; an empty file is nothing to lose.
        inputs: all that the command reads; None and `-` are passed over.
        overwrite: whether to replace an earlier output.
        say: takes a line for people about each leftover of a killed run.

    Raises:
        InputError: if the file is an input, or lies in a folder that is one.
        OutputExistsError: if it exists and is something else, or `overwrite` is not set.
    """
    path = Path(path)
    _refuse_signs(path)
    refuse_inputs(path, as_paths(inputs), file=True)
    if path.exists() and not path.is_file():
        raise OutputExistsError(f"{path}: exists already and is no file; choose another output file")
    _refuse_held(path, "-o")
    clean_files(path, say)
    if not path.exists():
        return path
    _refuse_part(path)
    with path.open("rb") as file:
        first = file.readline(4096)
    if first and not looks_right(first.rstrip(b"\r\n")):
        raise OutputExistsError(
            f"{path}: exists already and is not what this command writes; choose another output file"
        )
    if _is_unfinished(path):
        say(f"{path}: a killed run left it unfinished; it is written again")
    elif not overwrite:
        raise OutputExistsError(f"{path}: exists already; {CHOOSE}")
    return path


def _is_unfinished(path: Path) -> bool:
    """Whether a killed run wrote a file where none had been, and not its mark to the end."""
    mark = read_file_mark(path)
    return mark is not None and not mark.finished and not mark.made


def guard_state(path: Path, say: Say = to_stderr) -> None:
    """Check a study's memory before it is written: JSON with a record a step, or nothing yet.

    Raises:
        InputError: if the file is something else.
    """
    clean_files(path, say)
    if not path.exists():
        return
    try:
        data = json.loads(bounded(path, MOST_JSON).read_text(encoding="utf-8"))
    except (OSError, InputError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not all(isinstance(item, dict) and "key" in item for item in data.values()):
        raise InputError(f"{path}: ctseg did not write it, and the study's memory goes there; rename the study file")
