"""`ctseg bids`: a BIDS App; the CT scans of a BIDS data set become derivatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ctseg.cli import common
from ctseg.cli.model_names import find_models
from ctseg.cli.segment import Models

if TYPE_CHECKING:
    from ctseg.inference.bids import BidsScan
    from ctseg.inference.models import ModelGroup
    from ctseg.inference.results import CaseResult
    from ctseg.inference.settings import SegmentSettings
    from ctseg.outputs import Output

Labels = Annotated[
    list[str],
    typer.Option("--participant-label", "--participant_label", help="Only these participants; without: all."),
]


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("bids")(bids)


def bids(
    bids_dir: Annotated[Path, typer.Argument(metavar="IN", help="BIDS data set with CT scans.")],
    output_dir: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the derivatives; calls may share it.")],
    level: Annotated[Literal["participant"], typer.Argument(help="Level of the analysis.")],
    more_labels: Annotated[
        list[str] | None, typer.Argument(metavar="[LABEL...]", help="Further labels after --participant-label.")
    ] = None,
    participant_label: Labels = [],  # noqa: B006 - typer copies it
    model: Models = [],  # noqa: B006
    settings: common.Set = [],  # noqa: B006
    device: common.Device = "auto",
    workers: common.Workers = 1,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Segment haemorrhage on the CT scans of a BIDS data set, as a BIDS App.

    One folder a participant, whole or not there; failed scans are listed, with exit code 1.
    """
    from ctseg.inference.bids import find_participants, start_derivatives

    del level  # there is one
    participants = find_participants(bids_dir, _labels(participant_label, more_labels or []))
    models = find_models(model)
    reads = [*(bids_dir / f"sub-{label}" for label in participants), *(item.path for item in models)]
    places = [common.guard(output_dir / f"sub-{label}", "bids", reads, overwrite=overwrite) for label in participants]

    from ctseg.api import load_for_segment
    from ctseg.inference.prepare import extractor_of
    from ctseg.training.device import make_fabric

    resolved = _resolved(settings)
    groups, extractor = load_for_segment(models, str(make_fabric(device, "32").device), common.registry())
    options = {"settings": resolved, "extractor": extractor_of(extractor, resolved), "workers": workers}
    start_derivatives(output_dir, bids_dir, _described(groups))
    results = [
        result
        for place, scans in zip(places, participants.values(), strict=True)
        for result in _participant(place, scans, groups, options)
    ]
    _finish(results, participants, output_dir, as_json)


def _labels(given: list[str], more: list[str]) -> list[str]:
    """The labels behind `--participant-label`, of which the first is the option's value.

    Raises:
        SettingError: if there are labels and no option.
    """
    from ctseg.errors import SettingError

    if more and not given:
        raise SettingError(f"{more[0]}: labels follow --participant-label")
    return [*given, *more]


def _finish(results: list[CaseResult], participants: Iterable[str], output_dir: Path, as_json: bool) -> None:
    """How many scans are segmented; exit code 1 where some failed."""
    done, labels = sum(item.status == "ok" for item in results), list(participants)
    summary = {"output": str(output_dir), "participants": labels, "cases": [item.row() for item in results]}
    said = f"{done} of {len(results)} scans of {len(labels)} participants -> {output_dir}"
    common.finish(summary, [said], as_json)
    if done < len(results):
        raise typer.Exit(1)


def _resolved(settings: list[str]) -> SegmentSettings:
    """The settings of `segment`, with those of `--set`."""
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import parse_overrides, resolve

    return resolve(SegmentSettings, {}, parse_overrides(settings), where="segment", listed_by="ctseg settings segment")


def _described(groups: Sequence[ModelGroup]) -> list[dict[str, str]]:
    return [model.describe() for group in groups for model in group.models]


def _broken(found: Any) -> list[Any]:
    """Files that may be scans and cannot be read; what is no scan is said."""
    for item in found.rejected:
        if not item.broken:
            common.say(f"left out: {item}")
    return [item for item in found.rejected if item.broken]


def _participant(
    place: Output, scans: Sequence[BidsScan], groups: Sequence[ModelGroup], options: dict[str, Any]
) -> list[CaseResult]:
    """All scans of one participant; the folder is there once all of them are done."""
    import shutil

    from ctseg.inference.bids import place_case
    from ctseg.inference.scans import find_scans
    from ctseg.inference.segment import segment_cases, unreadable_rows
    from ctseg.outputs import whole_folder

    found: Any = find_scans([scan.path for scan in scans])
    of_file = {scan.path.resolve(): scan for scan in scans}
    unreadable = unreadable_rows(_broken(found))
    with whole_folder(place) as folder:
        work = folder / "work"
        results = segment_cases(found.cases, groups, work, unreadable=unreadable, **options)
        for case, result in zip(found.cases, results, strict=False):
            if result.status == "ok":
                place_case(work, folder, of_file[case.files[0].resolve()], result, _described(groups))
        shutil.rmtree(work)
    for result in results:
        common.say(f"{result.case}: {result.error or f'{result.ml:.2f} mL'}")
    return results
