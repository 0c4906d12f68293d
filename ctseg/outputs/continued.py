"""Folders that later calls of a command go on with: what others have put or changed there is kept before each write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ctseg.files import before_replacing, creating
from ctseg.outputs.changed import changed, keep, look
from ctseg.outputs.folders import begin, refuse_clash
from ctseg.outputs.guard import Output
from ctseg.outputs.mark import Mark, is_wild, owner, read_mark, write_mark


def shared_folder(output: Output, files: Iterable[str], inputs: Mapping[str, Any] | None = None) -> None:
    """Make and mark the output itself, for a folder that several calls fill together; nothing in it is ever removed.

    Args:
        output: of `guard_output`, with `resume`.
        files: what will be written beside the outputs of other commands.
        inputs: what all of it is made from, for the mark, which is written again where it says something else.

    Raises:
        OutputExistsError: if a file that is not ctseg's has a name among `files`.
    """
    with creating(output.path):
        output.real.mkdir(parents=True, exist_ok=True)
    mark, made_from = read_mark(output.real), dict(inputs or {})
    if mark is None or mark.inputs != made_from:
        files = tuple(files)
        refuse_clash(output.real, files if mark is None else (*mark.files, *files), output)
        write_mark(output.real, Mark(output.kind, files, inputs=made_from))


@contextmanager
def continued_folder(output: Output, files: Iterable[str], inputs: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """`shared_folder` for the length of a call that goes on with it; the mark says whether such a call came to its end.

    A file that the block would replace, and that no earlier call wrote as it is now, is kept as `NAME.changed`.

    Args:
        output: of `guard_output`, with `resume`.
        files: what will be written beside the outputs of other commands.
        inputs: what all of it is made from, for the mark.

    Raises:
        OutputExistsError: if a file that is not ctseg's has a name among `files` that is no pattern.
    """
    files, old = tuple(files), read_mark(output.real)
    mark = begin(output, files, dict(inputs or {}), clash=[name for name in files if not is_wild(name)])
    keeper = _Keeper(output, owner(files), replace(mark, made={} if old is None else old.made), is_new=old is None)
    with before_replacing(keeper):
        yield output.path
    if read_mark(output.real) is not None:  # what was not written now, a later call may
        write_mark(output.real, replace(keeper.mark, finished=True))


class _Keeper:
    """Keeps what is not as a call left it before another file is put in its place, and notes how that one looks.

    The mark says so before the file is there: after a kill between the two, one file too many is kept.
    """

    def __init__(self, output: Output, owns: Callable[[str], bool], mark: Mark, *, is_new: bool) -> None:
        self.folder, self.say, self.owns, self.mark = output.real, output.say, owns, mark
        self.knows = is_new or bool(mark.made)
        """Whether the mark says how each file looks; those of earlier versions do not."""
        self.written: set[str] = set()

    def __call__(self, new: Path, path: Path) -> None:
        """Look at what `new` is about to replace, if anything."""
        real = path.parent.resolve() / path.name
        name = real.relative_to(self.folder).as_posix() if real.is_relative_to(self.folder) else ""
        if not name or not self.owns(name):
            return
        if self.knows and name not in self.written and changed(self.folder, {name: self.mark.made.get(name, "0 ")}):
            keep(path, self.say)
        self.written.add(name)
        if (seen := look(new)) != self.mark.made.get(name):
            self.mark = replace(self.mark, made={**self.mark.made, name: seen})
            write_mark(self.folder, self.mark)
