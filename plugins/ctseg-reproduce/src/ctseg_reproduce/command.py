"""`ctseg reproduce`: the paper's tables, and the two small commands that their studies need beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctseg.cli import common
from ctseg.errors import SettingError

if TYPE_CHECKING:
    from ctseg_reproduce.inputs import Inputs
    from ctseg_reproduce.run import Request
    from ctseg_reproduce.stages import Plan
    from ctseg_reproduce.systems import AnyRow
    from ctseg_reproduce.table import Result

TABLE_HELP = "table2, table3, table4, table5, mended, plus, selection or selection-mended."


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("reproduce")(reproduce)
    app.command("source-lists", hidden=True)(source_lists)
    app.command("shuffle-labels", hidden=True)(shuffle_labels)


def reproduce(
    table: Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all tables of one scale and data.")],
    scale: Annotated[str, typer.Option("--scale", help="smoke, cpu or gpu; see docs/reproduce.md.")] = "cpu",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds 0 to N - 1.")] = 3,
    seed: Annotated[list[int], typer.Option("--seed", min=0, help="This seed only; repeat for more.")] = [],  # noqa: B006
    rows: Annotated[list[str], typer.Option("--rows", help="This row only; repeat for more.")] = [],  # noqa: B006
    source: Annotated[Path | None, typer.Option("--src", help="Labelled MR slice set instead of the phantom.")] = None,
    target: Annotated[Path | None, typer.Option("--tgt", help="Unlabelled CT slice set.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Scans of held-out CT patients.")] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="Their masks, CASE.nii.gz.")] = None,
    train: Annotated[Path | None, typer.Option("--train", help="Scans of the target's patients, for plus.")] = None,
    train_truth: Annotated[
        Path | None, typer.Option("--train-truth", help="Their masks, for the upper bound and nothing else.")
    ] = None,
    join: Annotated[
        list[Path], typer.Option("--join", help="TABLE-outcomes.csv of another machine: its rows and seeds count.")
    ] = [],  # noqa: B006
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    workers: common.Workers = 2,
    as_json: common.AsJson = False,
) -> None:
    """Run what is missing of one of the paper's tables and write it: the paper's numbers and ours."""
    from ctseg.cli.run import execute
    from ctseg.outputs import shared_folder
    from ctseg_reproduce import run
    from ctseg_reproduce.kept import remember, remembered
    from ctseg_reproduce.scales import get_scale
    from ctseg_reproduce.stages import Plan
    from ctseg_reproduce.systems import RULES_STUDIES, get_rows

    chosen = tuple(get_rows(table, rows))
    inputs = _inputs(source, target, test, truth, train, train_truth)
    wanted = Plan(get_scale(scale), inputs, device, workers, precision)
    _check(wanted, table, chosen)
    place = common.guard(output, "reproduce", (source, target, test, truth, train, train_truth, *join), resume=True)
    shared_folder(place, run.FILES)
    plan = run.settled_plan(output, wanted)
    remember(output, [common.existing_path(path) for path in join])
    joined = tuple(remembered(output))
    request = run.Request(output, table, plan, chosen, tuple(seed) or tuple(range(seeds)), joined)
    common.say(run.scale_line(plan.scale))
    if join and (strange := run.strangers(request)):
        common.say(f"left out: {strange} joined outcomes that were made with other settings, data or versions of a row")
    failed = run.run_rows(request, execute, common.say)
    if table in RULES_STUDIES:
        _study_rules(request, failed, as_json)
    else:
        _finish(request, run.collect(request, failed), as_json)


def _check(plan: Plan, table: str, rows: tuple[AnyRow, ...]) -> None:
    """Refuse what cannot come through, before anything is run or written.

    Raises:
        SettingError: if a row lacks its data, or the rules are to be studied without epochs.
    """
    from ctseg_reproduce.systems import RULES_STUDIES

    if table in RULES_STUDIES and not plan.scale.adaptation.get("keep_epochs"):
        raise SettingError(
            f"{table}: scale {plan.scale.name!r} keeps no epochs, they would take gigabytes a run; use cpu"
        )
    for row in rows:
        plan.row(row, 0)


def _inputs(
    source: Path | None,
    target: Path | None,
    test: Path | None,
    truth: Path | None,
    train: Path | None,
    train_truth: Path | None,
) -> Inputs:
    from ctseg_reproduce.inputs import PHANTOM, own_inputs

    if not any((source, target, test, truth, train, train_truth)):
        return PHANTOM
    if (train is None) != (train_truth is None):
        raise SettingError("--train and --train-truth belong together: scans and their masks")
    if source is None or target is None or test is None or truth is None:
        raise SettingError("own data need all of --src, --tgt, --test and --truth; without any the phantom is used")
    return own_inputs(source, target, test, truth, train, train_truth)


def _finish(request: Request, results: list[Result], as_json: bool) -> None:
    from ctseg_reproduce.figures import write_figures
    from ctseg_reproduce.inputs import PHANTOM
    from ctseg_reproduce.run import command_of
    from ctseg_reproduce.table import control_verdict, shown, table_of, write_table

    scale, own = request.plan.scale, request.plan.inputs != PHANTOM
    whole = command_of(request, sorted({item.seed for result in results for item in result.outcomes}))
    with common.bar("Figures") as bar:
        figures = write_figures(request, results, common.say, bar.update)
    paths = write_table(request.root, request.table, results, scale, own_data=own, command=whole, figures=figures)
    table = table_of(request.table, results)
    cells = shown(table)
    width = max(len(row[0]) for row in cells) + 2
    lines = [f"{row[0]:<{width}}{row[1]:>8}   {row[2]}" for row in cells]
    summary = {"table": request.table, "rows": table.to_dict("records"), "files": [str(path) for path in paths]}
    summary["figures"] = [str(item.path) for item in figures]
    verdict, drawn = control_verdict(results)[1], [f"figure: {item.path}" for item in figures]
    common.finish(
        summary, [f"{'':<{width}}{'paper':>8}   pooled Dice %", *lines, verdict, *drawn, f"table: {paths[-1]}"], as_json
    )
    if any(item.failed for item in results):
        raise typer.Exit(1)


def _study_rules(request: Request, failed: dict[tuple[str, int], str], as_json: bool) -> None:
    from ctseg.cli.run import execute
    from ctseg.io.slices import open_slices
    from ctseg_reproduce import run
    from ctseg_reproduce.rules import run_epochs_table
    from ctseg_reproduce.rules_report import write_rules

    runs = run.finished_runs(request)
    judges = {}
    for seed in sorted({seed for _, seed in runs} or set(request.seeds)):
        found = run.run_judges(request, execute, common.say, seed)
        judges[seed] = {name: open_slices(path) for name, path in found.items()}
    tables = {}
    with common.bar("Epochs", len(runs)) as bar:
        for key, folder in runs.items():
            tables[key] = run_epochs_table(folder, judges[key[1]], common.registry().build_from_header)
            bar.advance(note=f"{key[0]}, seed {key[1]}")
    command = run.command_of(request, sorted({seed for _, seed in runs}))
    paths = write_rules(request.root, tables, list(next(iter(judges.values()))), command, request.table)
    common.finish({"runs": len(tables), "files": [str(path) for path in paths]}, [f"study: {paths[-1]}"], as_json)
    if failed:
        raise typer.Exit(1)


def source_lists(
    source: common.Source,
    pairs: Annotated[Path, typer.Option("--pairs", help="pairs.csv of `ctseg match --direction target`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the lists.")],
    split: Annotated[str, typer.Option("--split", help="Slices of this split; all for every slice.")] = "train",
    seed: common.Seed = 0,
    overwrite: common.Overwrite = False,
) -> None:
    """Write the source sets of Table 4 as lists of slice_ids for `ctseg das-train --source-list`."""
    from ctseg.evaluation.cases import read_table
    from ctseg.files import write_text
    from ctseg.io.slices import open_slices
    from ctseg.outputs import whole_folder
    from ctseg_reproduce.lists import source_lists as make

    place = common.guard(output, "source-lists", (source, pairs), overwrite=overwrite)
    matched = list(read_table(pairs, ["source_id"])["source_id"].unique())
    lists = make(open_slices(source), matched, split, seed)
    with whole_folder(place) as folder:
        for name, ids in lists.items():
            write_text(folder / f"{name}.txt", "\n".join(ids) + "\n")
    common.finish({}, [f"{name}: {len(ids)} slices" for name, ids in lists.items()], False)


def shuffle_labels(
    source: Annotated[Path, typer.Option("--src", help="Labelled slice set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Slice set to write.")],
    seed: common.Seed = 0,
    overwrite: common.Overwrite = False,
) -> None:
    """Write a slice set with each slice's mask taken from another patient: a control that must score worse."""
    from ctseg.io.slices import open_slices
    from ctseg.outputs import whole_folder
    from ctseg_reproduce.lists import shuffle_labels as make

    place = common.guard(output, "shuffle-labels", (source,), overwrite=overwrite)
    labelled = open_slices(source)
    with whole_folder(place) as folder:
        make(labelled, folder, seed)
    common.say(f"{len(labelled)} slices with shuffled labels -> {output}")
