"""Writing output folders: the earlier one is put aside, the new one put in its place, and then the earlier one removed.

A kill between any two steps leaves the earlier output or the new one whole, at its path or beside it under a name that
the next run finds (`ctseg.outputs.leftovers`).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from ctseg.errors import InputError, OutputExistsError
from ctseg.files import creating, sync, umask, writing_to
from ctseg.locks import Busy, held, locked
from ctseg.outputs.guard import Output, check_still_there, guard_output, to_stderr
from ctseg.outputs.inputs import identity
from ctseg.outputs.leftovers import (
    ASIDE,
    PARTIAL,
    discard,
    filled,
    is_real_folder,
    keep_changed,
    keep_changed_file,
    leftovers,
    move_foreign,
    put_back,
    remove_owned,
    remove_whole,
)
from ctseg.outputs.mark import MARK, STUDY, Mark, contents, entries, foreign, ignores_case, owner, read_mark, write_mark
from ctseg.temporary_names import temporary_name, unused


@contextmanager
def new_folder(path: Path, overwrite: bool = False, *, kind: str = "output", marked: bool = True) -> Iterator[Path]:
    """`whole_folder` of a command that reads nothing; arguments and errors as for `guard_output` and `whole_folder`."""
    with whole_folder(guard_output(path, kind, overwrite=overwrite), marked=marked) as folder:
        yield folder


@contextmanager
def whole_folder(
    output: Output, *, marked: bool = True, inputs: Mapping[str, Any] | None = None, alone: bool = True
) -> Iterator[Path]:
    """A temporary neighbour of the output that takes its place when the block ends well and vanishes when it does not.

    Args:
        output: of `guard_output`.
        marked: whether the folder keeps its mark; without, it is the user's own from then on.
        inputs: digests of what it is made from, for the mark.
        alone: whether to hold the output's name; calls that share it hold it together already.

    Raises:
        InputError: if nothing can be made there, or another process writes there.
        OutputExistsError: if the block writes a file whose name a file has that is not ctseg's.
    """
    with sole(output.path) if alone else nullcontext(), _partial(output) as temporary:
        with _noted(temporary):
            yield temporary
        mark = Mark(output.kind, contents(temporary), inputs=dict(inputs or {})).seen(temporary)
        write_mark(temporary, mark)
        with ExitStack() as stack:
            output.check_filled()
            old = output.real if filled(output.real) else None
            if old is not None:
                stack.enter_context(_alone(old, output))
                keep_changed(old, output.say)
                refuse_clash(old, mark.files, output)
            aside = _place(temporary, output.real)
            if aside is not None:
                _discard_surely(aside, output)
        step("discarded")
        if not marked:
            (output.real / MARK).unlink(missing_ok=True)


@contextmanager
def growing_folder(output: Output, files: Iterable[str], inputs: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """The output itself, for what is written file by file and can be continued; its mark says whether it is finished.

    An earlier output that is to be replaced is put aside until the block ends well.

    Args:
        output: of `guard_output`.
        files: what will be written, as in `Mark.files`.
        inputs: digests of what it is made from, for the mark.

    Raises:
        InputError: if nothing can be made there, or another process writes there.
        OutputExistsError: if a file that is not ctseg's has a name among `files`.
    """
    with sole(output.path):
        yield from _grow(output, tuple(files), dict(inputs or {}))


def _grow(output: Output, files: tuple[str, ...], inputs: dict[str, Any]) -> Iterator[Path]:
    if output.overwrite and not output.resume and filled(output.real):
        _put_new(output, files)
    real = output.real
    with creating(output.path):
        real.mkdir(parents=True, exist_ok=True)
    with _alone(real, output):
        keep_changed(real, output.say, copy=True)
        mark, begun = begin(output, files, inputs), identity(real)
        with _noted(real):
            yield output.path
        check_still_there(real, begun)
        write_mark(real, mark.finish(real))
        for aside in leftovers(real, ASIDE):
            with suppress(Busy), locked(aside, known=False):
                discard(aside, real, output.say)


_WRITING: set[Path] = set()
"""Folders that commands of this process are writing, links resolved."""


@contextmanager
def _noted(folder: Path) -> Iterator[None]:
    _WRITING.add(Path(os.path.realpath(folder)))
    try:
        yield
    finally:
        _WRITING.discard(Path(os.path.realpath(folder)))


def writing(path: Path) -> bool:
    """Whether a path is, or lies in, a folder that a command of this process has guarded and is writing."""
    here = Path(os.path.realpath(path))
    return any(folder == here or folder in here.parents for folder in _WRITING)


def begin(output: Output, files: Iterable[str], inputs: Mapping[str, Any], clash: Iterable[str] | None = None) -> Mark:
    """Make an output folder, with a mark that says it is not finished; `Mark.finish` is for when it is.

    Args:
        output: of `guard_output`.
        files: what will be written, as in `Mark.files`.
        inputs: digests of what it is made from.
        clash: names that no file that is not ctseg's may have; all of the mark by default.

    Raises:
        OutputExistsError: if a file that is not ctseg's has a name among `files`.
    """
    real = output.real
    with creating(output.path):
        real.mkdir(parents=True, exist_ok=True)
    old = read_mark(real)
    names = tuple(dict.fromkeys([*(old.files if old else ()), *files]))
    # A call by hand that goes on with a study's output keeps its key.
    study = STUDY.get() or (old.study if old else "")
    mark = Mark(output.kind, names, finished=False, inputs=dict(inputs), study=study)
    refuse_clash(real, mark.files if clash is None else tuple(clash), output)
    write_mark(real, mark)
    return mark


def finish(output: Output) -> None:
    """Mark an output folder that `begin` began as whole."""
    mark = read_mark(output.real)
    if mark is not None:
        write_mark(output.real, mark.finish(output.real))


def _discard_surely(aside: Path, output: Output) -> None:
    """`discard`, to its end where Ctrl-C or SIGTERM comes in the middle of it: the new output is in its place."""
    try:
        discard(aside, output.real, output.say)
    except Exception:
        raise
    except BaseException:
        if aside.exists():
            discard(aside, output.real, output.say)
        raise


def remove_output(path: Path) -> None:
    """Remove an output folder's own files, and the folder where nothing else is left in it; or an output's file.

    What somebody has changed is kept, as `ctseg.outputs.changed` says.

    Raises:
        OutputExistsError: if ctseg did not write the folder.
    """
    if path.is_file():
        keep_changed_file(path, to_stderr)
        path.unlink(missing_ok=True)
        return
    if filled(path) and read_mark(path) is None:
        raise OutputExistsError(f"{path}: holds files that ctseg did not write; move it and call again")
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    keep_changed(path, to_stderr)
    remove_owned(path)
    for earlier in leftovers(path, ASIDE):  # or the next call would put it back
        remove_owned(earlier)


def step(name: str) -> None:
    """Called between the steps of a replacement, for tests that stop a process there."""


@contextmanager
def sole(path: Path) -> Iterator[None]:
    """Keep other processes of ctseg from writing an output, whether or not it is there yet.

    Raises:
        InputError: if nothing can be made there, or another process writes there.
    """
    real = Path(os.path.realpath(path))
    with ExitStack() as stack:
        with creating(path):
            real.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(held(real))
            except Busy:
                raise InputError(
                    f"{path}: another call of ctseg writes there; wait for it or give another -o"
                ) from None
        yield


@contextmanager
def _partial(output: Output) -> Iterator[Path]:
    """A locked, marked folder beside the output; removed unless it was moved into place."""
    real = output.real
    _refuse_here(output)
    temporary = unused(lambda digits: real.with_name(f"{PARTIAL}{temporary_name(real.name)}-{digits}"))
    try:
        with ExitStack() as locks:
            with creating(output.path):
                real.parent.mkdir(parents=True, exist_ok=True)
                temporary.mkdir(mode=0o700)
                with writing_to(output.path, temporary):
                    locks.enter_context(locked(temporary, known=False))
                    locks.callback(_remove_quietly, temporary)  # while it is locked
                    write_mark(temporary, Mark(output.kind, finished=False))
            with writing_to(output.path, temporary, reads=True):
                yield temporary
    except BaseException:
        _remove_quietly(temporary)  # an interruption can come before it is locked
        raise


def _remove_quietly(folder: Path) -> None:
    """Remove what may be there; what the disk keeps, the next run names."""
    with suppress(OSError):
        remove_whole(folder)


def _refuse_here(output: Output) -> None:
    """Refuse to move the folder that a command is called in: relative paths, the output's too, would go with it.

    Raises:
        InputError: naming the output.
    """
    here = Path(os.path.realpath(Path.cwd()))
    if output.real in (here, *here.parents):
        raise InputError(
            f"{output.path}: is the folder that this is called in, or holds it, and would be replaced; call it from "
            "another folder"
        )


@contextmanager
def _alone(folder: Path, output: Output) -> Iterator[None]:
    """Hold a folder against other processes of ctseg."""
    try:
        with locked(folder, known=False):
            yield
    except Busy:
        raise InputError(f"{output.path}: another call of ctseg writes there; wait for it or give another -o") from None


def _put_new(output: Output, files: tuple[str, ...]) -> None:
    """Put the earlier output aside and an empty, unfinished one in its place."""
    with _partial(output) as temporary, _alone(output.real, output):
        keep_changed(output.real, output.say)
        refuse_clash(output.real, files, output)
        write_mark(temporary, Mark(output.kind, files, finished=False))  # with the key of the study's step
        aside = _place(temporary, output.real)
        if aside is not None:
            move_foreign(aside, output.real)
            output.say(f"{aside}: the earlier output, kept until {output.path} is finished")


def _place(temporary: Path, path: Path) -> Path | None:
    """Move a new folder to `path`; returns where the earlier one lies now."""
    temporary.chmod(0o777 & ~umask())
    sync(temporary)
    aside = path.with_name(f"{ASIDE}{temporary_name(path.name)}-{secrets.token_hex(4)}") if filled(path) else None
    step("ready")
    try:
        if aside is None:
            (path / MARK).unlink(missing_ok=True)
        else:
            path.replace(aside)
            sync(path.parent)
            step("aside")
        temporary.replace(path)
    except BaseException:
        if aside is not None and aside.exists() and not path.exists():
            put_back(aside, path)
        raise
    sync(path.parent)
    step("placed")
    return aside


def refuse_clash(folder: Path, files: tuple[str, ...], output: Output) -> None:
    """No file that is not ctseg's has a name that is to be written, and no folder to write into is a link.

    Raises:
        OutputExistsError: naming the file.
    """
    mark = read_mark(folder)
    strange = foreign(folder, mark) if mark else list(entries(folder))
    written = owner([*files, *_folders_of(files)], any_case=ignores_case(folder))
    clash = next((name for name in strange if written(name) and not is_real_folder(folder / name)), None)
    if clash is not None:
        raise OutputExistsError(
            f"{output.path / clash}: ctseg did not write it, and would have to; choose another output folder"
        )


def _folders_of(files: Iterable[str]) -> set[str]:
    return {"/".join(parts[:depth]) for parts in (name.split("/") for name in files) for depth in range(1, len(parts))}
