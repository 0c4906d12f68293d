"""`ctseg segment`: scans become masks and volumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common, completion
from ctseg.cli.model_names import find_models

if TYPE_CHECKING:
    from ctseg.inference.models import ModelGroup
    from ctseg.inference.results import CaseResult
    from ctseg.inference.settings import SegmentSettings
    from ctseg.io.case import Discovery
    from ctseg.io.slices import SliceSet
    from ctseg.models.catalogue import ModelSource
    from ctseg.outputs import Output
    from ctseg.plugins.protocols import BrainExtractor
    from ctseg.preprocess.settings import PreprocessSettings


FAST = {"preview": False, "resampled": False, "coarse_brain": True, "tta": False}
"""Settings of `--fast`, beside bfloat16 where it is faster."""
OutputFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder for masks and volumes.csv.")]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="NAME|RUN",
        autocompletion=completion.model_names,
        help="A model of `ctseg models`, or a run of `ctseg das-train`; repeat to average several. Without: default.",
    ),
]
Deidentify = Annotated[
    bool,
    typer.Option(
        "--deidentify", help="No text of the source passes: cases under digests, DICOM SEG under a pseudonym."
    ),
]
Recovery = Annotated[
    bool,
    typer.Option("--recovery", help="Put known haematomas into each head; say how much of them the model finds."),
]
OtherBlood = Annotated[
    bool,
    typer.Option(
        "--other-blood",
        help="Also segment IVH, SAH, SDH and EDH, by a second network that finds less and marks more in error; a hint. "
        "Into other_blood/CASE.nii.gz.",
    ),
]
RtStruct = Annotated[
    bool, typer.Option("--rtstruct", help="Also write CASE_rtstruct.dcm, a DICOM RT structure set, for DICOM input.")
]
Sr = Annotated[
    bool, typer.Option("--sr", help="Also write CASE_sr.dcm, a DICOM report of the volumes, for DICOM input.")
]
LabelTables = Annotated[
    bool, typer.Option("--label-tables", help="Also write what the mask's values mean, for viewers.")
]
Fast = Annotated[
    bool,
    typer.Option("--fast", help="Coarser brain mask, bfloat16 where it is faster, no mirror images, no preview."),
]
Tta = Annotated[
    bool | None,
    typer.Option("--tta/--no-tta", help="Average over mirror images. Default: as the model's card says."),
]
BrainCache = Annotated[
    Path | None, typer.Option("--brain-cache", help="Folder of brain masks, for a next model on the same scans.")
]


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("segment")(segment)


def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="DICOM folders, zips, NIfTI files, slice sets, globs, a .txt with one path a line, or - for stdin.",
        ),
    ],
    model: Models = [],  # noqa: B006 - typer copies it
    output: OutputFolder = Path("segmentation"),
    threshold: Annotated[float, typer.Option("--threshold", help="Probability from which a voxel is lesion.")] = 0.5,
    min_lesion_ml: Annotated[float, typer.Option("--min-lesion-ml", help="Drop lesions smaller than this.")] = 0.0,
    tta: Tta = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability maps.")] = False,
    rtstruct: RtStruct = False,
    sr: Sr = False,
    label_tables: LabelTables = False,
    fast: Fast = False,
    recovery: Recovery = False,
    other_blood: OtherBlood = False,
    deidentify: Deidentify = False,
    brain_cache: BrainCache = None,
    null: common.Null = False,
    settings: common.Set = [],  # noqa: B006 - typer copies it
    device: common.Device = "auto",
    precision: common.Precision = "32",
    workers: common.Workers = 1,
    scheduler: common.Scheduler = "",
    share: common.Share = False,
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line a case on stdout.")] = False,
) -> None:
    """Segment haemorrhage on CT scans and measure it; failed cases are listed, with exit code 1."""
    resolved = _resolved(
        settings, threshold=threshold, min_lesion_ml=min_lesion_ml, tta=tta, probabilities=probabilities,
        deidentify=deidentify, recovery=recovery, rtstruct=rtstruct, sr=sr,
        label_tables=label_tables, fast=fast, other_blood=other_blood,
    )  # fmt: skip
    paths = common.existing_paths(inputs, null=null)
    models = find_models(model)
    reads: tuple[Path | str, ...] = (*paths, *inputs, *(item.path for item in models))
    place = common.guard(output, "segment", reads, overwrite=overwrite, resume=resume, share=share)
    cache = None if brain_cache is None else _guarded_cache(brain_cache, place, reads)
    _prepare_workers(device, workers, scheduler)

    from ctseg.inference.prepare import extractor_of
    from ctseg.io.slices import SliceSet

    groups, extractor = _loaded(models, device, resolved)
    resolved = _computing_in("auto" if fast and precision == "32" else precision, settings, groups, resolved)
    extractor = _cached(extractor_of(extractor, resolved), groups[0].preprocessing, cache, resolved)
    found = _find(paths, output, resolved, workers)
    if isinstance(found, SliceSet):
        results = _segment_set(found, groups, place, resolved, as_json)
    else:
        options = {"extractor": extractor, "workers": workers}
        results = _segment_scans(found, groups, place, resolved, scheduler, as_json, options)
    _finish(results, output)


def _prepare_workers(device: str, workers: int, scheduler: str) -> None:
    """Begin to import in another process what workers need, where they will do whole scans."""
    if workers > 1 and device in ("auto", "cpu") and not scheduler:
        from ctseg.inference import WORKER_MODULES
        from ctseg.parallel import import_for_workers

        import_for_workers(WORKER_MODULES)


def _resolved(settings: list[str], **flags: Any) -> SegmentSettings:
    """The settings of the flags and of `--set`."""
    from ctseg.inference.settings import SegmentSettings
    from ctseg.settings import parse_overrides, resolve

    return resolve(
        SegmentSettings, given_settings(**flags), parse_overrides(settings), where="segment",
        listed_by="ctseg settings segment",
    )  # fmt: skip


def given_settings(
    *,
    threshold: float,
    min_lesion_ml: float,
    tta: bool | None,
    probabilities: bool,
    deidentify: bool,
    recovery: bool,
    rtstruct: bool = False,
    sr: bool = False,
    label_tables: bool = False,
    fast: bool = False,
    other_blood: bool = False,
    **_others: Any,
) -> dict[str, Any]:
    """The settings that the flags give.

    Raises:
        SettingError: if two flags contradict each other.
    """
    if fast and tta:
        from ctseg.errors import SettingError

        raise SettingError("--tta takes up to four times as long as the network alone, against --fast; leave one out")
    return {
        "threshold": threshold, "min_lesion_ml": min_lesion_ml, "tta": tta, "probabilities": probabilities,
        "deidentify": deidentify, "recovery": recovery, "rtstruct": rtstruct, "sr": sr,
        "label_tables": label_tables, "other_blood": other_blood,
        **(FAST if fast else {}),
    }  # fmt: skip


def _find(paths: list[Path], output: Path, settings: SegmentSettings, workers: int) -> Discovery | SliceSet:
    """The scans, or the slice set, under names that tell nothing where that is asked for."""
    from ctseg.inference.scans import find_scans
    from ctseg.io.private import deidentified
    from ctseg.io.slices import SliceSet

    with common.bar("Looking") as bar:
        found = find_scans(paths, workers=workers, progress=bar.update, without=output, nameless=settings.deidentify)
    return deidentified(found) if settings.deidentify and not isinstance(found, SliceSet) else found


def _finish(results: list[CaseResult], output: Path) -> None:
    """How many scans are segmented; exit code 1 where some failed."""
    done = sum(item.status == "ok" for item in results)
    common.say(f"{done} of {len(results)} scans -> {output / 'volumes.csv'}")
    if done < len(results):
        raise typer.Exit(1)


def _loaded(runs: list[ModelSource], device: str, settings: SegmentSettings) -> tuple[list[ModelGroup], BrainExtractor]:
    """The models on their device and in their engine, and the brain extractor they were trained with."""
    from ctseg.api import load_for_segment
    from ctseg.inference.engines import in_engine
    from ctseg.training.device import torch_device

    place = str(torch_device(device))
    groups, extractor = load_for_segment(
        runs, place, common.registry(), other_blood=settings.other_blood, say=common.warn
    )
    return in_engine(groups, settings), extractor


def _computing_in(
    precision: str, overrides: list[str], groups: list[ModelGroup], settings: SegmentSettings
) -> SegmentSettings:
    """The settings with the arithmetic that `--precision` means for these models; `--set precision=` goes before it."""
    from ctseg.inference.engines import check_engine
    from ctseg.inference.precision import chosen_precision
    from ctseg.settings import parse_overrides

    if "precision" not in parse_overrides(overrides):
        settings = settings.model_copy(update={"precision": chosen_precision(precision, groups)})
    check_engine(settings)
    return settings


def _guarded_cache(path: Path, place: Output, reads: tuple[Path | str, ...]) -> Output:
    """The folder of brain masks, which is not the output, nor lies in it.

    Raises:
        SettingError: naming the folder.
    """
    from ctseg.errors import SettingError

    cache = common.guard(path, "segment --brain-cache", reads, resume=True)
    if place.real in (cache.real, *cache.real.parents):
        raise SettingError(f"--brain-cache {path}: is, or lies in, the output {place.path}; choose another folder")
    return cache


def _cached(
    extractor: BrainExtractor, preprocessing: PreprocessSettings, cache: Output | None, settings: SegmentSettings
) -> BrainExtractor:
    """The extractor with a cache on disk, where one is wanted."""
    if cache is None:
        return extractor
    from ctseg.inference.brain_cache import BrainMaskCache
    from ctseg.outputs import shared_folder

    shared_folder(cache, ("*.npz",))
    version = common.registry().get("brain_extractor", preprocessing.brain_extractor).version
    coarse = " coarse" if settings.coarse_brain else ""
    return BrainMaskCache(extractor, cache.path, preprocessing, f"{version}{coarse}")


def _segment_set(
    slices: SliceSet,
    groups: list[ModelGroup],
    place: Output,
    settings: SegmentSettings,
    as_json: bool,
) -> list[CaseResult]:
    from ctseg.cli.case_rows import case_rows
    from ctseg.inference.slice_set import segment_slices, slices_by_case

    with case_rows(list(slices_by_case(slices, deidentify=settings.deidentify)), as_json=as_json) as rows:
        return segment_slices(slices, groups, place, settings, on_case=rows.add)


def _segment_scans(
    found: Discovery,
    groups: list[ModelGroup],
    place: Output,
    settings: SegmentSettings,
    scheduler: str,
    as_json: bool,
    options: dict[str, Any],
) -> list[CaseResult]:
    """Say what was left out, but for broken files, which become failed rows; then segment."""
    from ctseg.cli.case_rows import case_rows
    from ctseg.inference.segment import segment_cases, unreadable_rows

    for item in found.rejected:
        if not item.broken:
            common.say(f"left out: {item}")
    for line in found.about_ignored():
        common.say(line)
    unreadable = unreadable_rows([item for item in found.rejected if item.broken])
    names = [*(case.case_id for case in found.cases), *(row.case for row in unreadable)]
    with common.executor(scheduler) as executor, case_rows(names, as_json=as_json) as rows:
        return segment_cases(
            found.cases, groups, place, settings, executor=executor, unreadable=unreadable, on_case=rows.add, **options
        )
