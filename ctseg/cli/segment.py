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


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("segment")(segment)


def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="DICOM folders, zips, NIfTI files, globs, a .txt with one path a line, or - for paths on stdin.",
        ),
    ],
    model: Annotated[list[Path], typer.Option("--model", help="Run of `ctseg das-train`; repeat to average several.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for masks, previews and volumes.csv.")],
    threshold: Annotated[float, typer.Option("--threshold", help="Probability from which a voxel is lesion.")] = 0.5,
    min_lesion_ml: Annotated[float, typer.Option("--min-lesion-ml", help="Drop lesions smaller than this.")] = 0.0,
    tta: Annotated[bool, typer.Option("--tta", help="Average over mirror images.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability maps.")] = False,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="DICOM SEG under the pseudonym instead of the source's identity.")
    ] = False,
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

    from ctseg.inference.models import load_models
    from ctseg.inference.segment import segment_cases
    from ctseg.io.discover import discover
    from ctseg.training import make_fabric

    registry = common.registry()
    models = load_models(model, registry.build_from_header, make_fabric(device, "32").device)
    with common.bar("Looking") as bar:
        found = discover(paths, "ct", workers=workers, progress=bar.update)
    for item in found.rejected:
        common.say(f"left out: {item}")
    with common.executor(scheduler) as executor, common.bar("Segment", len(found.cases)) as bar:
        results = segment_cases(
            found.cases, models, output, resolved, extractor=_extractor(models), resume=resume, overwrite=overwrite,
            workers=workers, executor=executor, on_case=_speaker(as_json), progress=bar.update,
        )  # fmt: skip
    failed = [item for item in results if item.status != "ok"]
    common.say(f"{len(results) - len(failed)} of {len(results)} scans -> {output / 'volumes.csv'}")
    if failed:
        raise typer.Exit(1)


def _extractor(models: list[LoadedModel]) -> Any:
    """The brain extractor that the models' training slices were made with."""
    settings = models[0].header.input["preprocess"]
    entry = common.registry().get("brain_extractor", settings.get("brain_extractor", "muschelli"))
    return entry.build(settings.get("brain_extractor_settings", {}))


def _speaker(as_json: bool) -> Any:
    """Says each case as it is finished: JSON lines on stdout, or lines for people on stderr."""

    def speak(result: CaseResult) -> None:
        if as_json:
            row = {key: value for key, value in asdict(result).items() if key != "traceback"}
            typer.echo(json.dumps(row, default=str))
        elif result.status == "ok":
            common.say(
                f"{result.case}  {result.ml:8.2f} mL  {result.lesions} lesions  {result.seconds:.1f} s  {result.note}"
            )
        else:
            common.say(f"{result.case}  FAILED  {result.error}")

    return speak
