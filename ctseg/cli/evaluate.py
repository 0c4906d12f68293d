"""`ctseg evaluate`: masks against a reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common

if TYPE_CHECKING:
    from ctseg.evaluation.evaluate import Evaluation
    from ctseg.metrics.registry import Metric
    from ctseg.plugins.needed import Needed


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("evaluate")(evaluate)


def evaluate(
    pred: Annotated[list[Path], typer.Option("--pred", help="Folder of predicted masks; repeat to compare models.")],
    ref: Annotated[Path, typer.Option("--ref", help="Folder of reference masks of the same names.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for cases.csv, summary.json and report.html.")],
    cases: Annotated[
        Path | None, typer.Option("--cases", help="CSV case,ref,pred instead of matching by name.")
    ] = None,
    group: Annotated[Path | None, typer.Option("--group", help="CSV case,patient for the intervals.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Slice or case labels, for negatives by subtype.")
    ] = None,
    images: Annotated[
        list[str],
        typer.Option(
            "--images",
            metavar="SCANS",
            help="The scans, for the pictures and the grid of two DICOM masks: all that `ctseg segment` takes. For "
            "pictures, its masks remember theirs.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    workers: common.Workers = 0,
    scheduler: common.Scheduler = "",
    settings: common.Set = [],  # noqa: B006 - typer copies it
    seed: common.Seed = 0,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Measure masks: Dice, surface distances, volumes and lesions with per-patient intervals, and a report page."""
    import json

    from ctseg.evaluation.evaluate import evaluate as measure
    from ctseg.evaluation.settings import EvaluationSettings
    from ctseg.outputs import whole_folder
    from ctseg.settings import parse_overrides, resolve

    resolved = resolve(
        EvaluationSettings,
        {"seed": seed},
        parse_overrides(settings),
        where="evaluate",
        listed_by="ctseg settings evaluate",
    )
    _look_for_gone(output, resolved.metric_settings)
    metrics = _metrics(resolved.metric_settings)
    scans = common.existing_paths(images)
    inputs = [*(common.existing_path(path) for path in filter(None, (*pred, ref, cases, group, labels))), *scans]
    place = common.guard(output, "evaluate", inputs, overwrite=overwrite)
    with whole_folder(place) as folder, common.executor(scheduler) as executor, common.bar("Evaluate") as bar:
        result = measure(
            pred, ref, folder, settings=resolved, labels=labels, group=group, cases=cases, images=scans,
            metrics=metrics, workers=workers, executor=executor, progress=bar.update,
        )  # fmt: skip
    for line in _lines(result, output):
        common.say(line)
    if as_json:
        typer.echo(json.dumps(result.summary, default=str))
    if result.failed:
        raise typer.Exit(1)


def _metrics(settings: dict[str, dict[str, Any]]) -> list[Metric]:
    """Every registered metric, with its settings and its package.

    Raises:
        PluginError, SettingError: naming an unknown metric or setting, or a plugin that gives no metric of its name.
    """
    from dataclasses import replace

    from ctseg.metrics.registry import check_metric

    registry = common.registry()
    for name in settings:
        registry.get("metric", name)
    entries = [entry for entry in registry.entries.values() if entry.kind == "metric"]
    built = [(entry, entry.build(settings.get(entry.name, {}))) for entry in entries]
    for entry, metric in built:
        check_metric(metric, entry.name, entry.who)
    return [
        metric if entry.package == "ctseg" else replace(metric, made_by=f"{entry.package} {entry.version}")
        for entry, metric in built
    ]


def _look_for_gone(output: Path, settings: Mapping[str, Any]) -> None:
    """Say which metrics of an earlier evaluation in this place are not measured again, as their packages are gone.

    Raises:
        PluginError: if `settings` has one of them, saying which package to install.
    """
    from ctseg.errors import PluginError
    from ctseg.plugins.needed import needed_entry

    for needed in _outside_metrics(output / "summary.json"):
        try:
            needed_entry(common.registry(), needed, f"{output}: the evaluation here")
        except PluginError as error:
            if needed.name in settings:
                raise
            common.warn(f"{error}; a new one is without it")


def _outside_metrics(path: Path) -> list[Needed]:
    """The metrics of other packages that an evaluation has; none of what is no evaluation."""
    from ctseg.files import read_json_beside
    from ctseg.plugins.needed import Needed

    data = read_json_beside(path) if path.is_file() else None
    rows = data.get("metrics") if isinstance(data, dict) else None
    found: list[Needed] = []
    for row in rows if isinstance(rows, list) else []:
        package, _, version = str(row.get("made_by", "") if isinstance(row, dict) else "").rpartition(" ")
        if package and isinstance(row.get("name"), str):
            found.append(Needed("metric", row["name"], package, version))
    return found


def _lines(result: Evaluation, output: Path) -> list[str]:
    lines = [*result.notes, *(f"FAILED {item}" for item in result.failed)]
    return [*lines, f"{len(result.cases)} rows -> {output / 'cases.csv'}", f"report: {output / 'report.html'}"]
