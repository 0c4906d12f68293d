"""The studies that lead to a row: what several rows share is a stage of its own, made once.

    data/seed-K -> [labelled/seed-K] -> synthesis/SYSTEM/seed-K -> [shuffled, lists] -> rows/ROW/seed-K

The phantom has a cohort for each seed; a user's own data are the same for all, and their `data`, `labelled` and the
like have no `seed-K`. Each stage is a folder with a `study.toml` of real commands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ctseg.errors import SettingError
from ctseg.files import read_json, write_json, write_text
from ctseg.outputs import remove_output
from ctseg.study import HASTE, read_study
from ctseg.training import presets
from ctseg.training.resolve import effective
from ctseg.training.settings import AdaptationSettings
from ctseg_reproduce.inputs import PHANTOM, Inputs
from ctseg_reproduce.scales import Scale, cohort_seed
from ctseg_reproduce.systems import (
    ROWS,
    SYNTHESIS,
    AnyRow,
    Finetuned,
    Row,
    adaptation_settings,
    segmenter_settings,
    synthesis_settings,
)

Step = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A folder below the reproduction's, the commands run in it, and the stages that must be there first."""

    folder: str
    steps: tuple[Step, ...]
    needs: tuple[Stage, ...] = ()
    recipe: str = ""
    """A digest of what the steps' preset stands for: one that has changed makes another stage of the same words."""

    @cached_property
    def key(self) -> str:
        """A digest of all that leads to its results."""
        telling = [{key: value for key, value in step.items() if key not in HASTE} for step in self.steps]
        parts = [telling, [stage.key for stage in self.needs], *([self.recipe] if self.recipe else [])]
        return sha256(json.dumps(parts).encode()).hexdigest()[:16]


DATA = "data"
PAIRS = {"source": "pairs.csv", "target": "pairs-stage2.csv"}
LABELLED, LABELLED_TRAIN, EVERY_SLICE = "labelled", "labelled-train", "every-slice"
SETS = {LABELLED: "ct-test", LABELLED_TRAIN: "ct-train", EVERY_SLICE: "ct"}
"""Slice sets of whole scans: stage -> its output."""
BRAINS = "brains"
"""The test scans of a seed are the same for every row, and so are their brains."""


@dataclass(frozen=True)
class Plan:
    """Makes the stages of rows at one scale."""

    scale: Scale
    inputs: Inputs = PHANTOM
    device: str = "auto"
    workers: int = 2
    precision: str = "auto"
    """Arithmetic of the trainings and of the translation."""

    def row(self, row: AnyRow, seed: int) -> Stage:
        """The last stage of a row: it trains, and segments and evaluates or cross-validates."""
        return self._finetuned(row, seed) if isinstance(row, Finetuned) else self._trained(row, seed)

    def can_run(self, row: AnyRow) -> bool:
        """Whether the data for it are there: the supervised row needs labels of the target's patients."""
        return bool(self.inputs.train) or not (isinstance(row, Row) and row.source == "ct")

    def cohort(self, seed: int) -> int | None:
        """Seed of the phantom cohort that a row's seed has; None for a user's own data."""
        return cohort_seed(seed) if self.inputs == PHANTOM else None

    def folder(self, name: str, seed: int) -> str:
        """Where what belongs to the data of a seed lies: each cohort has a folder of its own."""
        return f"{name}/seed-{seed}" if self.inputs == PHANTOM else name

    def data(self, seed: int) -> Stage:
        """Slice sets and pairs; the phantom and its sets first, where the user has no data of their own."""
        folder, inputs = self.folder(DATA, seed), self.inputs.of_seed(seed)
        sets = {"src": _path(inputs.source, folder), "tgt": _path(inputs.target, folder)}
        match = [
            {"name": f"match by {way}", "command": "match", **sets, "direction": way, "output": path}
            for way, path in PAIRS.items()
        ]
        return Stage(folder, (*(self._cohort(seed) if self.inputs == PHANTOM else ()), *match))

    def _pairs(self, way: str, seed: int) -> str:
        return f"{self.folder(DATA, seed)}/{PAIRS[way]}"

    def _cohort(self, seed: int) -> list[Step]:
        scale = self.scale
        sets = {"command": "preprocess", "size": scale.size, "workers": self.workers}
        split = {"split": scale.split} if scale.split else {}
        return [
            {"name": "phantom", "command": "phantom", "output": "phantom", **scale.cohort,
             "seed": cohort_seed(seed), "set": dict(scale.phantom), "workers": self.workers},
            {"name": "preprocess MR", **sets, "input": "phantom/Task01_BrainTumour", "output": "sets/mr",
             "slices": scale.slices, **split},
            {"name": "preprocess CT", **sets, "input": "phantom/rsna/stage_2_train", "output": "sets/ct",
             "labels": "phantom/rsna/stage_2_train.csv", "select": "intraparenchymal"},
        ]  # fmt: skip

    def labelled(self, seed: int) -> Stage:
        """The test patients as a labelled slice set, for Table 5 and the study of the rules."""
        inputs = self.inputs.of_seed(seed)
        return self._whole_scans(LABELLED, seed, inputs.test, inputs.truth)

    def labelled_train(self, seed: int) -> Stage:
        """The target's patients as a labelled slice set, for the supervised row and the study of the rules.

        Raises:
            SettingError: if the user's own data came without their scans and masks.
        """
        if not self.inputs.train:
            raise SettingError(
                "the supervised row needs labelled scans of the target's patients: name them with --train and "
                "--train-truth, or name the other rows with --rows"
            )
        inputs = self.inputs.of_seed(seed)
        return self._whole_scans(LABELLED_TRAIN, seed, inputs.train, inputs.train_truth)

    def every_slice(self, seed: int) -> Stage:
        """The target's patients with all their slices, chosen by no label: for `plus`."""
        return self._whole_scans(EVERY_SLICE, seed, self.inputs.of_seed(seed).train)

    def set_path(self, name: str, seed: int) -> str:
        """Where one of `SETS` lies."""
        return f"{self.folder(name, seed)}/{SETS[name]}"

    def _whole_scans(self, name: str, seed: int, scans: str, masks: str = "") -> Stage:
        folder, what = self.folder(name, seed), "labelled CT" if masks else "every slice"
        step = {
            "name": f"preprocess {what}", "command": "preprocess", "input": _path(scans, folder),
            **({"masks": _path(masks, folder)} if masks else {}), "output": SETS[name], "domain": "ct",
            "size": self.scale.size, "workers": self.workers,
        }  # fmt: skip
        return Stage(folder, (step,), (self.data(seed),))

    def lists(self, seed: int) -> Stage:
        """The source sets of Table 4."""
        folder = f"lists/seed-{seed}"
        step = {
            "name": "source lists", "command": "source-lists", "src": _path(self.inputs.of_seed(seed).source, folder),
            "pairs": _path(self._pairs("target", seed), folder), "output": "lists", "seed": seed,
        }  # fmt: skip
        return Stage(folder, (step,), (self.data(seed),))

    def synthesis(self, name: str, seed: int) -> Stage:
        """Stage 1 of a system, and its pseudo-CT."""
        system, folder = SYNTHESIS[name], f"synthesis/{name}/seed-{seed}"
        inputs = self.inputs.of_seed(seed)
        source = _path(inputs.source, folder)
        pairs = {"pairs": _path(self._pairs("source", seed), folder)} if system.matched else {}
        generator = {"generator": system.generator} if system.generator != "amd" else {}
        train = {
            "name": "synth-train", "command": "synth-train", "src": source, "tgt": _path(inputs.target, folder),
            **pairs, **generator, "output": "run", **self._training(seed, synthesis_settings(system, self.scale)),
        }  # fmt: skip
        translate = {
            "name": "synthesize", "command": "synthesize", "model": "run", "src": source, "output": "pseudo-ct",
            **self._machine(),
        }  # fmt: skip
        return Stage(folder, (train, translate), (self.data(seed),), self._recipe(presets.SYNTHESIS))

    def shuffled(self, labelled: str, made_by: Stage, name: str, seed: int) -> Stage:
        """A slice set with shuffled labels, for the control."""
        folder = f"shuffled/{name}/seed-{seed}"
        step = {
            "name": "shuffle labels", "command": "shuffle-labels", "src": _path(labelled, folder), "output": "set",
            "seed": seed,
        }  # fmt: skip
        return Stage(folder, (step,), (made_by,))

    def _training(self, seed: int, settings: dict[str, Any]) -> Step:
        return {"preset": self.scale.preset, "seed": seed, **self._machine(), "set": settings}

    def _effective(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Without what has no effect beside the rest, as the delay of a part that a row leaves out."""
        return effective(AdaptationSettings, presets.preset(presets.ADAPTATION, self.scale.preset), settings)

    def _machine(self) -> Step:
        """Device and precision; a precision that is not asked for is not named, so that older folders stay done."""
        return {"device": self.device, **({} if self.precision == "auto" else {"precision": self.precision})}

    def _trained(self, row: Row, seed: int) -> Stage:
        folder, needs = f"rows/{row.name}/seed-{seed}", [self.data(seed)]
        inputs = self.inputs.of_seed(seed)
        source, target = inputs.source, inputs.target
        if row.every_slice and inputs.train:
            needs.append(self.every_slice(seed))
            target = self.set_path(EVERY_SLICE, seed)
        if row.source == "ct":
            needs.append(self.labelled_train(seed))
            source = self.set_path(LABELLED_TRAIN, seed)
        elif row.source != "mr":
            needs.append(self.synthesis(row.source, seed))
            source = f"{needs[-1].folder}/pseudo-ct"
        if row.shuffled:
            needs.append(self.shuffled(source, needs[-1], row.source, seed))
            source = f"{needs[-1].folder}/set"
        chosen: Step = {}
        if row.source_list:
            needs.append(self.lists(seed))
            chosen = {"source_list": _path(f"{needs[-1].folder}/lists/{row.source_list}.txt", folder)}
        segmenter = {"segmenter": row.segmenter} if row.segmenter != "fcn" else {}
        train = {
            "name": "das-train", "command": "das-train", "src": _path(source, folder),
            "tgt": _path(target, folder), **chosen, **segmenter, "output": "run",
            **self._training(seed, self._effective(adaptation_settings(row, self.scale))),
        }  # fmt: skip
        return Stage(folder, (train, *self._tested(folder, seed)), tuple(needs), self._recipe(presets.ADAPTATION))

    def _tested(self, folder: str, seed: int) -> tuple[Step, Step]:
        inputs = self.inputs.of_seed(seed)
        labels = {"labels": _path(inputs.labels, folder)} if inputs.labels else {}
        return (
            {"name": "segment", "command": "segment", "input": _path(inputs.test, folder), "model": "run",
             "brain_cache": _path(self.folder(BRAINS, seed), folder), "output": "masks", "device": self.device,
             "workers": self.workers, "set": {"dicom_seg": False, "preview": False}},
            {"name": "evaluate", "command": "evaluate", "pred": "masks", "ref": _path(inputs.truth, folder),
             **labels, "output": "evaluation"},
        )  # fmt: skip

    def _finetuned(self, row: Finetuned, seed: int) -> Stage:
        folder, needs, data = f"rows/{row.name}/seed-{seed}", [self.labelled(seed)], self.set_path(LABELLED, seed)
        start: Step = {}
        if row.start:
            needs.append(self._start(row.start, seed))
            start = {"from": _path(f"{needs[-1].folder}/run", folder)}
        if row.shuffled:
            needs.append(self.shuffled(self.set_path(LABELLED, seed), needs[0], "labelled", seed))
            data = f"{needs[-1].folder}/set"
        settings = {**self.scale.supervised, **({} if start else segmenter_settings(row.segmenter, self.scale))}
        segmenter = {"segmenter": row.segmenter} if row.segmenter != "fcn" else {}
        step = {
            "name": "finetune", "command": "finetune", "data": _path(data, folder), **start, **segmenter,
            "folds": self.scale.folds, "output": "run", **self._training(seed, settings),
        }  # fmt: skip
        return Stage(folder, (step,), tuple(needs), self._recipe(presets.ADAPTATION))

    def _recipe(self, stage: dict[str, dict[str, Any]]) -> str:
        values = presets.preset(stage, self.scale.preset)
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def _start(self, name: str, seed: int) -> Stage:
        """The stage that a start comes from; one that is no row of a table is trained only."""
        row = ROWS[name]
        if isinstance(row, Row) and row.segmenter != "fcn":
            stage = self._trained(row, seed)
            return replace(stage, steps=stage.steps[:1])
        return self.row(row, seed)


def _path(path: str, folder: str) -> str:
    """A path as the study in `folder` names it: relative to it, unless it is absolute."""
    return path if Path(path).is_absolute() else os.path.relpath(path, folder)


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """These stages and all they need, each once, needs first."""
    found: dict[str, Stage] = {}
    for stage in stages:
        for item in (*in_order(stage.needs), stage):
            found.setdefault(item.folder, item)
    return list(found.values())


def run_stage(root: Path, stage: Stage, execute: Callable[[Path], int]) -> int:
    """Write a stage's study and run what is not done of it; all of it where something it rests on has changed.

    Args:
        root: the reproduction's folder.
        stage: what to run.
        execute: runs a study file and returns its exit code.
    """
    folder = root / stage.folder
    known = folder / "stage.json"
    if known.exists() and read_json(known).get("key") != stage.key:
        _clear(folder)
    study = write_text(folder / "study.toml", study_text(stage))
    write_json(known, {"key": stage.key, "needs": [item.folder for item in stage.needs]})
    return execute(study)


@contextmanager
def alone(root: Path, stage: Stage, say: Callable[[str], object] = str) -> Iterator[None]:
    """Hold the stage against other calls that work in this reproduction; the lock ends with its process."""
    folder = root / stage.folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"== {stage.folder}: another call is making it; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Remove what the commands of a stage wrote, and the memory of them; nothing else that lies there."""
    study = read_study(folder / "study.toml")
    for step in study.steps:
        output = folder / step.output
        if output.is_dir():
            remove_output(output)
        else:
            output.unlink(missing_ok=True)
    study.state_path.unlink(missing_ok=True)


def study_text(stage: Stage) -> str:
    """The stage as a study file."""
    import tomli_w

    steps = [{key: value for key, value in step.items() if value != {}} for step in stage.steps]
    rests = f"# Rests on: {', '.join(item.folder for item in stage.needs)}.\n" if stage.needs else ""
    return f"# Made by `ctseg reproduce`; run it again with `ctseg run study.toml`.\n{rests}\n" + tomli_w.dumps(
        {"step": steps}
    )


def seconds_of(root: Path, stage: Stage) -> float:
    """How long the steps of a stage and of all it needs took."""
    total = 0.0
    for item in in_order([stage]):
        state = root / item.folder / "study.state.json"
        records = read_json(state).values() if state.exists() else ()
        total += sum(float(record.get("seconds", 0.0)) for record in records)
    return total


def is_done(root: Path, stage: Stage) -> bool:
    """Whether every step of the stage, as it is now, came through."""
    folder = root / stage.folder
    known, state = folder / "stage.json", folder / "study.state.json"
    if not (known.exists() and state.exists()) or read_json(known).get("key") != stage.key:
        return False
    records = read_json(state)
    return all(records.get(step["name"], {}).get("done") and (folder / step["output"]).exists() for step in stage.steps)
