"""Ctrl-C at every line of what makes temporary files, folders and locks: none of them is left."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import ctseg
from ctseg import files, locks, temporary_names
from ctseg.cli import match
from ctseg.files import write_text
from ctseg.outputs import Mark, changed, claims, folders, growing_folder, guard_output, sharing, whole_folder
from ctseg.outputs.claims import Claims
from ctseg.outputs.leftovers import remove_whole
from ctseg.outputs.mark import write_file_mark

TRACED = {module.__file__ for module in (files, locks, temporary_names, folders, claims, sharing, changed, match)}


class Interrupted(BaseException):
    """Stands for what a signal raises."""


def traced(act: Callable[[], object], at: int = 0) -> list[tuple[str, int]]:
    """Do something, with an exception before the n-th line of the traced modules; the lines that were reached.

    It is done in a thread: what Python handles while such an exception comes stays the thread's handled exception,
    which would be the context of all that is raised there later.
    """
    lines: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            lines.append((frame.f_code.co_filename, frame.f_lineno))
            if len(lines) == at:
                raise Interrupted
        return trace

    def watched() -> None:
        sys.settrace(trace)
        try:
            act()
        except Interrupted:
            assert at
        finally:
            sys.settrace(None)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(watched).result()
    return lines


def moments(lines: list[tuple[str, int]]) -> list[int]:
    """When each line is reached for the first and for the last time, counted from 1.

    A `with` is reached again before it ends, where Python takes no signal.
    """
    last = {line: at for at, line in enumerate(lines, start=1)}
    first = {line: len(lines) - at for at, line in enumerate(reversed(lines))}
    chosen = {*last.values(), *first.values()}
    return sorted(at for at in chosen if not getline(*lines[at - 1]).lstrip().startswith("with "))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def write_one(place: Path) -> None:
    write_text(place / "a.txt", "new")


def replace_folder(place: Path) -> None:
    with whole_folder(guard_output(place / "out", "kind", overwrite=True)) as folder:
        write_text(folder / "b.txt", "new")


def go_on(place: Path) -> None:
    with growing_folder(guard_output(place / "out", "kind", resume=True), ["c.txt"]) as folder:
        write_text(folder / "c.txt", "new")


def claim(place: Path) -> None:
    """A claim that is begun and not made leaves no nameless file."""
    shared = Claims(place / "share")
    try:
        shared._claim("case", 1)
    finally:
        shared.release("case")


def keep_a_copy(place: Path) -> None:
    changed.keep(place / "a.txt", str, copy=True)


ACTS = (write_one, replace_folder, go_on, claim, keep_a_copy)


def left_behind(place: Path) -> list[str]:
    """What no interruption may leave: an earlier output that a new, whole one has replaced is no such thing."""
    return [path.name for path in place.rglob("*") if path.name.startswith((".partial-", ".ctseg-lock-", claims.NEW))]


def prepared(place: Path) -> Path:
    """A folder with an output, a file, and a place for claims."""
    with whole_folder(guard_output(place / "out", "kind")) as folder:
        write_text(folder / "b.txt", "old")
    write_text(place / "a.txt", "old")
    (place / "share" / "claims").mkdir(parents=True)
    return place


@pytest.mark.parametrize("act", ACTS)
def test_an_interruption_at_any_line_leaves_nothing(act: Callable[[Path], None], tmp_path: Path) -> None:
    places = moments(traced(partial(act, prepared(tmp_path / "whole"))))
    assert len(places) > 15
    for at in places:
        place = prepared(tmp_path / f"{at}")
        where = traced(partial(act, place), at)[-1]
        assert left_behind(place) == [], where
        assert {path.read_text() for path in place.glob("a.txt*")} <= {"old", "new"}, where
        guard_output(place / "out", "kind", overwrite=True)  # puts back what a swap left aside
        assert (place / "out" / "b.txt").read_text() in ("old", "new"), where


def make_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs that need no slice sets."""
    monkeypatch.setattr("ctseg.matching.pairs.write_pairs", lambda pairs, path: write_text(path, pairs))


@pytest.mark.parametrize("earlier", ["old", ""])
def test_interrupted_pairs_are_the_earlier_ones_or_none(
    earlier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pairs(monkeypatch)

    def place(name: str) -> Path:
        output = tmp_path / name / "pairs.csv"
        output.parent.mkdir()
        if earlier:
            write_text(output, earlier)
            write_file_mark(output, Mark("match", ("pairs.csv",)).seen(output.parent))
        return output

    def act(output: Path) -> None:
        match._write("new", output, Mark("match", ("pairs.csv",)))  # type: ignore[arg-type]

    for at in moments(traced(partial(act, place("whole")))):
        output = place(f"{at}")
        where = traced(partial(act, output), at)[-1]
        assert left_behind(output.parent) == [], where
        found = output.read_text() if output.exists() else ""
        assert found in (earlier, "new"), where


def test_a_disk_without_hard_links_loses_no_earlier_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = write_text(tmp_path / "pairs.csv", "old")

    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr("ctseg.matching.pairs.write_pairs", refuse)
    with pytest.raises(OSError, match="not permitted"):
        match._write("new", output, Mark("match", ("pairs.csv",)))
    assert output.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


MAKERS = ("mkstemp", "mkdtemp", "NamedTemporaryFile")


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_nothing_is_made_under_a_name_that_is_not_known_before() -> None:
    package = Path(ctseg.__file__).parent
    for path in [*package.rglob("*.py"), *(package.parent / "plugins").glob("*/src/**/*.py")]:
        assert not set(MAKERS) & set(calls(ast.parse(path.read_text(encoding="utf-8")))), path


def test_a_folder_that_is_half_removed_is_known_by_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "out"
    with whole_folder(guard_output(place, "kind")) as folder:
        for number in range(5):
            write_text(folder / f"{number}.txt", "old")
    aside = place.rename(tmp_path / ".replaced-out-12345678")
    with whole_folder(guard_output(tmp_path / "new", "kind")) as folder:
        write_text(folder / "0.txt", "new")
    (tmp_path / "new").rename(place)
    unlink, left = Path.unlink, [3]

    def stopped(path: Path, missing_ok: bool = False) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", stopped)
        remove_whole(aside)
    assert len(list(aside.iterdir())) == 3
    said: list[str] = []
    guard_output(place, "kind", overwrite=True, say=said.append)
    assert said == [f"removed {aside}: the earlier output, which {place} has replaced"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".ctseg.json", "0.txt", "out"]


def test_a_signal_while_the_earlier_output_is_removed_leaves_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, discard = prepared(tmp_path), folders.discard
    calls: list[Path] = []

    def interrupted(aside: Path, *more: Any) -> None:
        calls.append(aside)
        if len(calls) == 1:
            (aside / "b.txt").unlink()
            raise Interrupted
        discard(aside, *more)

    monkeypatch.setattr(folders, "discard", interrupted)
    with pytest.raises(Interrupted):
        replace_folder(place)
    assert (place / "out" / "b.txt").read_text() == "new"
    assert not list(place.glob(".replaced-*"))
