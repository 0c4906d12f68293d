"""Train a segmenter: the epoch loop of `das-train` and `finetune`, and stage 2 around it (equations 18 to 23)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
from torch import nn

from ctseg.errors import InputError, SettingError
from ctseg.io.slices import SliceSet, check_same_size
from ctseg.matching.pairs import PairTable
from ctseg.networks.intensity import to_images
from ctseg.networks.modes import frozen_batch_norm
from ctseg.outputs import run_folder
from ctseg.progress import ProgressCallback
from ctseg.render.curves import curves_png
from ctseg.runs import RUN_FILES, ModelHeader, save_model
from ctseg.segmentation.after_epoch import AfterEpoch, make_validation
from ctseg.segmentation.batch_norm import batch_norm_is_frozen, recalibrate
from ctseg.segmentation.batches import check_lesion_share, recalibration_batches, shows_lesion, source_batch
from ctseg.segmentation.source_checks import check_source
from ctseg.segmentation.steps import FOLLOWING, SegmenterTraining, make_training, play_step, training_step
from ctseg.segmentation.terms import Batch
from ctseg.selection.rules import CheckpointSelection, check_rule
from ctseg.selection.validation import choose_validation
from ctseg.training.loop import EpochLoop, LossMeter, Ticker, lr_factor, run_epochs, set_lr_factor, steps_of
from ctseg.training.sampling import Rows, SliceSampler, step_rng
from ctseg.training.settings import AdaptationSettings, SegmenterSettings

TARGET_DRAWS = 0x7EAC
"""Keeps the draws of the student's view apart from those of the source's augmentation."""


@dataclass(frozen=True)
class TrainingData:
    """What is trained on."""

    source: SliceSet
    """Labelled slices."""
    sampler: SliceSampler
    target: SliceSet | None = None
    """Unlabelled CT; None where no term looks at it."""


def train_epoch(
    training: SegmenterTraining, data: TrainingData, epoch: int, seed: int, ticker: Ticker
) -> dict[str, float]:
    """One epoch (from 0) of S and its terms; every random draw is a function of seed, epoch and step.

    Returns:
        Mean losses and the learning rate.
    """
    settings, device = training.settings, training.device
    factor = lr_factor(epoch, settings.epochs, settings.decay_epochs)
    set_lr_factor(training.optimisers, factor)
    for name, module in training.modules.items():
        module.train(name not in FOLLOWING)
    meter, is_frozen = LossMeter(epoch), batch_norm_is_frozen(settings, epoch)
    with frozen_batch_norm(training.segmenter, is_frozen):
        for step, source_rows, target_rows in steps_of(data.sampler, epoch, ticker):
            images, masks = source_batch(data.source, source_rows, settings, step_rng(seed, epoch, step), device)
            target = None if data.target is None else to_images(data.target.images[target_rows], device)
            batch = Batch(images, masks, target, np.random.default_rng([seed, epoch, step, TARGET_DRAWS]))
            if training.recorded is None:
                meter.add(training_step(training, batch, epoch))
            else:
                meter.add(play_step(training.recorded, batch, (factor, is_frozen)))
            training.follow(epoch * data.sampler.steps + step)
    if settings.recalibrate_batch_norm and not is_frozen:
        count = settings.recalibrate_batch_norm
        for network in training.source_networks:
            batches = recalibration_batches(
                data.source, data.sampler, settings, count, epoch=epoch, seed=seed, device=device
            )
            recalibrate(network, map(training.of_source, batches), training.autocast)
    return {**meter.means(), "lr": training.optimiser.param_groups[0]["lr"]}


def train_segmenter(
    training: SegmenterTraining,
    data: TrainingData,
    run: Path,
    *,
    fabric: lightning_fabric.Fabric,
    seed: int,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    selection: CheckpointSelection | None = None,
    after_epoch: Callable[[int], dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """All epochs of a training, with exact resume; the last weights are in `training`.

    Args:
        training: networks, optimisers and terms.
        data: what is trained on.
        run: an existing folder, which gets `metrics.jsonl` and `checkpoint.pt`.
        fabric: processes.
        seed: of every draw.
        resume: go on from the run's checkpoint.
        progress: called with (done, total, note) after every step.
        selection: kept in the checkpoint.
        after_epoch: epoch (from 0) -> what else its line of `metrics.jsonl` says; called by the process that writes.

    Returns:
        The rows of `metrics.jsonl`.

    Raises:
        TrainingError: if training diverges.
    """
    settings = training.settings
    ticker = Ticker(progress, settings.total_epochs)
    parts: dict[str, Any] = {"training": training} | ({} if selection is None else {"selection": selection})

    def run_epoch(epoch: int) -> dict[str, Any]:
        row: dict[str, Any] = dict(train_epoch(training, data, epoch, seed, ticker))
        return row | (after_epoch(epoch) if after_epoch is not None and fabric.is_global_zero else {})

    def restore(state: dict[str, Any]) -> None:
        for name, part in parts.items():
            part.load_state_dict(state[name])

    loop = EpochLoop(
        run=run,
        epochs=settings.total_epochs,
        train_epoch=run_epoch,
        state=lambda: {name: part.state_dict() for name, part in parts.items()},
        restore=restore,
        modules=training.modules,
        seed=seed,
        checkpoint_every=settings.checkpoint_every,
        writes=fabric.is_global_zero,
    )
    return run_epochs(loop, resume=resume, device=fabric.device)


def make_sampler(
    settings: SegmenterSettings,
    source: SliceSet,
    source_rows: Rows,
    target_rows: Rows,
    *,
    seed: int,
    fabric: lightning_fabric.Fabric,
    pairs: PairTable | None = None,
) -> SliceSampler:
    """Which rows meet in each step; with `pairs`, a source slice meets the targets it was matched with."""
    return SliceSampler(
        source_rows,
        target_rows,
        batch_size=settings.batch_size,
        seed=seed,
        candidates=None if pairs is None else pairs.candidates,
        steps_per_epoch=settings.steps_per_epoch,
        lesion_share=settings.lesion_share,
        lesions=shows_lesion(source, source_rows) if settings.lesion_share else None,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )


def train_adaptation(
    source: SliceSet,
    target: SliceSet,
    pairs: PairTable | None,
    segmenter: nn.Module,
    settings: AdaptationSettings,
    run: Path,
    *,
    fabric: lightning_fabric.Fabric,
    header: ModelHeader,
    seed: int = 0,
    resume: bool = False,
    validation_split: str = "val",
    source_rows: Rows | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train and adapt `segmenter`; leaves metrics, samples, curves, checkpoint and the selected weights in `run`.

    Args:
        source: labelled slices, MR or the pseudo-CT made of them.
        target: CT slices; if it has masks, they are not touched.
        pairs: for each target slice its most similar source slice (`ctseg match --direction target`), needed where
            `settings.matched`; the distinct source slices are the matched set (paper 3.2), and a source slice meets one
            of the target slices it was matched with.
        segmenter: a `ctseg.plugins.protocols.Segmenter`; training starts from its weights and leaves the selected ones.
        settings: without any term on the target, the target is read for validation and samples only.
        run: a run folder made by `ctseg.runs.start_run`, or an empty one.
        fabric: device and precision.
        header: what `model.safetensors` says; its `training` is completed by the outcome.
        seed: of everything random but the segmenter's first weights.
        resume: go on from the run's checkpoint.
        validation_split: the source split for rules that need one; patients trained on are left out.
        source_rows: train on these rows of the source only (Table 4); they must be of the training split.
        progress: called with (done, total, note) after every step.

    Returns:
        A summary with selection, scores and the last losses; nothing in a process that does not write.

    Raises:
        InputError: if the sets do not fit each other, the source is unlabelled, a split is empty, or `run` is an input.
        OutputExistsError: if `run` holds a training and `resume` is not set.
        SettingError: if pairs are missing or the selection rule cannot be used.
        TrainingError: if training diverges.
    """
    check_adaptation(source, target, pairs, settings, validation_split=validation_split, source_rows=source_rows)
    train_rows, target_rows = _training_rows(source, target, pairs, settings, source_rows)
    drawn = pairs if settings.matched else None
    sampler = make_sampler(settings, source, train_rows, target_rows, seed=seed, fabric=fabric, pairs=drawn)
    data = TrainingData(source, sampler, target if settings.uses_target else None)
    training = make_training(segmenter, settings, device=fabric.device, autocast=fabric.autocast, seed=seed)
    slices = choose_validation(_held_out(source, validation_split, train_rows), target_rows, seed)
    selection = CheckpointSelection(settings.selection)
    validation = make_validation(slices, source, target, training)
    after = AfterEpoch(settings, training, validation, selection, run, header, train_rows)
    reads = (source.folder, target.folder)
    with run_folder(run, RUN_FILES, inputs=reads, resume=resume, writes=fabric.is_global_zero):
        return _adapt(training, data, after, fabric=fabric, seed=seed, resume=resume, progress=progress)


def _adapt(
    training: SegmenterTraining, data: TrainingData, after: AfterEpoch, *, fabric: lightning_fabric.Fabric, **rest: Any
) -> dict[str, Any]:
    """Train in a run folder that is guarded, and write what is left there."""
    selection, header, epochs = after.selection, after.header, after.settings.total_epochs
    metrics = train_segmenter(
        training, data, after.run, fabric=fabric, selection=selection, after_epoch=after, **rest
    )  # fmt: skip
    if not fabric.is_global_zero:
        return {}
    outcome = {**_outcome(data.sampler, selection, epochs), **training.facts}
    _save(
        after.run, training.segmenter, selection, metrics,
        replace(header, training={**header.training, **outcome}),
    )  # fmt: skip
    return {**outcome, "losses": _last_losses(metrics)}


def _save(
    run: Path, segmenter: nn.Module, selection: CheckpointSelection, metrics: list[dict[str, Any]], header: ModelHeader
) -> None:
    """Curves, and the selected weights, which `segmenter` gets, too."""
    curves_png(run / "curves.png", metrics)
    segmenter.load_state_dict(selection.weights)
    save_model(run / "model.safetensors", segmenter, header)


def check_adaptation(
    source: SliceSet,
    target: SliceSet,
    pairs: PairTable | None,
    settings: AdaptationSettings,
    *,
    validation_split: str = "val",
    source_rows: Rows | None = None,
) -> None:
    """Refuse what `train_adaptation` would refuse, before a run folder is made.

    Raises:
        InputError: if the sets do not fit each other, the source is unlabelled or a split is empty.
        SettingError: if pairs are missing or the selection rule cannot be used.
    """
    check_same_size(source, target)
    source.require_masks("stage 2 trains on labelled source slices")
    check_source(source, target, settings)
    train_rows, _ = _training_rows(source, target, pairs, settings, source_rows)
    check_lesion_share(source, train_rows, settings)
    check_rule(
        settings.selection,
        has_discriminator=settings.lambda_adv > 0,
        has_source_validation=len(_held_out(source, validation_split, train_rows)) > 0,
    )


def _training_rows(
    source: SliceSet, target: SliceSet, pairs: PairTable | None, settings: AdaptationSettings, source_rows: Rows | None
) -> tuple[Rows, Rows]:
    rows = _rows(source, settings.source_split) if source_rows is None else np.asarray(source_rows)
    target_rows = _rows(target, settings.target_split)
    return matched_rows(pairs, rows, target_rows) if settings.matched else rows, target_rows


def _rows(slices: SliceSet, split: str) -> Rows:
    return slices.rows(None if split == "all" else split)


def _held_out(source: SliceSet, split: str, train_rows: Rows) -> Rows:
    """The validation split without patients that are trained on (as `source_split=all` does)."""
    patients = source.patients
    trained_on = np.isin(patients, patients[train_rows])
    return np.flatnonzero((source.table["split"] == split) & ~trained_on)


def matched_rows(pairs: PairTable | None, source_rows: Rows, target_rows: Rows) -> Rows:
    """The matched set: those of `source_rows` that are the nearest of some slice in `target_rows` (paper 3.2).

    Raises:
        SettingError: if there are no pairs.
        InputError: if none of them joins the two.
    """
    if pairs is None:
        raise SettingError(
            "das-train: matched=true needs pairs; make them with `ctseg match --direction target`, or add "
            "--set matched=false"
        )
    chosen = [row for row in source_rows if np.isin(pairs.candidates(int(row)), target_rows).any()]
    if not chosen:
        raise InputError("pairs: none joins the training splits of --src and --tgt; match these sets again")
    return np.array(chosen, dtype=np.int64)


def _outcome(sampler: SliceSampler, selection: CheckpointSelection, epochs: int) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "steps": epochs * sampler.steps,
        "source_slices": len(sampler.source_rows),
        "target_slices": len(sampler.target_rows),
        **selection.summary(),
    }


def _last_losses(metrics: list[dict[str, Any]]) -> dict[str, float]:
    names = ("segmentation", "adversarial", "discriminator", "discriminator_accuracy")
    return {name: metrics[-1][name] for name in names if metrics and name in metrics[-1]}
