"""`ctseg implant`: known haematomas in heads without a bleed, and what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common
from ctseg.cli.examples import examples
from ctseg.cli.model_names import find_models
from ctseg.cli.segment import Models
from ctseg.errors import InputError, SettingError

if TYPE_CHECKING:
    from ctseg.inference.models import ModelGroup
    from ctseg.inference.settings import SegmentSettings
    from ctseg.io.case import Case
    from ctseg.plugins.protocols import BrainExtractor
    from ctseg_reproduce.implant_grid import Cells, Results

EXAMPLES = (
    "ctseg implant normal-head/ -o implants",
    "ctseg implant normal-head/ --ml 2:5 --hu 60 --model runs/das -o implants",
)
FILES = ("implants.json", "implants.csv", "implants.md", "pictures/*.png")


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("implant", epilog=examples(*EXAMPLES))(implant)
    app.command("recovery-study", hidden=True)(recovery_study)


def implant(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Head CTs without a bleed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables and pictures.")],
    model: Models = [],  # noqa: B006 - typer copies it
    places: Annotated[int, typer.Option("--places", min=1, help="Places in each head.")] = 7,
    ml: Annotated[str, typer.Option("--ml", help="Volumes in mL, joined by colons.")] = "1:2:5:15:40",
    hu: Annotated[str, typer.Option("--hu", help="Mean HU inside the outlines.")] = "45:52:60:68",
    oedema_mm: Annotated[str, typer.Option("--oedema-mm", help="Widths of the oedema around.")] = "0:8",
    threshold: Annotated[float, typer.Option("--threshold", help="Probability from which a voxel is lesion.")] = 0.5,
    tta: Annotated[
        bool | None,
        typer.Option("--tta/--no-tta", help="Average over mirror images. Default: as the model's card says."),
    ] = None,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    as_json: common.AsJson = False,
) -> None:
    """Put haematomas of known volume and HU into heads without a bleed; say what a model finds of them."""
    from ctseg.api import load_for_segment
    from ctseg.inference.models import with_card
    from ctseg.inference.settings import SegmentSettings
    from ctseg.io.discover import discover
    from ctseg.outputs import growing_folder, refuse_changed
    from ctseg.settings import resolve
    from ctseg.training.device import make_fabric
    from ctseg_reproduce.implant_grid import Results
    from ctseg_reproduce.implant_report import summarise, write_tables

    cells = _cells(places, common.numbers(ml, "--ml"), common.numbers(hu, "--hu"),
                   common.numbers(oedema_mm, "--oedema-mm"), seed)  # fmt: skip
    settings = resolve(SegmentSettings, {"threshold": threshold, "tta": tta}, where="implant")
    paths = common.existing_paths(inputs)
    models = find_models(model)
    place = common.guard(output, "implant", (*paths, *(item.path for item in models)), resume=True)
    refuse_changed(place.real, FILES[:1])
    groups, extractor = load_for_segment(models, str(make_fabric(device, "32").device), common.registry())
    found = discover(paths, "ct", without=output)
    _say_all(f"left out: {item}" for item in found.rejected)
    settings = with_card(settings, groups)
    described = [item.describe() for group in groups for item in group.models]
    with growing_folder(place, FILES):
        results = Results.start(output, cells, described, settings)
        failed = _run(list(found.cases), groups, extractor, settings, cells, results)
        tables, lines = write_tables(output, results)
    _say_all(results.earlier(found.cases))
    summary: dict[str, Any] = {
        "by_ml_and_hu": summarise(results.rows(), ("ml", "hu")),
        "false_ml": {name: scan["false_ml"] for name, scan in results.scans.items()},
        "failed": failed, "files": [str(path) for path in tables],
    }  # fmt: skip
    common.finish(summary, [*lines, *(f"FAILED {line}" for line in failed), f"table: {tables[-1]}"], as_json)
    if failed or found.incomplete:
        raise typer.Exit(1)


def recovery_study(
    cohorts: Annotated[list[Path], typer.Argument(metavar="COHORT", help="Folders of `ctseg phantom`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for recovery.json and recovery.png.")],
    model: Models = [],  # noqa: B006 - typer copies it
    scans: Annotated[int, typer.Option("--scans", min=4, help="How many scans; patients are used again.")] = 60,
    hu: Annotated[float, typer.Option("--hu", help="Mean HU of the known haematomas.")] = 52.0,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    as_json: common.AsJson = False,
) -> None:
    """Correlate `segment --recovery` with the true Dice over phantom scans of many qualities."""
    from ctseg.api import load_for_segment
    from ctseg.inference.settings import SegmentSettings
    from ctseg.outputs import growing_folder, refuse_changed
    from ctseg.settings import resolve
    from ctseg.training.device import make_fabric
    from ctseg_reproduce.recovery_study import FILE, PICTURE, Notes, run_study

    settings = resolve(SegmentSettings, {"recovery": True, "recovery_hu": hu}, where="recovery-study")
    found = [common.existing_path(cohort) for cohort in cohorts]
    models = find_models(model)
    place = common.guard(output, "recovery-study", (*found, *(item.path for item in models)), resume=True)
    refuse_changed(place.real, (FILE,))
    _check_cohorts(found)
    groups, _ = load_for_segment(models, str(make_fabric(device, "32").device), common.registry())
    notes = Notes()
    with growing_folder(place, (FILE, PICTURE)), common.bar("Scans", scans) as bar:
        summary = run_study(groups, found, output, scans, settings, seed, lambda note: bar.advance(1, note), notes)
    _say_all(notes.said)
    lines = [
        f"{name}: {value['spearman']} ({value['low']} to {value['high']}), {value['scans']} scans"
        for name, value in {
            **summary,
            **{f"{key} within": one for key, one in summary["within_patients"].items()},
        }.items()
        if isinstance(value, dict) and "spearman" in value
    ]
    lines += [f"FAILED {line}" for line in notes.failed]
    common.finish({**summary, "failed": notes.failed}, ["Spearman's correlation with the true Dice:", *lines], as_json)
    if notes.failed:
        raise typer.Exit(1)


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        common.say(line)


COHORT = ("rsna/stage_2_test", "truth/iph/test", "truth/brain/test")
"""What a cohort has that the study reads."""


def _check_cohorts(cohorts: list[Path]) -> None:
    """Refuse what is no folder of `ctseg phantom` before anything is written (`InputError`)."""
    for path in cohorts:
        if lacking := [name for name in COHORT if not (path / name).is_dir()]:
            raise InputError(f"{path}: no phantom cohort (no {lacking[0]}); make one with `ctseg phantom -o {path}`")


def _cells(places: int, ml: tuple[float, ...], hu: tuple[float, ...], oedema_mm: tuple[float, ...], seed: int) -> Cells:
    """The grid, every haematoma of which can exist.

    Raises:
        SettingError: if one cannot.
    """
    from ctseg.implant.wanted import Wanted
    from ctseg_reproduce.implant_grid import Cells

    cells = Cells(places, ml, hu, oedema_mm, seed)
    if not all((ml, hu, oedema_mm)):
        raise SettingError("--ml, --hu and --oedema-mm: give at least one number each")
    for one_ml, one_hu, one_mm in cells.combinations():
        Wanted("deep", one_ml, one_hu, oedema_mm=one_mm)
    return cells


def _run(
    cases: list[Case],
    groups: list[ModelGroup],
    extractor: BrainExtractor,
    settings: SegmentSettings,
    cells: Cells,
    results: Results,
) -> list[str]:
    """Every scan in turn, its picture last; one that fails is a line and does not stop the others."""
    from ctseg.inference.prepare import prepare_case
    from ctseg.io.private import without_paths
    from ctseg.parallel import failure
    from ctseg_reproduce.implant_grid import run_scan
    from ctseg_reproduce.implant_report import write_picture

    failed = []
    total = len(cases) * len(list(cells.combinations()))
    with common.bar("Haematomas", total) as bar:
        for case in cases:
            try:
                ready = prepare_case(case, [group.preprocessing for group in groups], extractor)
                run_scan(ready, groups, settings, cells, results, lambda note: bar.advance(1, note))
                picture = results.path.parent / "pictures" / f"{case.case_id}.png"
                if not results.is_pictured(picture, ready):
                    write_picture(picture, ready, groups, settings, cells)
                    results.pictured(picture, ready)
            except Exception as error:
                reason = failure(error).error.removeprefix(f"{case.case_id}: ")
                failed.append(f"{case.case_id}: {without_paths(reason, case)}")
    return failed
