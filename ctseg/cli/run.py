"""`ctseg run`: a study file's commands in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctseg.cli import common
from ctseg.wording import counted


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("run")(run)


def run(
    study: Annotated[Path, typer.Argument(help="Study file (TOML); see docs/studies.md.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every step again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the study and show what each step would do; run nothing.")
    ] = False,
    dry: Annotated[bool, typer.Option("--print", help="Print the commands on stdout and run nothing.")] = False,
    as_json: common.AsJson = False,
) -> None:
    """Run the steps of a study in order; finished steps are skipped, interrupted training is resumed.

    The whole study is checked before its first step: flags, choices, settings, and the files that steps read.
    """
    from ctseg.study import read_study

    if dry_run:
        rehearse(study, fresh, as_json)
        return
    if dry:
        for step in read_study(study).steps:
            common.show(step.line)
        return
    code = execute(study, fresh, as_json)
    if code:
        raise typer.Exit(code)


def rehearse(path: Path, fresh: bool = False, as_json: bool = False) -> None:
    """What a run would do, on stdout; faults on stderr, with exit code 2."""
    import json

    from ctseg.cli.study_check import check_study, plan
    from ctseg.errors import InputError
    from ctseg.study import read_study

    study = read_study(path)
    rows = [{"step": step.name, "line": step.line, "what": what} for step, what in plan(study, fresh=fresh)]
    faults = check_study(study, fresh=fresh)
    if as_json:
        typer.echo(json.dumps({"study": str(path), "steps": rows, "faults": faults}))
    else:
        for number, row in enumerate(rows, start=1):
            common.show(f"[{number}/{len(rows)}] {row['step']}: {row['what']}")
            common.show(f"    {row['line']}")
    for fault in faults:
        common.say(fault)
    if faults:
        count = counted(len(faults), "fault")
        raise InputError(f"{path}: {count}, the first: {faults[0]}" if common.STATE.quiet else f"{path}: {count}")
    common.say(f"{path}: {len(rows)} steps, no fault found; nothing was run")


def execute(path: Path, fresh: bool = False, as_json: bool = False) -> int:
    """Run a study file through the real commands; returns the worst exit code."""
    from ctseg.cli.main import main
    from ctseg.cli.study_check import refuse_faulty
    from ctseg.cli.study_plugins import comparing
    from ctseg.outputs import guard_state
    from ctseg.progress import span
    from ctseg.study import read_study, run_study

    study = read_study(path)
    guard_state(study.state_path, common.say)
    refuse_faulty(study, fresh=fresh)
    with comparing(study, main) as run_step:
        results = run_study(study, run_step, common.say, fresh=fresh)
    worst = max(result.code for result in results)
    seconds = sum(result.seconds for result in results)
    ended = "finished" if worst < 2 else f"stopped at step {results[-1].step.name!r}"
    rows = [
        {"step": item.step.name, "code": item.code, "seconds": round(item.seconds, 1), "skipped": item.skipped}
        for item in results
    ]
    common.finish({"study": str(path), "code": worst, "steps": rows}, [f"study {ended} after {span(seconds)}"], as_json)
    return worst
