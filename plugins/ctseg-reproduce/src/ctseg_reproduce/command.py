"""`ctseg reproduce`: the paper's tables and claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctseg.cli import common, completion
from ctseg.cli.examples import examples
from ctseg.errors import SettingError
from ctseg_reproduce import implant_command, small_commands
from ctseg_reproduce.inputs import given_inputs
from ctseg_reproduce.options import Jobs, OneSeed, Preset, Rows, Scale, Seeds, Window
from ctseg_reproduce.shipped_models import SHIPPED_MODELS, make_model

if TYPE_CHECKING:
    from ctseg_reproduce import scales
    from ctseg_reproduce.plan import Plan
    from ctseg_reproduce.run import Request
    from ctseg_reproduce.systems import AnyRow
    from ctseg_reproduce.table import Result, TableFigure

EXAMPLES = (
    "ctseg reproduce claims --plan -o reproduction",
    "ctseg reproduce table2 --seeds 5 --jobs 4 -o reproduction",
)
Template = Annotated[Path | None, typer.Option("--template", help="Folder of the CT template, for brain-model.")]
TABLES = ("table2", "table3", "table4", "table5", "plus", "selection", "claims", *SHIPPED_MODELS)
TABLE_HELP = (
    "table2, table3, table4, table5, plus, selection, claims, default-model (the model in the package), "
    "brain-model (its brain network) or other-blood-model (its network for other blood)."
)


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("reproduce", epilog=examples(*EXAMPLES))(reproduce)
    small_commands.add_to(app)
    implant_command.add_to(app)


def reproduce(
    table: Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP, autocompletion=completion.one_of(TABLES))],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all tables of one scale and data.")],
    scale: Scale = "cpu",
    preset: Preset = "",
    window: Window = "",
    seeds: Seeds = 3,
    seed: OneSeed = [],  # noqa: B006
    rows: Rows = [],  # noqa: B006
    source: Annotated[Path | None, typer.Option("--src", help="Labelled MR slice set instead of the phantom.")] = None,
    target: Annotated[Path | None, typer.Option("--tgt", help="Unlabelled CT slice set.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Scans of held-out CT patients.")] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="Their masks, CASE.nii.gz.")] = None,
    train: Annotated[Path | None, typer.Option("--train", help="Scans of the target's patients, for plus.")] = None,
    train_truth: Annotated[
        Path | None, typer.Option("--train-truth", help="Their masks, for the upper bound and nothing else.")
    ] = None,
    imports: Annotated[
        list[Path], typer.Option("--import", help="TABLE-outcomes.csv of another machine: its rows and seeds count.")
    ] = [],  # noqa: B006
    hours: Annotated[
        float, typer.Option("--hours", min=0, help="Only the claims that fit in this time; 0: all.")
    ] = 0.0,
    template: Template = None,
    only_plan: Annotated[bool, typer.Option("--plan", help="Say what would be run and how long; run nothing.")] = False,
    jobs: Jobs = 1,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    workers: common.Workers = 2,
    as_json: common.AsJson = False,
) -> None:
    """Run what is missing of one of the paper's tables and write it: the paper's numbers and ours."""
    from ctseg.outputs import continued_folder
    from ctseg_reproduce import run
    from ctseg_reproduce.outcomes import import_outcomes, imported_outcomes
    from ctseg_reproduce.plan import Plan

    if table in SHIPPED_MODELS:
        make_model(table, output, template, seed[0] if seed else 0, workers, device, precision, as_json)
        return
    inputs = given_inputs(source, target, test, truth, train, train_truth)
    wanted = Plan(_scale(scale, preset, window), inputs, device, 0 if jobs > 1 else workers, precision)
    chosen_seeds = tuple(seed) or tuple(range(seeds))
    chosen = _rows(wanted, table, rows, 60 * hours / len(chosen_seeds))
    if only_plan:
        _say_plan(run.Request(output, table, wanted, chosen, chosen_seeds), as_json)
        return
    place = common.guard(output, "reproduce", (source, target, test, truth, train, train_truth, *imports), resume=True)
    with continued_folder(place, run.FILES):
        plan = run.settled_plan(output, wanted)
        import_outcomes(output, [common.existing_path(path) for path in imports])
        imported = tuple(imported_outcomes(output))
        request = run.Request(output, table, plan, chosen, chosen_seeds, imported, jobs)
        common.say(run.scale_line(plan.scale))
        if imports and (mismatched := run.mismatched(request)):
            common.say(f"left out: {mismatched} imported outcomes of other settings, data or versions of a row")
        _run_and_write(request, as_json)


def _scale(name: str, preset: str, window: str) -> scales.Scale:
    """The scale, with the preset and the window where they are given.

    Raises:
        SettingError: if one of them is not known.
    """
    from ctseg_reproduce.scales import get_scale

    scale = get_scale(name)
    scale = scale.with_preset(preset) if preset else scale
    return scale.with_window(*common.number_pair(window, "--window")) if window else scale


def _run_and_write(request: Request, as_json: bool) -> None:
    """Run what is missing, then write what the table is of."""
    from ctseg.cli.run import execute
    from ctseg_reproduce import run
    from ctseg_reproduce.systems import CLAIMS, SELECTION_STUDIES

    if request.table == CLAIMS:
        _study_claims(request, as_json)
        return
    failed = run.run_rows(request, execute, common.say)
    if request.table in SELECTION_STUDIES:
        _study_selection(request, failed, as_json)
    else:
        _finish(request, _collected(request, failed), as_json)


def _collected(request: Request, failed: dict[tuple[str, int], str]) -> list[Result]:
    """What is known of each row, and a line about imports that this folder's own runs contradict."""
    from ctseg_reproduce import run

    results = run.collect(request, failed)
    for name in run.outvoted(request, results):
        common.say(f"{name}: an import has other numbers than the run in this folder, which counts")
    return results


def _rows(plan: Plan, table: str, names: list[str], minutes: float) -> tuple[AnyRow, ...]:
    """The rows asked for; of a whole table those are left out that need scans of their own and lack them.

    Args:
        plan: makes their stages.
        table: its name.
        names: of the rows; empty for all.
        minutes: estimated time of the claims for each seed; 0 for all.

    Raises:
        SettingError: if a row is unknown or lacks its data, a study of selection lacks epochs, or a time is given for
            what has no order.
    """
    from ctseg_reproduce.claims import order_claims, rows_of
    from ctseg_reproduce.systems import CLAIMS, get_rows

    rows = get_rows(table, names)
    if minutes and (table != CLAIMS or names):
        raise SettingError("--hours is for `ctseg reproduce claims` without --rows; tables run all rows that are asked")
    if not names:
        rows = _with_data(plan, rows_of(order_claims(plan, minutes or math.inf)) if table == CLAIMS else rows)
    if not rows:
        raise SettingError("--hours: no claim fits in this time; give more, or see the estimates with --plan")
    _check(plan, table, tuple(rows))
    return tuple(rows)


def _with_data(plan: Plan, rows: Sequence[AnyRow]) -> list[AnyRow]:
    """The rows without those that make their CT slices themselves where there are no scans; each is named."""
    from ctseg_reproduce.systems import needs_scans

    left_out = [row for row in rows if needs_scans(row) and not plan.can_run(row)]
    for row in left_out:
        common.say(f"left out: {row.name} needs scans of the target's patients (--train)")
    return [row for row in rows if row not in left_out]


def _check(plan: Plan, table: str, rows: tuple[AnyRow, ...]) -> None:
    """Refuse what cannot be run, before anything is run or written.

    Raises:
        SettingError: if a row lacks its data, or a study of selection lacks epochs.
    """
    from ctseg_reproduce.systems import SELECTION_STUDIES, is_painted

    painted = next((row.name for row in rows if is_painted(row)), "") if plan.scale.window else ""
    if painted:
        raise SettingError(
            f"--window: {painted} paints blood in the greys of 0 to 100 HU; leave --window out, or name rows without it"
        )
    if table in SELECTION_STUDIES and not plan.scale.adaptation.get("keep_epochs"):
        raise SettingError(
            f"{table}: scale {plan.scale.name!r} stores no epochs, they would take gigabytes a run; use cpu"
        )
    for row in rows:
        plan.row(row, 0)


def _finish(request: Request, results: list[Result], as_json: bool) -> None:
    from ctseg_reproduce.figures import write_figures
    from ctseg_reproduce.inputs import PHANTOM
    from ctseg_reproduce.interval_figures import intervals_figure
    from ctseg_reproduce.run import command_of
    from ctseg_reproduce.table import control_lines, table_of, text_cells, write_table

    scale, own = request.plan.scale, request.plan.inputs != PHANTOM
    whole = command_of(request, sorted({item.seed for result in results for item in result.outcomes}))
    with common.bar("Figures") as bar:
        figures = write_figures(request, results, common.say, bar.update)
    overview = intervals_figure(request.root, request.stem, results, common.say)
    shown = [*overview, *figures]
    paths = write_table(request.root, request.table, results, scale, own_data=own, command=whole, figures=shown)
    table = table_of(request.table, results)
    cells = text_cells(table)
    width = max(len(row[0]) for row in cells) + 2
    lines = [f"{row[0]:<{width}}{row[1]:>8}   {row[2]}" for row in cells]
    summary = {"table": request.table, "rows": table.to_dict("records"), "files": [*map(str, paths)]}
    summary |= {"figures": _paths_of(figures), "overview": _paths_of(overview)}
    lines += [*control_lines(results), *(f"figure: {path}" for path in _paths_of(shown)), f"table: {paths[-1]}"]
    common.finish(summary, [f"{'':<{width}}{'paper':>8}   pooled Dice %", *lines], as_json)
    if any(item.failed for item in results):
        raise typer.Exit(1)


def _paths_of(figures: Sequence[TableFigure]) -> list[str]:
    return [str(item.path) for item in figures]


def _study_selection(request: Request, failed: dict[tuple[str, int], str], as_json: bool) -> None:
    from ctseg.cli.run import execute
    from ctseg.io.slices import open_slices
    from ctseg_reproduce import run
    from ctseg_reproduce.selection_report import write_study
    from ctseg_reproduce.selection_study import run_epochs_table

    runs = run.finished_runs(request)
    labelled = {}
    for seed in sorted({seed for _, seed in runs} or set(request.seeds)):
        found = run.make_label_sets(request, execute, common.say, seed)
        labelled[seed] = {name: open_slices(path) for name, path in found.items()}
    tables = {}
    with common.bar("Epochs", len(runs)) as bar:
        for key, folder in runs.items():
            tables[key] = run_epochs_table(folder, labelled[key[1]], common.registry().build_from_header)
            bar.advance(note=f"{key[0]}, seed {key[1]}")
    command = run.command_of(request, sorted({seed for _, seed in runs}))
    paths = write_study(request.root, tables, list(next(iter(labelled.values()))), command, request.table)
    common.finish({"runs": len(tables), "files": [str(path) for path in paths]}, [f"study: {paths[-1]}"], as_json)
    if failed:
        raise typer.Exit(1)


def _say_plan(request: Request, as_json: bool) -> None:
    """Which stages of which seeds are missing, and for how long they are expected to run."""
    from ctseg_reproduce.claims import order_claims
    from ctseg_reproduce.claims_report import claim_lines
    from ctseg_reproduce.schedule import planned_stages
    from ctseg_reproduce.systems import CLAIMS

    planned = planned_stages(request)
    claims = order_claims(request.plan) if request.table == CLAIMS else []
    lines = claim_lines([item for item in claims if {item.better, item.worse} <= set(request.rows)])
    lines += [f"{item.minutes:7.1f} min  {item.folder}{' (done)' if item.done else ''}" for item in planned]
    left = sum(item.minutes for item in planned if not item.done)
    stages = [{"folder": item.folder, "minutes": item.minutes, "done": item.done} for item in planned]
    lines.append(f"{left:7.1f} min in all, one process at a time; estimates, measured where a stage has run before")
    common.finish({"stages": stages, "minutes": left}, lines, as_json)


def _study_claims(request: Request, as_json: bool) -> None:
    """Run seed by seed, and write the claims again after each: an interrupted call has decided what it could."""
    from ctseg.cli.run import execute
    from ctseg_reproduce import run
    from ctseg_reproduce.claims import decide, order_claims
    from ctseg_reproduce.claims_report import claim_cells, write_claims
    from ctseg_reproduce.interval_figures import claims_figure

    failed: dict[tuple[str, int], str] = {}
    claims = order_claims(request.plan)
    at_once = request.seeds if request.jobs > 1 else ()
    for seeds in (at_once,) if at_once else [(seed,) for seed in request.seeds]:
        failed |= run.run_rows(replace(request, seeds=seeds), execute, common.say)
        results = _collected(request, failed)
        decided = [decide(claim, results) for claim in claims]
        command = run.command_of(request, request.seeds)
        figures = claims_figure(request.root, request.stem, decided, common.say)
        paths = write_claims(
            request.root, request.plan.scale, decided, command, list(failed.values()), figures, results
        )
    cells = claim_cells(decided)
    lines = [f"{line[4]:<12}{line[0]}: {line[3]}" for line in cells]
    common.finish(
        {"claims": [item.flat() for item in decided], "files": [str(path) for path in paths]},
        [*lines, f"claims: {paths[-1]}"],
        as_json,
    )
    if failed:
        raise typer.Exit(1)
