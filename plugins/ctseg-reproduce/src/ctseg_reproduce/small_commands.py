"""The small commands that the stages of a reproduction need: source subsets and the two controls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common, completion
from ctseg.errors import InputError

if TYPE_CHECKING:
    from ctseg.io.case import Case
    from ctseg.io.volume import Volume
    from ctseg.runs import ModelHeader


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("source-subsets", hidden=True)(source_subsets)
    app.command("location-prior", hidden=True)(location_prior)
    app.command("shuffle-labels", hidden=True)(shuffle_labels)
    app.command("planted-faults", hidden=True)(planted_faults)


def source_subsets(
    source: common.Source,
    pairs: Annotated[Path, typer.Option("--pairs", help="pairs.csv of `ctseg match --direction target`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the subsets.")],
    split: Annotated[
        str,
        typer.Option("--split", help="Slices of this split; all for every slice.", autocompletion=completion.splits),
    ] = "train",
    seed: common.Seed = 0,
    overwrite: common.Overwrite = False,
) -> None:
    """Write the source sets of Table 4 as files of slice_ids for `ctseg das-train --source-list`."""
    from ctseg.evaluation.cases import read_table
    from ctseg.files import write_text
    from ctseg.io.slices import open_slices
    from ctseg.outputs import whole_folder
    from ctseg_reproduce.source_subsets import source_subsets as make

    place = common.guard(output, "source-subsets", (source, pairs), overwrite=overwrite)
    matched = list(read_table(pairs, ["source_id"])["source_id"].unique())
    subsets = make(open_slices(source), matched, split, seed)
    with whole_folder(place) as folder:
        for name, ids in subsets.items():
            write_text(folder / f"{name}.txt", "\n".join(ids) + "\n")
    common.finish({}, [f"{name}: {len(ids)} slices" for name, ids in subsets.items()], False)


def shuffle_labels(
    source: Annotated[Path, typer.Option("--src", help="Labelled slice set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Slice set to write.")],
    seed: common.Seed = 0,
    overwrite: common.Overwrite = False,
) -> None:
    """Write a slice set with each slice's mask taken from another patient: a control that must score worse."""
    from ctseg.io.slices import open_slices
    from ctseg.outputs import whole_folder
    from ctseg_reproduce.source_subsets import shuffle_labels as make

    place = common.guard(output, "shuffle-labels", (source,), overwrite=overwrite)
    labelled = open_slices(source)
    with whole_folder(place) as folder:
        make(labelled, folder, seed)
    common.say(f"{len(labelled)} slices with shuffled labels -> {output}")


def location_prior(
    source: common.Source,
    data: Annotated[Path, typer.Option("--data", help="Labelled slice set of whole scans.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for masks.npy.")],
    split: Annotated[
        str,
        typer.Option(
            "--split", help="Source slices of this split; all for every slice.", autocompletion=completion.splits
        ),
    ] = "train",
    overwrite: common.Overwrite = False,
) -> None:
    """Predict where the source's lesions lie most often, at each scan's true volume: a control without a network."""
    import numpy as np

    from ctseg.io.slices import open_slices
    from ctseg.outputs import whole_folder
    from ctseg_reproduce.location_prior import prior_masks

    place = common.guard(output, "location-prior", (source, data), overwrite=overwrite)
    masks = prior_masks(open_slices(source), open_slices(data), split)
    with whole_folder(place) as folder:
        np.save(folder / "masks.npy", masks)
    common.say(f"{len(masks)} slices -> {output}")


def planted_faults(
    scans: Annotated[Path, typer.Argument(help="Normal head CT that the model was not trained on.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Run, weights or name of the model whose profile is tried.",
            autocompletion=completion.model_names,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for faults.json.")],
    most: Annotated[int, typer.Option("--most", min=1, help="Scans at most.")] = 24,
    seed: common.Seed = 0,
    overwrite: common.Overwrite = False,
) -> None:  # fmt: skip
    """Measure how well a model's out-of-distribution flags tell normal scans from seven planted faults."""
    from ctseg.cli.model_names import find_run
    from ctseg.files import write_json
    from ctseg.inference.prepare import preprocessing_of
    from ctseg.outputs import whole_folder
    from ctseg.runs import read_header
    from ctseg_reproduce.ood_study import study_faults, summarise

    run = find_run(model)
    place = common.guard(output, "planted-faults", (scans, run), overwrite=overwrite)
    header = read_header(run)
    settings, profile = preprocessing_of(header.input), _profile(header, run)
    entry = common.registry().get("brain_extractor", settings.brain_extractor)
    extractor = entry.extractor(settings.brain_extractor_settings)
    cases, is_whole = _found(scans, output, most)
    failed: list[str] = []
    with common.bar("Faults", len(cases)) as bar:
        rows = study_faults(
            _read(cases, failed), profile, settings, extractor, seed=seed,
            total=len(cases), progress=bar.update, failed=failed,
        )  # fmt: skip
    if not rows:
        raise InputError(f"{scans}: no scan can be measured; {failed[0]}")
    found = summarise(rows)
    with whole_folder(place) as folder:
        write_json(folder / "faults.json", {"by_fault": found, "scans": [_finite(row) for row in rows]})
    lines = [f"{name:<16} AUC {item['auc']:.3f}, flagged {item['flagged']:.0%}" for name, item in found.items()]
    common.finish({"by_fault": found, "failed": failed}, [*lines, *(f"FAILED {line}" for line in failed)], False)
    if failed or not is_whole:
        raise typer.Exit(1)


def _found(scans: Path, output: Path, most: int) -> tuple[list[Case], bool]:
    """The scans to look at, and whether nothing that may be one was left out; what is left out is said."""
    from ctseg.io.discover import discover

    found = discover(common.existing_path(scans), "ct", without=output)
    for item in found.rejected:
        common.say(f"left out: {item}")
    if len(found.cases) > most:
        common.say(f"{most} of {len(found.cases)} scans are looked at; --most takes more")
    return list(found.cases[:most]), not found.incomplete


def _profile(header: ModelHeader, model: Path) -> dict[str, Any]:
    """The profile of the scans that a model was trained on.

    Raises:
        InputError: if it has none that this version looks at.
    """
    from ctseg.inference.ood import PROFILE, check_profile

    profile = header.input.get("profile")
    check_profile(profile)
    if not profile or profile.get("form") != PROFILE:
        raise InputError(f"{model}: holds no profile of the scans that it was trained on; give another model")
    return dict(profile)


def _read(cases: Iterable[Case], failed: list[str]) -> Iterator[Volume]:
    """The scans that can be read; of each other one, a line in `failed`."""
    from ctseg.io.discover import read_case
    from ctseg.io.private import without_paths
    from ctseg.parallel import Failure, attempt

    for case in cases:
        outcome = attempt(read_case, case)
        if isinstance(outcome, Failure):
            failed.append(without_paths(outcome.error, case))
        else:
            yield outcome


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it: what is not known, and the score of a refused scan, become None."""
    values = {name: value if math.isfinite(value) else None for name, value in row.get("values", {}).items()}
    return {**row, "score": row["score"] if math.isfinite(row["score"]) else None, "values": values}
