"""`ctseg segment`: scans become masks and volumes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common

if TYPE_CHECKING:
    from ctseg.inference.models import LoadedModel
    from ctseg.inference.results import CaseResult
    from ctseg.inference.settings import SegmentSettings
    from ctseg.preprocess.settings import PreprocessSettings
    from ctseg.protocols import BrainExtractor


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("segment")(segment)


def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="DICOM folders, zips, NIfTI files, slice sets, globs, a .txt with one path a line, or - for stdin.",
        ),
    ],
    model: Annotated[list[Path], typer.Option("--model", help="Run of `ctseg das-train`; repeat to average several.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for masks and volumes.csv.")] = Path(
        "segmentation"
    ),
    threshold: Annotated[float, typer.Option("--threshold", help="Probability from which a voxel is lesion.")] = 0.5,
    min_lesion_ml: Annotated[float, typer.Option("--min-lesion-ml", help="Drop lesions smaller than this.")] = 0.0,
    tta: Annotated[bool, typer.Option("--tta", help="Average over mirror images.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability maps.")] = False,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="DICOM SEG under the pseudonym instead of the source's identity.")
    ] = False,
    brains: Annotated[
        Path | None, typer.Option("--brains", help="Folder that keeps brain masks, for a next model on the same scans.")
    ] = None,
    settings: common.Set = [],  # noqa: B006 - typer copies it
    device: common.Device = "auto",
    workers: common.Workers = 1,
    scheduler: common.Scheduler = "",
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line a case on stdout.")] = False,
) -> None:
    """Outline haemorrhage on CT scans and measure it; a bad case is named and the others go on (exit code 1)."""
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import parse_overrides, resolve

    flags = {
        "threshold": threshold, "min_lesion_ml": min_lesion_ml, "tta": tta, "probabilities": probabilities,
        "deidentify": deidentify,
    }  # fmt: skip
    resolved = resolve(SegmentSettings, flags, parse_overrides(settings), where="segment")
    paths = common.existing_paths(inputs)

    from ctseg.api import load_for_segment
    from ctseg.training import make_fabric

    models, extractor = load_for_segment(model, str(make_fabric(device, "32").device), common.registry())
    if brains is not None:
        extractor = _keeping(extractor, models[0].recipe, brains)
    options = {"resume": resume, "overwrite": overwrite, "on_case": _speaker(as_json)}
    if len(paths) == 1 and (paths[0] / "dataset.json").exists() and (paths[0] / "slices.csv").exists():
        results = _segment_set(paths[0], models, output, resolved, options)
    else:
        results = _segment_scans(paths, models, output, resolved, extractor, workers, scheduler, options)
    failed = [item for item in results if item.status != "ok"]
    common.say(f"{len(results) - len(failed)} of {len(results)} scans -> {output / 'volumes.csv'}")
    if failed:
        raise typer.Exit(1)


def _keeping(extractor: BrainExtractor, recipe: PreprocessSettings, folder: Path) -> BrainExtractor:
    """The extractor with a memory."""
    from ctseg.inference.brains import KeptBrains

    version = common.registry().get("brain_extractor", recipe.brain_extractor).version
    return KeptBrains(extractor, folder, recipe, version)


def _segment_set(
    folder: Path, models: list[LoadedModel], output: Path, settings: SegmentSettings, options: dict[str, Any]
) -> list[CaseResult]:
    from ctseg.inference.slice_set import segment_slices
    from ctseg.io.slices import open_slices

    slices = open_slices(folder)
    with common.bar("Segment", slices.table["series_id"].nunique()) as bar:
        return segment_slices(slices, models, output, settings, progress=bar.update, **options)


def _segment_scans(
    paths: list[Path],
    models: list[LoadedModel],
    output: Path,
    settings: SegmentSettings,
    extractor: BrainExtractor,
    workers: int,
    scheduler: str,
    options: dict[str, Any],
) -> list[CaseResult]:
    from ctseg.inference.segment import segment_cases
    from ctseg.io.discover import discover

    with common.bar("Looking") as bar:
        found = discover(paths, "ct", workers=workers, progress=bar.update)
    for item in found.rejected:
        common.say(f"left out: {item}")
    with common.executor(scheduler) as executor, common.bar("Segment", len(found.cases)) as bar:
        return segment_cases(
            found.cases, models, output, settings, extractor=extractor, workers=workers, executor=executor,
            progress=bar.update, **options,
        )  # fmt: skip


def _speaker(as_json: bool) -> Any:
    """Says each case as it is finished: JSON lines on stdout, or the rows of a table for people on stderr."""
    said: list[str] = []

    def speak(result: CaseResult) -> None:
        if as_json:
            row = {key: value for key, value in asdict(result).items() if key != "traceback"}
            typer.echo(json.dumps(row, default=str))
            return
        if not said:
            common.say(_columns("case", "status", "mL", "range", "lesions", "s", "remarks"))
        said.append(result.case)
        common.say(_line(result))

    return speak


def _columns(case: str, status: str, ml: str, between: str, lesions: str, seconds: str, remarks: str) -> str:
    return f"{case:<18}  {status:<6}  {ml:>8}  {between:>17}  {lesions:>7}  {seconds:>6}  {remarks}".rstrip()


def _line(result: CaseResult) -> str:
    """One row of the table; `range` is that of the members' volumes where there are several."""
    seconds = "" if result.seconds is None else f"{result.seconds:.1f}"
    if result.ml is None:
        return _columns(result.case, result.status, "", "", "", seconds, result.error)
    between = "" if result.ml_low is None else f"{result.ml_low:.2f} to {result.ml_high:.2f}"
    told = [f"UNLIKE the training scans: {result.unlike}"] if result.unlike else []
    told += [result.note] if result.note else []
    return _columns(
        result.case, result.status, f"{result.ml:.2f}", between, str(result.lesions), seconds, "; ".join(told)
    )
