"""Outputs of ctseg that no other look knows, such as exports and tables, and folders that hold outputs alone."""

from __future__ import annotations

import shlex
from pathlib import Path

from ctseg.inspection.report import Report
from ctseg.outputs import read_mark
from ctseg.wording import first_of

LOOKED_INTO = ("phantom",)
"""Commands whose output is scans."""
MOST_STEPS, MOST_FILES = 5, 8


def is_outputs(path: Path) -> bool:
    """Whether a folder is the output of a command that does not write scans, or holds such folders and no other."""
    return _written_by(path) != "" or bool(outputs_in(path))


def outputs_in(path: Path) -> dict[str, str]:
    """Name -> command, of the folders in a folder, where each is an output; else none."""
    folders = [item for item in sorted(path.iterdir()) if item.is_dir() and not item.name.startswith(".")]
    found = {item.name: _written_by(item) for item in folders}
    return found if all(found.values()) else {}


def _written_by(path: Path) -> str:
    """The command that wrote a folder, '' where it wrote scans or nothing says so."""
    mark = read_mark(path)
    return "" if mark is None or mark.kind in LOOKED_INTO else mark.kind


def inspect_outputs(path: Path) -> Report:
    """Who wrote it, which files it has, and which outputs lie in it."""
    report = Report(path, "output")
    mark, below = read_mark(path), outputs_in(path)
    if mark is not None:
        report.facts |= {"written by": f"ctseg {mark.kind}", "tool": mark.tool}
        if not mark.finished:
            report.problems.append("unfinished: its command was stopped; call it again")
    else:
        report.kind = "outputs"
    if below:
        report.facts["holds"] = {name: f"by ctseg {command}" for name, command in below.items()}
    if files := _files(path):
        report.facts["files"] = first_of(files, MOST_FILES)
    report.steps = [f"ctseg inspect {shlex.quote(str(path / name))}" for name in list(below)[:MOST_STEPS]]
    if (path / "report.html").is_file():
        report.steps.append(f"open {shlex.quote(str(path / 'report.html'))} in a browser")
    return report


def _files(path: Path) -> list[str]:
    return sorted(item.name for item in path.iterdir() if item.is_file() and not item.name.startswith("."))
