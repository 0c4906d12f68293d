"""`ctseg finetune`: supervised training with k folds by patient (Table 5)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common, completion
from ctseg.cli.model_names import find_run
from ctseg.cli.training_options import From, Preset, RunFolder
from ctseg.errors import SettingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ctseg.cli.warm_start import Start
    from ctseg.io.slices import SliceSet
    from ctseg.outputs import Output
    from ctseg.plugins.host import Entry
    from ctseg.training.settings import FinetuneSettings


def add_to(app: typer.Typer) -> None:
    """Join the application."""
    app.command("finetune")(finetune)


def finetune(
    data: Annotated[Path, typer.Option("--data", help="Labelled CT slice set; see `ctseg preprocess --masks`.")],
    output: RunFolder,
    start: From = None,
    segmenter: Annotated[
        str,
        typer.Option(
            "--segmenter",
            help="Segmenter; default: that of --from, or fcn.",
            autocompletion=completion.plugins_of("segmenter"),
        ),
    ] = "",
    folds: Annotated[int, typer.Option("--folds", min=2, help="Folds over patients.")] = 5,
    preset: Preset = "default",
    settings: common.Set = [],  # noqa: B006 - typer copies it
    seed: common.Seed = 0,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
    as_json: common.AsJson = False,
) -> None:
    """Train on labelled CT in folds (supervised); a network that was not trained on a patient segments it."""
    from ctseg.cli.launchers import refuse_several
    from ctseg.cli.training_options import machine_inputs
    from ctseg.io.input_digests import set_digests
    from ctseg.outputs import growing_folder
    from ctseg.runs import RUN_FILES, check_resume, start_run
    from ctseg.settings import parse_overrides
    from ctseg.training.resolve import recorded, schedule_note

    refuse_several("finetune")
    begin = None if start is None else find_run(start)
    given = parse_overrides(settings)
    place = common.guard(output, "finetune", (data, begin), overwrite=overwrite, resume=resume)
    entry, resolved, values = _resolve(segmenter, begin, preset, given, place)
    labelled = _labelled(data)

    from ctseg.segmentation.folds import check_folds, patient_folds, train_folds
    from ctseg.training.device import make_fabric
    from ctseg.training.outside import outside_training

    fabric = make_fabric(device, precision, 1, seed)
    check_folds(labelled, patient_folds(labelled, folds, seed), resolved)
    make, module, first = _maker(entry, values, begin, labelled, fabric, resolved)
    inputs = {"data": set_digests(labelled), **machine_inputs(fabric)}
    config = {**_config(entry, labelled, preset, seed, folds, _origin(first)), "inputs": inputs}
    seen = _say_labels_seen(first, labelled, inputs["data"])
    started = {**config, "settings": recorded(resolved)}
    if note := schedule_note(resolved, given):
        common.say(note)
    if resume:
        check_resume(output, started)  # before the folder is marked as unfinished
    with growing_folder(place, RUN_FILES, inputs), common.bar("finetune") as bar, outside_training(entry, module):
        start_run(output, started, overwrite=overwrite, resume=resume)
        summary = train_folds(
            labelled, make, resolved, output, fabric=fabric, header=_header(entry, values, labelled, config, first),
            folds=folds, seed=seed, resume=resume, progress=bar.update, start_saw=seen,
        )  # fmt: skip
    common.finish({**summary, "output": str(output)}, _lines(summary, entry.name, resolved, output), as_json)


def _labelled(data: Path) -> SliceSet:
    """The slice set, if it is labelled CT (else `InputError`); pseudo-CT is taken, and named as what it is."""
    from ctseg.io.slices import check_domain

    labelled = common.open_set(data)
    labelled.require_masks("finetune trains on labelled CT")
    check_domain(labelled, "ct", "--data")
    if labelled.info.get("pseudo"):
        common.say(f"note: --data {labelled.folder}: is pseudo-CT made of MR; no Dice of this call is one on CT")
    return labelled


def _resolve(
    segmenter: str, start: Path | None, preset: str, given: Mapping[str, Any], place: Output
) -> tuple[Entry, FinetuneSettings, dict[str, Any]]:
    """The segmenter's plugin, the training settings and the segmenter's own.

    Of a preset, only what supervised training has is used: no adversary, teacher, rule or painting.

    Raises:
        SettingError: if a setting is das-train's alone or has no effect, or if `--segmenter` is another network than
            `--from` holds.
    """
    from ctseg.cli.run_plugin import check_run_plugin
    from ctseg.cli.training_settings import checked_settings
    from ctseg.cli.warm_start import read_start
    from ctseg.plugins.needed import Needed, naming_versions, needed_entry
    from ctseg.training import presets
    from ctseg.training.settings import FinetuneSettings

    if place.resume:
        check_run_plugin(place.path)
    base: dict[str, Any] = dict(presets.preset(presets.ADAPTATION, preset))
    named: AbstractContextManager[None] = nullcontext()
    if segmenter and segmenter != base["segmenter"]:
        base |= {"segmenter": segmenter, "segmenter_settings": {}}
    if start is not None:
        _, header = read_start(start, "segmenter")
        if segmenter and header.name != segmenter:
            raise SettingError(f"--segmenter {segmenter}: {start} holds {header.name!r}; leave --segmenter out")
        base |= {"segmenter": header.name, "segmenter_settings": header.settings}
        made = Needed.of_header(header)
        named = naming_versions(needed_entry(common.registry(), made), made)
    with named:
        settings, entry, values = checked_settings(
            FinetuneSettings, base, given, ("segmenter", "segmenter"), "finetune", common.registry(), place.path
        )
    return entry, settings, values


def _maker(
    entry: Entry,
    values: dict[str, Any],
    start: Path | None,
    labelled: SliceSet,
    fabric: Fabric,
    settings: FinetuneSettings,
) -> tuple[Any, Any, Start | None]:
    """What makes the network of a fold, one of them, and where its first weights come from."""
    from ctseg.cli.warm_start import build, start_of, tried

    begin = None if start is None else start_of(start, entry, values)
    module = tried(entry, values, begin, labelled, fabric, settings)  # what does not fit is refused before writing
    return lambda: build(entry, values, begin), module, begin


def _origin(begin: Start | None) -> str:
    """`weights 0123456789ab`, a digest and no path, with the version of another plugin that made them."""
    if begin is None:
        return "nothing"
    version = begin.record.get("from_version")
    return f"{begin.record['from']}, made with {version}" if version else str(begin.record["from"])


def _say_labels_seen(begin: Start | None, labelled: SliceSet, data: Mapping[str, Any]) -> bool:
    """Whether `--from` has learnt from the masks of this very set; says so, or that it may have learnt from some."""
    from ctseg.runs import read_header

    if begin is None or not begin.record.get("ct_labels"):
        return False
    inputs = read_header(begin.path).training.get("inputs")
    sets = [item for item in (inputs if isinstance(inputs, dict) else {}).values() if isinstance(item, dict)]
    if any(item.get("masks") == data["masks"] and item.get("images") == data["images"] for item in sets):
        common.say(
            f"warning: --from {begin.path}: has learnt from the masks of {labelled.folder}; no Dice of this call is "
            "one on unseen patients"
        )
        return True
    common.say(
        f"note: --from {begin.path}: has learnt from labels of CT; patients of --data that were among them are seen"
    )
    return False


def _config(entry: Entry, labelled: SliceSet, preset: str, seed: int, folds: int, origin: str) -> dict[str, Any]:
    from ctseg.version import __version__

    return {
        "command": "finetune", "preset": preset, "seed": seed, "folds": folds, "from": origin,
        "tool": f"ctseg {__version__}",
        "plugin": {"kind": entry.kind, "name": entry.name, "package": entry.package, "version": entry.version},
        "data": {"labelled": {"folder": labelled.folder.resolve().name, **labelled.info["counts"]}},
    }  # fmt: skip


def _header(
    entry: Entry, values: dict[str, Any], labelled: SliceSet, config: dict[str, Any], begin: Start | None
) -> Any:
    """What each fold's weights say of themselves."""
    from ctseg.cli.training_options import ct_input
    from ctseg.runs import ModelHeader

    training = {key: config[key] for key in ("command", "preset", "seed", "from", "data", "inputs")}
    if not labelled.info.get("pseudo") or (begin is not None and begin.record.get("ct_labels")):
        training["ct_labels"] = True
    return ModelHeader(
        entry.kind, entry.name, values, entry.package, entry.version, ct_input(labelled), training
    )  # fmt: skip


def _lines(summary: dict[str, Any], name: str, settings: FinetuneSettings, output: Path) -> list[str]:
    from ctseg.cli.training_options import schedule

    overall = summary["overall"]
    pooled = "-" if overall["pooled"] is None else f"{100 * overall['pooled']:.2f} %"
    whom = "patients whom --from has learnt from" if summary.get("start_saw_patients") else "patients never trained on"
    return [
        f"segmenter {name!r}, supervised, {len(summary['by_fold'])} folds of {schedule(settings)}: pooled Dice "
        f"{pooled} on {whom} ({overall['volumes']} scans with a lesion, {overall['slices']} "
        f"slices) -> {output}"
    ]
