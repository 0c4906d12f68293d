"""What `synth-train` and `das-train` share: their options, checks before anything is written, and the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctseg.cli import common, completion
from ctseg.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ctseg.cli.processes import Team
    from ctseg.cli.warm_start import Start
    from ctseg.io.slices import SliceSet
    from ctseg.matching.pairs import PairTable
    from ctseg.outputs import Output
    from ctseg.plugins.host import Entry
    from ctseg.runs import ModelHeader
    from ctseg.training.settings import TrainingSettings

Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="default, plus, paper, released, smoke or demo; --set changes values.",
        autocompletion=completion.presets,
    ),
]
RunFolder = Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NAME|RUN",
        autocompletion=completion.model_names,
        help="Run or model (`ctseg models`) whose weights to start from, of the same network; default: untrained.",
    ),
]
Pairs = Annotated[Path | None, typer.Option("--pairs", help="pairs.csv of `ctseg match`.")]


@dataclass(frozen=True)
class SourceList:
    """The source slices that a list allows for training."""

    rows: NDArray[np.int64]
    """(n,) rows of the source set, ascending."""
    digest: str
    """Of the names, so that a run is not resumed with another list."""


@dataclass(frozen=True)
class Stage:
    """A training whose inputs have all been checked."""

    command: str
    preset: str
    seed: int
    settings: Any
    plugin: Entry
    plugin_settings: dict[str, Any]
    sets: tuple[SliceSet, SliceSet]
    pairs: PairTable | None
    source_list: SourceList | None = None
    start: Start | None = None
    pairs_file: Path | None = None


@dataclass(frozen=True)
class Ready:
    """The network to train and what the training function takes beside the data."""

    module: Any
    options: dict[str, Any]
    ct_labels: bool = False
    """Whether it learns from CT labels, or the weights it starts from did."""


def prepare(
    command: str,
    model: type[TrainingSettings],
    base: Mapping[str, Any],
    overrides: list[str],
    *,
    preset: str,
    plugin: tuple[str, str],
    sets: tuple[Path, Path],
    pairs: Path | None,
    seed: int,
    place: Output,
    start: Path | None = None,
) -> Stage:
    """Resolve settings and check every input before anything is written or torch is imported.

    Args:
        command: for messages and `config.toml`.
        model: the stage's settings.
        base: the preset's values.
        overrides: `--set` pairs.
        preset: its name.
        plugin: the plugin's kind and the setting that names it.
        sets: folders of source and target.
        pairs: `pairs.csv`, or None.
        seed: of the run.
        place: the run folder.
        start: a run to start from, or None.

    Raises:
        CtsegError: one line for whatever is wrong.
    """
    from ctseg.cli.run_plugin import check_run_plugin
    from ctseg.cli.training_settings import checked_settings
    from ctseg.cli.warm_start import read_start, start_of
    from ctseg.io.slices import check_same_size, check_target
    from ctseg.settings import parse_overrides
    from ctseg.training.resolve import schedule_note

    given, registry = parse_overrides(overrides), common.registry()
    if place.resume:
        check_run_plugin(place.path)
    if start is not None:
        read_start(start, plugin[0])  # says which package is missing, before the name is looked up
    settings, entry, values = checked_settings(model, base, given, plugin, command, registry, place.path)
    begin = None if start is None else start_of(start, entry, values)
    source, target = common.open_set(sets[0]), common.open_set(sets[1])
    check_target(target, source)
    source.require_masks("training needs labels on --src")
    check_same_size(source, target)
    paired = _pairs(settings, pairs, source, target, entry.kind)
    if note := schedule_note(settings, given):
        common.say(note)
    return Stage(
        command, preset, seed, settings, entry, values, (source, target), paired, start=begin,
        pairs_file=None if paired is None else pairs,
    )  # fmt: skip


def _pairs(settings: Any, path: Path | None, source: SliceSet, target: SliceSet, kind: str) -> PairTable | None:
    from ctseg.cli.training_settings import direction_of, require_pairs

    require_pairs(settings, path, kind)
    if path is None or not settings.matched:
        return None
    from ctseg.matching.pairs import read_pairs

    top = getattr(settings, "pairs_top", None)
    return read_pairs(path, source, target, top=top, direction=direction_of(kind))


@contextmanager
def started(
    stage: Stage,
    place: Output,
    team: Team,
    machine: tuple[str, str],
    check: Callable[[Any], None] | None = None,
) -> Iterator[Ready]:
    """Make the device, the network and the run folder, and show progress while the block trains.

    Args:
        stage: what to train.
        place: the run folder.
        team: the processes that train together.
        machine: device and precision.
        check: gets the network before anything is written and raises where the settings ask too much of it.
    """
    import torch

    from ctseg.cli import warm_start
    from ctseg.cli.resuming import check_checkpoint, same_batches
    from ctseg.runs import check_resume
    from ctseg.training.outside import outside_training

    with team.agreed():
        fabric = team.make_fabric(*machine, stage.seed)
        torch.manual_seed(stage.seed)  # draws the first weights
        module = warm_start.tried(
            stage.plugin, stage.plugin_settings, stage.start, stage.sets[1], fabric, stage.settings
        )
        if check is not None:
            check(module)
        config = {**config_of(stage), "inputs": {**stage_inputs(stage), **machine_inputs(fabric)}}
        if place.resume and stage.start is None and (place.path / "checkpoint.pt").exists():
            config |= warm_start.recorded(place.path)  # the checkpoint holds what became of those weights
        if place.resume:
            config = same_batches(place.path, config)
            check_resume(place.path, config)  # before the folder is marked as unfinished
            check_checkpoint(place.path)
    ct_labels = bool(config.get("ct_labels")) or has_ct_labels(stage.sets[0])
    with (
        team.ending_together(place.path),
        _run_folder(place, config, writes=team.writes) as resuming,
        common.bar(stage.command) as bar,
        outside_training(stage.plugin, module),
    ):
        header = _header(stage, config, ct_labels)
        options = {"fabric": fabric, "seed": stage.seed, "resume": resuming, "header": header, "progress": bar.update}
        yield Ready(module, options, ct_labels)


def _header(stage: Stage, config: dict[str, Any], ct_labels: bool) -> ModelHeader:
    """What the model's file will say, but for the outcome."""
    from ctseg.cli.warm_start import RECORDED
    from ctseg.runs import ModelHeader

    plugin = stage.plugin
    kept = ("command", "preset", "seed", "data", "inputs", *RECORDED)
    training = {key: config[key] for key in kept if key in config} | ({"ct_labels": True} if ct_labels else {})
    return ModelHeader(
        plugin.kind, plugin.name, stage.plugin_settings, plugin.package, plugin.version,
        ct_input(stage.sets[1]), training,
    )  # fmt: skip


@contextmanager
def _run_folder(place: Output, config: dict[str, Any], *, writes: bool) -> Iterator[bool]:
    """Hold the run folder while it is written; gives whether there is a checkpoint to resume from.

    Of a training's several processes, one writes.
    """
    from ctseg.outputs import growing_folder
    from ctseg.runs import RUN_FILES, start_run

    if not writes:
        yield place.resume and (place.path / "checkpoint.pt").exists()
        return
    with growing_folder(place, RUN_FILES, config["inputs"]):
        yield start_run(place.path, config, overwrite=place.overwrite, resume=place.resume)


def stage_inputs(stage: Stage) -> dict[str, Any]:
    """Digests of the slice sets and pairs that a training reads."""
    from ctseg.io.input_digests import set_digests

    source, target = (set_digests(item) for item in stage.sets)
    pairs = {} if stage.pairs is None else {"pairs": pairs_digest(stage.pairs, stage.pairs_file)}
    return {"source": source, "target": target, **pairs}


def pairs_digest(pairs: PairTable, file: Path | None) -> str:
    """Of the file; of the pairs themselves where they came through a pipe."""
    from hashlib import sha256

    from ctseg.io.input_digests import file_digest

    if file is not None and file.is_file():
        return file_digest(file)
    return sha256(b"".join(part.tobytes() for part in (pairs.sources, pairs.starts, pairs.targets))).hexdigest()[:12]


def machine_inputs(fabric: Any) -> dict[str, Any]:
    """What of the machine decides the numbers: the precision that is computed in, and how many processes train."""
    return {"precision": str(fabric.strategy.precision.precision), "devices": int(fabric.world_size)}


def schedule(settings: TrainingSettings) -> str:
    """The length of a training in words, as `12 epochs, the last 9 with the rate falling to 0`."""
    falling = f", the last {settings.decay_epochs} with the rate falling to 0"
    return counted(settings.total_epochs, "epoch") + (falling if settings.decay_epochs else "")


def has_ct_labels(source: SliceSet) -> bool:
    """Whether a labelled set holds labels of real CT: MR and pseudo-CT do not."""
    return source.domain == "ct" and not source.info.get("pseudo", False)


def config_of(stage: Stage) -> dict[str, Any]:
    """What `config.toml` holds: the settings in use and the data; folder names only, no absolute path."""
    from ctseg.training.resolve import recorded
    from ctseg.version import __version__

    plugin = stage.plugin
    return {
        "command": stage.command,
        "preset": stage.preset,
        "seed": stage.seed,
        "tool": f"ctseg {__version__}",
        "plugin": {"kind": plugin.kind, "name": plugin.name, "package": plugin.package, "version": plugin.version},
        "data": {
            name: {"folder": item.folder.resolve().name, **item.info["counts"]}
            for name, item in zip(("source", "target"), stage.sets, strict=True)
        }
        | _list_config(stage.source_list),
        "settings": recorded(stage.settings),
        **(stage.start.record if stage.start else {}),
    }


def read_source_list(path: Path, source: SliceSet, split: str) -> SourceList:
    """The slices of a list, one `slice_id` a line, that belong to `split` ('all': any).

    Raises:
        InputError: if the file is missing, names slices that the set does not have, or none of the split.
    """
    import hashlib

    import numpy as np

    from ctseg.cli.path_lists import read_lines
    from ctseg.errors import InputError

    names = sorted(set(read_lines(common.existing_path(path))))
    rows = np.sort(source.ids_to_rows(names, str(path)))
    rows = rows[np.isin(rows, source.rows(None if split == "all" else split))]
    if not len(rows):
        raise InputError(f"{path}: names no slice of split {split!r} of {source.folder}; make it from this slice set")
    return SourceList(rows, hashlib.sha256("\n".join(names).encode()).hexdigest()[:12])


def _list_config(chosen: SourceList | None) -> dict[str, Any]:
    return {} if chosen is None else {"source_list": {"slices": len(chosen.rows), "digest": chosen.digest}}


def ct_input(target: SliceSet) -> dict[str, Any]:
    """What a model must know to prepare a CT as its training slices were, and what the training scans were like."""
    from ctseg.inference.ood import training_profile

    return {
        "domain": "ct", "size": list(target.size),
        "intensity": target.info["intensity"], "preprocess": target.info["settings"],
        "profile": training_profile(target),
        **{key: target.info[key] for key in ("brain_extractor",) if key in target.info},
    }  # fmt: skip
