"""`ctseg das-train`: stage 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common, completion
from ctseg.cli.model_names import find_run
from ctseg.cli.training_options import From, Pairs, Preset, RunFolder
from ctseg.errors import SettingError
from ctseg.training.presets import DEFAULT

if TYPE_CHECKING:
    from ctseg.cli.training_options import Stage


Segmenter = Annotated[
    str,
    typer.Option(
        "--segmenter", help="Segmenter; default: the preset's.", autocompletion=completion.plugins_of("segmenter")
    ),
]
Pretrained = Annotated[
    Path | None, typer.Option("--pretrained", help="File of published weights to start from: VGG-16's, for fcn.")
]


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("das-train")(das_train)


def das_train(
    source: common.Source,
    target: common.Target,
    output: RunFolder,
    pairs: Pairs = None,
    source_list: Annotated[
        Path | None, typer.Option("--source-list", help="Text file of slice_ids: train on these source slices only.")
    ] = None,
    preset: Preset = DEFAULT,
    segmenter: Segmenter = "",
    start: From = None,
    pretrained: Pretrained = None,
    settings: common.Set = [],  # noqa: B006 - typer copies it
    seed: common.Seed = 0,
    device: common.Device = "auto",
    devices: common.Devices = None,
    num_nodes: common.NumNodes = None,
    precision: common.Precision = "auto",
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Train a segmenter on labelled pseudo-CT (or MR) against unlabelled CT (stage 2, equations 18 to 23)."""
    from ctseg.cli import training_options
    from ctseg.cli.model_card import write_model_card
    from ctseg.cli.processes import join
    from ctseg.cli.run_report import write_run_report
    from ctseg.cli.training_settings import with_plugin
    from ctseg.training import presets
    from ctseg.training.settings import AdaptationSettings

    if start is not None and pretrained is not None:
        raise SettingError("--from and --pretrained both give the first weights; leave one out")
    team = join(output, device, precision, devices, num_nodes, seed)
    with team.agreed():
        begin = None if start is None else find_run(start)
        reads = (source, target, pairs, source_list, begin, pretrained)
        place = team.guard(output, "das-train", reads, overwrite=overwrite, resume=resume)
        base = with_plugin(presets.preset(presets.ADAPTATION, preset), "segmenter", segmenter)
        stage = training_options.prepare(
            "das-train", AdaptationSettings, base, settings,
            preset=preset, plugin=("segmenter", "segmenter"), sets=(source, target), pairs=pairs, seed=seed,
            place=place, start=begin,
        )  # fmt: skip

        from ctseg.segmentation.train import check_adaptation, train_adaptation

        stage = _normalised_as_it_is(_with_files(stage, pretrained, source_list), settings)
        rows = stage.source_list.rows if stage.source_list else None
        check_adaptation(*stage.sets, stage.pairs, stage.settings, source_rows=rows)
        _check_source(stage)
    with training_options.started(stage, place, team, (device, precision)) as ready:
        summary = train_adaptation(
            *stage.sets, stage.pairs, ready.module, stage.settings, output, source_rows=rows, **ready.options
        )
        if not team.writes:
            return
        report, card = write_run_report(output), write_model_card(output)
    lines = [_outcome(stage, summary, output, ready.ct_labels), *no_foreground_warning(output, summary)]
    common.finish({**summary, "output": str(output)}, [*lines, f"report: {report}", f"model card: {card}"], as_json)


def _with_files(stage: Stage, pretrained: Path | None, source_list: Path | None) -> Stage:
    """The stage with what two more options read.

    Raises:
        SettingError: if the first weights are given twice.
    """
    from ctseg.cli.training_options import read_source_list
    from ctseg.cli.warm_start import read_pretrained

    if pretrained is not None:
        if stage.start is not None:
            raise SettingError("--from and --pretrained both give the first weights; leave one out")
        stage = replace(stage, start=read_pretrained(pretrained))
    if source_list is not None:
        chosen = read_source_list(source_list, stage.sets[0], stage.settings.source_split)
        stage = replace(stage, source_list=chosen)
    return stage


def _normalised_as_it_is(stage: Stage, overrides: list[str]) -> Stage:
    """Without a preset's normalisation of MR and pseudo-CT, where the source is labelled CT; what is set stays."""
    from ctseg.cli.training_options import has_ct_labels
    from ctseg.settings import parse_overrides
    from ctseg.training.settings import SourceNormalisationSettings

    if not has_ct_labels(stage.sets[0]):
        return stage
    dropped = SourceNormalisationSettings.model_fields.keys() - parse_overrides(overrides).keys()
    return replace(stage, settings=stage.settings.model_copy(update=dict.fromkeys(dropped)))


def _outcome(stage: Stage, summary: dict[str, Any], output: Path, ct_labels: bool) -> str:
    """One line: what was trained, for how long, and what its labels were."""
    from ctseg.cli.training_options import schedule

    labels = "learnt from CT labels, here or in the weights it started from" if ct_labels else "without any CT label"
    note = f"chosen by {summary['selection']!r} at epoch {summary['selected_epoch']}, {labels}"
    return f"segmenter {stage.plugin.name!r}, {schedule(stage.settings)} ({note}) -> {output}"


def _check_source(stage: Stage) -> None:
    """Say what does not suit MR, and refuse to repaint lesions of real CT.

    Raises:
        SettingError: if the source is labelled CT and its lesions would be painted over.
    """
    from ctseg.cli.training_options import has_ct_labels
    from ctseg.training import presets
    from ctseg.training.resolve import recorded

    source, settings = stage.sets[0], stage.settings
    if settings.synthetic_haemorrhage and has_ct_labels(source):
        raise SettingError(
            f"das-train: synthetic_haemorrhage repaints lesions and labels, and {source.folder} is real labelled CT; "
            "add --set synthetic_haemorrhage=0"
        )
    if has_ct_labels(source):
        common.say(ct_labels_note(stage))
    if source.domain == "mr" and settings.freeze_batch_norm_from:
        used = recorded(settings)
        words = " ".join(f"--set {name}={value}" for name, value in presets.MR_SOURCE.items() if name in used)
        common.say(f"note: --src is MR, and preset {stage.preset!r} suits pseudo-CT; for MR add {words}")


def ct_labels_note(stage: Stage) -> str:
    """One line about a source of labelled CT: what is learnt from its outlines, and whose patients the target has."""
    (source, target), chosen = stage.sets, stage.source_list
    split = None if stage.settings.source_split == "all" else stage.settings.source_split
    rows = source.rows(split) if chosen is None else chosen.rows
    learnt = set(source.patients[rows])
    shared, all_of = len(learnt & set(target.patients)), len(set(target.patients))
    among = "no patient of --tgt is among them"
    if shared:
        among = f"{shared} of the {all_of} patients of --tgt are among them: no score is of new ones"
    return (
        f"note: --src {source.folder} is labelled CT: the outlines of {len(rows)} slices of {len(learnt)} patients are "
        f"learnt from, so the run is not unsupervised; {among}"
    )


def no_foreground_warning(output: Path, summary: dict[str, Any]) -> list[str]:
    """One line where the selected epoch's network segments nothing on the validation CT."""
    from ctseg.runs import read_metrics

    row = next((row for row in read_metrics(output) if row["epoch"] + 1 == summary["selected_epoch"]), {})
    if row.get("val_target_lesion_share") != 0:
        return []
    return ["warning: the selected network segments nothing on the validation CT; see docs/selection.md"]
