"""`ctseg inspect`: what a path holds, whether it is sound, and what can be done with it next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common

if TYPE_CHECKING:
    from ctseg.inspection.report import Report

MOST_LINES = 20
"""Of problems or remarks that are shown; `--json` has all."""


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("inspect")(inspect)


def inspect(
    path: Annotated[
        Path,
        typer.Argument(help="Scans, slice set, pairs.csv, run, weights, masks, segmentation, evaluation or study."),
    ],
    headers_only: Annotated[bool, typer.Option("--headers-only", help="Of scans, read no voxels: seconds.")] = False,
    thumbnail: Annotated[Path | None, typer.Option("--thumbnail", help="PNG to draw of it.")] = None,
    workers: common.Workers = 0,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Say what a path holds, whether it is sound, and what can be done with it next; exit code 1 if it is not sound.

    Of raw scans every one is read and checked as preprocessing would: a cohort's problems before a day of training.
    """
    from ctseg.inspection.inspect import inspect as look
    from ctseg.outputs import guard_file
    from ctseg.render.png import is_own_png

    common.existing_path(path)
    if thumbnail is not None:
        own = thumbnail
        guard_file(own, lambda _: is_own_png(own), inputs=(path,), overwrite=overwrite, say=common.say)
    with common.bar("Inspect") as bar:
        report = look(path, workers=workers, headers_only=headers_only, progress=bar.update)
    if thumbnail is not None:
        _draw(report, thumbnail)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), default=str))
    else:
        _print(report)
    if not report.is_sound:
        raise typer.Exit(1)


def _draw(report: Report, path: Path) -> None:
    from ctseg.errors import SettingError
    from ctseg.outputs import Mark, sole, write_file_output

    if report.draw is None:
        raise SettingError(f"--thumbnail: there is no picture of {report.kind}; leave it out")
    with sole(path):
        write_file_output(path, Mark("inspect", (path.name,), inputs=report.made_of()), report.draw, common.say)


def _print(report: Report) -> None:
    common.show(f"{report.path}: {report.kind}, {'sound' if report.is_sound else 'NOT SOUND'}")
    for name, value in report.facts.items():
        common.show(f"  {name}: {_text(value)}")
    _print_some("PROBLEM", report.problems)
    _print_some("note", report.remarks)
    for step in report.steps:
        common.show(f"  next: {step}")


def _print_some(word: str, lines: list[str]) -> None:
    for line in lines[:MOST_LINES]:
        common.show(f"  {word}: {line}")
    if len(lines) > MOST_LINES:
        common.show(f"  {word}: {len(lines) - MOST_LINES} more; --json lists them")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return str(value)
