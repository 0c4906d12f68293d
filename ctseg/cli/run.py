"""`ctseg run`: a study file's commands in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctseg.cli import common


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("run")(run)


def run(
    study: Annotated[Path, typer.Argument(help="Study file (TOML); see docs/studies.md.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every step again.")] = False,
    dry: Annotated[bool, typer.Option("--print", help="Print the commands on stdout and run nothing.")] = False,
    as_json: common.AsJson = False,
) -> None:
    """Run the steps of a study in order; finished steps are skipped, interrupted training is resumed."""
    from ctseg.study import read_study

    steps = read_study(study)
    if dry:
        for step in steps.steps:
            typer.echo(step.line)
        return
    code = execute(study, fresh, as_json)
    if code:
        raise typer.Exit(code)


def execute(path: Path, fresh: bool = False, as_json: bool = False) -> int:
    """Run a study file through the real commands; returns the worst exit code."""
    from ctseg.cli.main import main
    from ctseg.outputs import guard_state
    from ctseg.progress import span
    from ctseg.study import read_study, run_study

    study = read_study(path)
    guard_state(study.state_path, common.say)
    results = run_study(study, main, common.say, fresh=fresh)
    worst = max(result.code for result in results)
    seconds = sum(result.seconds for result in results)
    ended = "finished" if worst < 2 else f"stopped at step {results[-1].step.name!r}"
    rows = [
        {"step": item.step.name, "code": item.code, "seconds": round(item.seconds, 1), "skipped": item.skipped}
        for item in results
    ]
    common.finish({"study": str(path), "code": worst, "steps": rows}, [f"study {ended} after {span(seconds)}"], as_json)
    return worst
