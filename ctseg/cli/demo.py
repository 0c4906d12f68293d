"""`ctseg demo`: the whole pipeline on the embedded cohort, each step by its real command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ctseg.cli import common

FILES = ("study.toml", "study.state.json", "pairs.csv", "pairs.png", "match.html", "report.html")
"""What `ctseg demo` writes beside the outputs of other commands."""


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("demo")(demo)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")] = Path(
        "demo"
    ),
    full: Annotated[bool, typer.Option("--full", help="At 240 x 240 and the method's real widths; for a GPU.")] = False,
    seed: common.Seed = 0,
    workers: common.Workers = 2,
    device: common.Device = "auto",
    as_json: common.AsJson = False,
) -> None:
    """Run the whole pipeline on a phantom cohort, from raw scans to a table and a report page.

    An interrupted demo goes on where it stopped when it is called again.
    """
    from ctseg.cli.demo_report import write_demo_report
    from ctseg.cli.demo_study import demo_steps, result_rows, study_text
    from ctseg.cli.machine_speed import expected, slowness
    from ctseg.cli.run import execute
    from ctseg.files import write_text
    from ctseg.outputs import continued_folder

    steps = demo_steps(full=full, seed=seed, workers=workers, device=device)
    place = common.guard(output, "demo", resume=True)
    slower = slowness()
    common.say(
        f"This machine now takes {slower['network']:.1f} times as long for training and {slower['arrays']:.1f} times "
        "for the rest as the one where the steps were timed"
    )
    steps = expected(steps, slower)
    with continued_folder(place, FILES):
        study = write_text(output / "study.toml", study_text(steps))
        code = execute(study)
        if code >= 2:
            raise typer.Exit(code)
        rows = result_rows(output)
        report = write_demo_report(output, rows)
    for line in closing_lines(rows, study, report):
        common.say(line)
    if as_json:
        typer.echo(json.dumps({"results": rows, "report": str(report), "code": code}))
    if code:
        raise typer.Exit(code)


def closing_lines(rows: Sequence[dict[str, Any]], study: Path, report: Path) -> list[str]:
    """The commands that repeat the demo by hand, the table, and the report's path."""
    from ctseg.cli.demo_study import interval
    from ctseg.study import read_study

    commands = ["", f"By hand, from {study.parent}:", *(f"  {step.line}" for step in read_study(study).steps), ""]
    head = (
        f"{'held-out CT patients':<36}{'pooled Dice':<24}{'Dice per volume':<24}{'false mL a negative':<22}checkpoint"
    )
    table = [
        f"{row['what']:<36}{interval(row['pooled_dice']):<24}{interval(row['volume_dice']):<24}"
        f"{interval(row['fp_ml'], 1.0, 2):<22}{row['selection']} (no CT label)"
        for row in rows
    ]
    count = rows[0]["patients"]
    note = (
        f"{count} patients; 95 % intervals over patients. A phantom is no patient: this shows that the pipeline works, "
        "not how good it is in a clinic."
    )
    return [*commands, head, *table, note, f"report: {report}"]
