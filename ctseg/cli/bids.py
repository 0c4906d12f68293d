"""`ctseg bids`: a BIDS App; the CT scans of a BIDS data set become derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ctseg.cli import common
from ctseg.cli.model_names import find_models
from ctseg.cli.segment import Models

if TYPE_CHECKING:
    from ctseg.inference.bids import BidsData, Participant
    from ctseg.inference.models import ModelGroup
    from ctseg.inference.results import CaseResult
    from ctseg.inference.settings import SegmentSettings
    from ctseg.models.catalogue import ModelSource
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
        list[str] | None, typer.Argument(metavar="LABEL", help="Further labels after --participant-label.")
    ] = None,
    participant_label: Labels = [],  # noqa: B006 - typer copies it
    model: Models = [],  # noqa: B006
    settings: common.Set = [],  # noqa: B006
    device: common.Device = "auto",
    workers: common.Workers = 0,  # most participants have one scan, and starting a process costs more than it saves
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Segment haemorrhage on the CT scans of a BIDS data set, as a BIDS App.

    One folder a participant, whole or not there; failed scans are listed, with exit code 1.
    """
    from ctseg.inference.bids import find_participants, read_description

    del level  # there is one
    resolved = _resolved(settings)
    data = find_participants(bids_dir, _labels(participant_label, more_labels or []))
    models = find_models(model)
    whole, places = _guarded(output_dir, bids_dir, data, models, overwrite=overwrite, resume=resume)

    from ctseg.api import load_for_segment
    from ctseg.inference.engines import in_engine
    from ctseg.inference.prepare import extractor_of
    from ctseg.inference.segment import unreadable_rows
    from ctseg.training.device import make_fabric

    where = str(make_fabric(device, "32").device)
    groups, extractor = load_for_segment(models, where, common.registry(), say=common.warn)
    groups = in_engine(groups, resolved)
    made_with = {"models": _described(groups), "settings": resolved.model_dump(mode="json")}
    _start(whole, bids_dir, {**made_with, "data": read_description(bids_dir)["Name"]}, places, overwrite=overwrite)
    options = {"settings": resolved, "extractor": extractor_of(extractor, resolved), "workers": workers}
    results = unreadable_rows(data.broken)
    _say_rows(results)
    for label, place in places.items():
        results += _participant(place, data.participants[label], groups, made_with, options)
    _finish(results, data, output_dir, as_json)


def _guarded(
    output_dir: Path, bids_dir: Path, data: BidsData, models: Sequence[ModelSource], *, overwrite: bool, resume: bool
) -> tuple[Output, dict[str, Output]]:
    """The data set to write, and each participant's folder in it; those that `--resume` finds whole are left out."""
    from ctseg.inference.bids import is_done, refuse_raw

    refuse_raw(output_dir, bids_dir)
    weights = [item.path for item in models]
    raw = {label: bids_dir / f"sub-{label}" for label in data.participants}
    whole = common.guard(output_dir, "bids", [bids_dir, *raw.values(), *weights], resume=True)
    places = {
        label: common.guard(
            output_dir / f"sub-{label}", "bids participant", [folder, *weights], overwrite=overwrite, resume=resume
        )
        for label, folder in raw.items()
    }
    done = [label for label, place in places.items() if resume and is_done(place.real, data.participants[label])]
    if done:
        common.say(f"{len(done)} of {len(places)} participants are done")
    return whole, {label: place for label, place in places.items() if label not in done}


def _start(
    whole: Output, bids_dir: Path, made_of: Mapping[str, Any], places: Mapping[str, Output], *, overwrite: bool
) -> None:
    """Mark the data set and write what lies beside its participants.

    Raises:
        InputError: if participants of it were made of other data, or with other models or settings, and stay.
    """
    from ctseg.errors import InputError
    from ctseg.inference.bids import DATASET_FILES, start_derivatives
    from ctseg.outputs import read_mark, shared_folder

    mark = read_mark(whole.real)
    differ = [] if mark is None else [key for key in made_of if mark.inputs.get(key) != made_of[key]]
    stay = [path for path in whole.real.glob("sub-*") if path.name not in {item.real.name for item in places.values()}]
    if differ and (stay or not overwrite):
        raise InputError(
            f"{whole.path}: was made with other {' and '.join(differ)}; choose another output folder, or replace all "
            "participants with --overwrite"
        )
    shared_folder(whole, DATASET_FILES, made_of)
    start_derivatives(whole.path, bids_dir, made_of["models"])


def _labels(given: list[str], more: list[str]) -> list[str]:
    """The labels behind `--participant-label`, of which the first is the option's value.

    Raises:
        SettingError: if there are labels and no option.
    """
    from ctseg.errors import SettingError

    if more and not given:
        raise SettingError(f"{more[0]}: labels follow --participant-label")
    return [*given, *more]


def _finish(results: list[CaseResult], data: BidsData, output_dir: Path, as_json: bool) -> None:
    """How many scans are segmented; exit code 1 where some failed."""
    done, labels = sum(item.status == "ok" for item in results), list(data.participants)
    summary = {"output": str(output_dir), "participants": labels, "cases": [item.row() for item in results]}
    said = [f"no CT of {len(data.without_ct)} participants: {', '.join(data.without_ct)}"] if data.without_ct else []
    said.append(f"{done} of {len(results)} scans of {len(labels)} participants -> {output_dir}")
    common.finish(summary, said, as_json)
    if done < len(results):
        raise typer.Exit(1)


def _resolved(settings: list[str]) -> SegmentSettings:
    """The settings of `segment`, with those of `--set`.

    Raises:
        SettingError: if one is asked for whose files BIDS has no place for.
    """
    from ctseg.errors import SettingError
    from ctseg.inference.bids import UNWRITTEN
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import parse_overrides, resolve

    found = resolve(SegmentSettings, {}, parse_overrides(settings), where="segment", listed_by="ctseg settings segment")
    for name in UNWRITTEN:
        if getattr(found, name):
            raise SettingError(f"--set {name}: `ctseg bids` writes masks and pictures alone; use `ctseg segment`")
    return found


def _described(groups: Sequence[ModelGroup]) -> list[dict[str, str]]:
    from ctseg.inference.models import mask_models

    return [model.describe() for model in mask_models(groups)]


def _participant(
    place: Output,
    participant: Participant,
    groups: Sequence[ModelGroup],
    made_with: Mapping[str, Any],
    options: dict[str, Any],
) -> list[CaseResult]:
    """All scans of one participant; the folder is there once all of them are done."""
    import shutil

    from ctseg.inference.bids import found_cases, place_case
    from ctseg.inference.segment import segment_cases, unreadable_rows
    from ctseg.outputs import whole_folder

    cases, broken = found_cases(participant)
    digests: dict[str, str] = {}
    with whole_folder(place, inputs={"scans": digests}) as folder:
        work = folder / "work"
        found = [case for _, case in cases.values()]
        results = segment_cases(found, groups, work, unreadable=unreadable_rows(broken), **options)
        for result in results:
            if result.status == "ok":
                scan = cases[result.case][0]
                place_case(work, folder, scan, result, made_with)
                digests[scan.mask] = result.input
        shutil.rmtree(work)
    _say_rows(results)
    return results


def _say_rows(results: Sequence[CaseResult]) -> None:
    for result in results:
        common.say(f"{result.case}: {result.error or f'{result.ml:.2f} mL'}")
