"""The guard for functions that are called from Python, and by commands which hold the folder already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ctseg.errors import OutputExistsError
from ctseg.outputs.folders import sole, whole_folder, writing
from ctseg.outputs.guard import guard_output
from ctseg.outputs.inputs import as_paths, refuse_inputs
from ctseg.outputs.mark import entries, owner, read_mark

CONFIG = "config.toml"
"""`ctseg.runs.start_run` leaves it before the training begins."""
MODELS = {"model.safetensors", "fold_[0-9]*/model.safetensors", "fold_*/model.safetensors"}
"""What the mark of a training names; the last in those of earlier versions."""


@contextmanager
def filled_folder(
    path: Path, kind: str, *, inputs: Iterable[Path | str | None], overwrite: bool = False
) -> Iterator[Path]:
    """The folder to write into: `path` itself where this process is writing it already, else as `whole_folder`.

    Args:
        path: the output.
        kind: the command that writes such folders.
        inputs: all that is read.
        overwrite: whether to replace an earlier output of the same kind.

    Raises:
        InputError: if the folder is an input or holds one, or another process writes there.
        OutputExistsError: if it holds anything that is not to be replaced.
    """
    if writing(path):
        yield Path(path)
        return
    with whole_folder(guard_output(path, kind, inputs=inputs, overwrite=overwrite)) as folder:
        yield folder


@contextmanager
def run_folder(
    run: Path, files: Iterable[str], *, inputs: Iterable[Path | str | None], resume: bool, writes: bool = True
) -> Iterator[None]:
    """Hold a run folder while a training writes in it, and refuse one in which something would be lost.

    Args:
        run: the folder; it may hold other things than a run's.
        files: names that a training writes, as in `Mark.files`.
        inputs: what the training reads.
        resume: whether an earlier training in it is continued.
        writes: of several processes of a training one writes and holds the folder.

    Raises:
        InputError: if the folder is an input or holds one, or another process writes there.
        OutputExistsError: if it is another command's output, or holds a training that is not to be continued.
    """
    if not writes or writing(run):
        yield
        return
    refuse_inputs(run, as_paths(inputs))
    with sole(run):
        run.mkdir(parents=True, exist_ok=True)
        _refuse_taken(run, files, resume)
        yield


def _refuse_taken(run: Path, files: Iterable[str], resume: bool) -> None:
    mark = read_mark(run)
    if mark is not None and not MODELS & set(mark.files):
        raise OutputExistsError(f"{run}: was written by `ctseg {mark.kind}`; choose another run folder")
    owns = owner(files)
    taken = next((name for name in entries(run) if owns(name) and name != CONFIG), None)
    if taken is None:
        return
    if not resume:
        raise OutputExistsError(
            f"{Path(run) / taken}: is there already; continue with resume=True or choose another run folder"
        )
    if not (os.path.lexists(run / "checkpoint.pt") or (run / "fold_1").is_dir()):
        raise OutputExistsError(f"{Path(run) / taken}: belongs to no training that could be continued; move it")
