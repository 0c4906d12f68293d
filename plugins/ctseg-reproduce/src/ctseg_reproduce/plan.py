"""Which stages lead to a row: what several rows share is a stage of its own, made once.

    data/seed-K -> [labelled/seed-K] -> synthesis/SYSTEM/seed-K -> [shuffled, source-subsets] -> rows/ROW/seed-K

The phantom has a cohort for each seed. A user's own data are the same for all seeds, and their `data`, `labelled` and
the like have no `seed-K`. What a preset other than the scale's own changes lies below a folder of the preset's name,
and what rests on another window of HU below one of the window's.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ctseg.errors import SettingError
from ctseg.training import presets
from ctseg.training.resolve import effective
from ctseg.training.settings import AdaptationSettings
from ctseg_reproduce.inputs import PHANTOM, Inputs
from ctseg_reproduce.scales import Scale, cohort_seed
from ctseg_reproduce.stages import Stage, Step
from ctseg_reproduce.systems import (
    ROWS,
    SYNTHESIS,
    AnyRow,
    Finetuned,
    LocationPrior,
    Row,
    adaptation_settings,
    needs_scans,
    segmenter_settings,
    synthesis_settings,
)
from ctseg_reproduce.whole_head import WHOLE_HEAD

DATA = "data"
PAIRS = {"source": "pairs.csv", "target": "pairs-stage2.csv"}
LABELLED, LABELLED_TRAIN, EVERY_SLICE = "labelled", "labelled-train", "every-slice"
TARGET = "target"
SETS = {LABELLED: "ct-test", LABELLED_TRAIN: "ct-train", EVERY_SLICE: "ct", WHOLE_HEAD: "ct", TARGET: "ct"}
"""Slice sets of whole scans: stage -> its output."""
BRAIN_MASKS = "brain-masks"
"""The test scans of a seed are the same for every row, and so are their brain masks."""


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
        if isinstance(row, LocationPrior):
            return self._location_prior(row, seed)
        return self._finetuned(row, seed) if isinstance(row, Finetuned) else self._trained(row, seed)

    def can_run(self, row: AnyRow) -> bool:
        """Whether the data for it are there: some rows need scans of the target's patients, or their labels."""
        if self.scale.window and not isinstance(row, LocationPrior):
            return bool(self.inputs.train)
        return bool(self.inputs.train) or not (isinstance(row, Row) and (row.source == "ct" or needs_scans(row)))

    def place(self, folder: str) -> str:
        """A stage's folder: below that of the preset where it is not the scale's own, and of another window."""
        return "/".join(part for part in (self.scale.variant, self.windowed(folder)) if part)

    def windowed(self, folder: str) -> str:
        """Where what holds CT slices lies, whatever the preset: below the folder of another window."""
        return "/".join(part for part in (self.scale.window_folder, folder) if part)

    def cohort(self, seed: int) -> int | None:
        """Seed of the phantom cohort that a row's seed has; None for a user's own data."""
        return cohort_seed(seed) if self.inputs == PHANTOM else None

    def folder(self, name: str, seed: int) -> str:
        """Where what belongs to the data of a seed lies: each cohort has a folder of its own."""
        return f"{name}/seed-{seed}" if self.inputs == PHANTOM else name

    def data(self, seed: int) -> Stage:
        """Slice sets and pairs; the phantom and its sets first, where the user has no data of their own."""
        folder, inputs = self.folder(DATA, seed), self.inputs.of_seed(seed)
        match = _match(_path(inputs.source, folder), _path(inputs.target, folder))
        return Stage(folder, (*(self._cohort(seed) if self.inputs == PHANTOM else ()), *match))

    def target(self, seed: int) -> tuple[str, Stage]:
        """The unlabelled CT slice set, and the stage that makes it, which also matches it with the source.

        Raises:
            SettingError: if another window is asked for, and the user's own data came without their scans.
        """
        if not self.scale.window:
            return self.inputs.of_seed(seed).target, self.data(seed)
        stage = self._chosen_slices(TARGET, seed, "--window")
        match = _match(_path(self.inputs.of_seed(seed).source, stage.folder), SETS[TARGET])
        return self.set_path(TARGET, seed), replace(stage, steps=(*stage.steps, *match))

    def _pairs(self, direction: str, seed: int) -> str:
        return f"{self.target(seed)[1].folder}/{PAIRS[direction]}"

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
        """The test patients as a labelled slice set, for Table 5, the location prior and the selection study."""
        inputs = self.inputs.of_seed(seed)
        return self._whole_scans(LABELLED, seed, inputs.test, inputs.truth)

    def labelled_train(self, seed: int) -> Stage:
        """The target's patients as a labelled slice set, for the supervised row and the study of the selection rules.

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

    def with_skull(self, row: Row, seed: int) -> Stage:
        """The target's slices with the skull: those chosen for the phantom, else every one.

        Raises:
            SettingError: if the user's own data came without their scans.
        """
        stage = self._chosen_slices(WHOLE_HEAD, seed, row.name)
        return replace(stage, steps=({**stage.steps[0], "brain": row.brain_extractor},))

    def _chosen_slices(self, name: str, seed: int, wanted_by: str) -> Stage:
        """CT slices made again from the target's scans, chosen as the target's own were where that is known."""
        if not self.inputs.train:
            raise SettingError(
                f"{wanted_by} needs scans of the target's patients: name them with --train and --train-truth, or "
                + ("leave it out" if wanted_by.startswith("-") else "name the other rows with --rows")
            )
        stage = self._whole_scans(name, seed, self.inputs.of_seed(seed).train)
        labels = self.inputs.of_seed(seed).train_labels
        chosen = {"labels": _path(labels, stage.folder), "select": "intraparenchymal"} if labels else {}
        return replace(stage, steps=({**stage.steps[0], **chosen},))

    def set_path(self, name: str, seed: int) -> str:
        """Where one of `SETS` lies."""
        return f"{self.windowed(self.folder(name, seed))}/{SETS[name]}"

    def _whole_scans(self, name: str, seed: int, scans: str, masks: str = "") -> Stage:
        folder, what = self.windowed(self.folder(name, seed)), "labelled CT" if masks else "every slice"
        step = {
            "name": f"preprocess {what}", "command": "preprocess", "input": _path(scans, folder),
            **({"masks": _path(masks, folder)} if masks else {}), "output": SETS[name], "domain": "ct",
            "size": self.scale.size, **({"window": self.scale.window} if self.scale.window else {}),
            "workers": self.workers,
        }  # fmt: skip
        return Stage(folder, (step,), (self.data(seed),))

    def source_subsets(self, seed: int) -> Stage:
        """The source sets of Table 4."""
        folder = self.windowed(f"source-subsets/seed-{seed}")
        step = {
            "name": "source subsets", "command": "source-subsets",
            "src": _path(self.inputs.of_seed(seed).source, folder),
            "pairs": _path(self._pairs("target", seed), folder), "output": "subsets", "seed": seed,
        }  # fmt: skip
        return Stage(folder, (step,), (self.target(seed)[1],))

    def synthesis(self, name: str, seed: int) -> Stage:
        """Stage 1 of a system, and its pseudo-CT."""
        system, folder = SYNTHESIS[name], self.place(f"synthesis/{name}/seed-{seed}")
        source = _path(self.inputs.of_seed(seed).source, folder)
        target, made_by = self.target(seed)
        pairs = {"pairs": _path(self._pairs("source", seed), folder)} if system.matched else {}
        generator = {"generator": system.generator} if system.generator != "amd" else {}
        train = {
            "name": "synth-train", "command": "synth-train", "src": source, "tgt": _path(target, folder),
            **pairs, **generator, "output": "run", **self._training(seed, synthesis_settings(system, self.scale)),
        }  # fmt: skip
        translate = {
            "name": "synthesize", "command": "synthesize", "model": "run", "src": source, "output": "pseudo-ct",
            **self._machine(),
        }  # fmt: skip
        return Stage(folder, (train, translate), (made_by,), self._preset_digest(presets.SYNTHESIS))

    def shuffled(self, labelled: str, made_by: Stage, name: str, seed: int) -> Stage:
        """A slice set with shuffled labels, for the control."""
        folder = self.place(f"shuffled/{name}/seed-{seed}")
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
        """Device and precision; a precision that is not asked for is not named."""
        return {"device": self.device, **({} if self.precision == "auto" else {"precision": self.precision})}

    def _trained(self, row: Row, seed: int) -> Stage:
        folder = self.row_folder(row, seed)
        source, needs = self._source(row, seed)
        target, more = self._target(row, seed)
        needs += more
        chosen: Step = {}
        if row.source_subset:
            needs.append(self.source_subsets(seed))
            chosen = {"source_list": _path(f"{needs[-1].folder}/subsets/{row.source_subset}.txt", folder)}
        if row.matched_pairs:
            chosen["pairs"] = _path(self._pairs("target", seed), folder)
        segmenter = {"segmenter": row.segmenter} if row.segmenter != "fcn" else {}
        train = {
            "name": "das-train", "command": "das-train", "src": _path(source, folder),
            "tgt": _path(target, folder), **chosen, **segmenter, "output": "run",
            **self._training(seed, self._effective(adaptation_settings(row, self.scale))),
        }  # fmt: skip
        return Stage(
            folder, (train, *self._tested(folder, seed)), tuple(needs), self._preset_digest(presets.ADAPTATION)
        )

    def row_folder(self, row: AnyRow, seed: int) -> str:
        """Where a row of a seed lies; one without a network is the same for every preset."""
        folder = f"rows/{row.name}/seed-{seed}"
        return self.windowed(folder) if isinstance(row, LocationPrior) else self.place(folder)

    def _source(self, row: Row, seed: int) -> tuple[str, list[Stage]]:
        """The labelled slice set that a row is trained on, and the stages that make it."""
        source, needs = self.inputs.of_seed(seed).source, [self.data(seed)]
        if row.source == "ct":
            needs.append(self.labelled_train(seed))
            source = self.set_path(LABELLED_TRAIN, seed)
        elif row.source != "mr":
            needs.append(self.synthesis(row.source, seed))
            source = f"{needs[-1].folder}/pseudo-ct"
        if row.shuffled:
            needs.append(self.shuffled(source, needs[-1], row.source, seed))
            source = f"{needs[-1].folder}/set"
        return source, needs

    def _target(self, row: Row, seed: int) -> tuple[str, list[Stage]]:
        """The unlabelled slice set of a row, and the stages that make it where it is not the data's own."""
        if needs_scans(row):
            return self.set_path(WHOLE_HEAD, seed), [self.with_skull(row, seed)]
        if row.every_slice and self.inputs.train:
            return self.set_path(EVERY_SLICE, seed), [self.every_slice(seed)]
        target, made_by = self.target(seed)
        return target, [made_by] if self.scale.window else []

    def _location_prior(self, row: LocationPrior, seed: int) -> Stage:
        folder = self.row_folder(row, seed)
        step = {
            "name": "location prior", "command": "location-prior",
            "src": _path(self.inputs.of_seed(seed).source, folder),
            "data": _path(self.set_path(LABELLED, seed), folder), "output": "run",
        }  # fmt: skip
        return Stage(folder, (step,), (self.labelled(seed),))

    def _tested(self, folder: str, seed: int) -> tuple[Step, Step]:
        inputs = self.inputs.of_seed(seed)
        labels = {"labels": _path(inputs.labels, folder)} if inputs.labels else {}
        return (
            {"name": "segment", "command": "segment", "input": _path(inputs.test, folder), "model": "run",
             "brain_cache": _path(self.folder(BRAIN_MASKS, seed), folder), "output": "masks", "device": self.device,
             "workers": self.workers, "set": {"dicom_seg": False, "preview": False}},
            {"name": "evaluate", "command": "evaluate", "pred": "masks", "ref": _path(inputs.truth, folder),
             **labels, "output": "evaluation"},
        )  # fmt: skip

    def _finetuned(self, row: Finetuned, seed: int) -> Stage:
        folder, needs, data = self.row_folder(row, seed), [self.labelled(seed)], self.set_path(LABELLED, seed)
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
        return Stage(folder, (step,), tuple(needs), self._preset_digest(presets.ADAPTATION))

    def _preset_digest(self, stage: dict[str, dict[str, Any]]) -> str:
        values = presets.preset(stage, self.scale.preset)
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def _start(self, name: str, seed: int) -> Stage:
        """The stage that a start comes from; one that is no row of a table is trained only."""
        row = ROWS[name]
        if isinstance(row, Row) and row.segmenter != "fcn":
            stage = self._trained(row, seed)
            return replace(stage, steps=stage.steps[:1])
        return self.row(row, seed)


def _match(source: str, target: str) -> list[Step]:
    """Both directions of matching of two slice sets, named as the stage's folder sees them."""
    return [
        {"name": f"match by {direction}", "command": "match", "src": source, "tgt": target, "direction": direction,
         "output": path}
        for direction, path in PAIRS.items()
    ]  # fmt: skip


def _path(path: str, folder: str) -> str:
    """A path as the study in `folder` names it: relative to it, unless it is absolute."""
    return path if Path(path).is_absolute() else os.path.relpath(path, folder)
