"""Stage 2: train a segmenter on labelled slices and adapt it to unlabelled CT (equations 18 to 23)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
from torch import nn

from ctseg.errors import InputError, SettingError
from ctseg.io.slices import SliceSet, check_same_size
from ctseg.matching.pairs import PairTable
from ctseg.networks.modes import frozen_batch_norm
from ctseg.render.curves import curves_png
from ctseg.runs import ModelHeader, save_model
from ctseg.segmentation.batch_norm import batch_norm_is_frozen, recalibrate
from ctseg.segmentation.batches import recalibration_batches, source_batch, target_batch
from ctseg.segmentation.consistency import make_lesson
from ctseg.segmentation.mean_teacher import follow
from ctseg.segmentation.samples import choose_samples, write_samples
from ctseg.segmentation.steps import Adaptation, adaptation_step, make_adaptation
from ctseg.selection.rules import LOGGED, Choice, check_rule, lesion_share, score_all
from ctseg.selection.validation import ValidationSlices, choose_validation, gather
from ctseg.training.loop import EpochLoop, LossMeter, Report, Ticker, lr_factor, run_epochs, set_lr_factor, steps_of
from ctseg.training.sampling import Rows, SliceSampler, step_rng
from ctseg.training.settings import AdaptationSettings

LESSONS = 0x7EAC
"""Keeps the draws of self-training apart from those of the source's augmentation."""


@dataclass(frozen=True)
class Data:
    """What is trained and validated on."""

    source: SliceSet
    target: SliceSet
    sampler: SliceSampler
    validation: ValidationSlices


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
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train and adapt `segmenter`; leaves metrics, samples, curves, checkpoint and the chosen weights in `run`.

    Args:
        source: labelled slices, MR or the pseudo-CT made of them.
        target: CT slices; if it has masks, they are not touched.
        pairs: for each target slice its most similar source slice (`ctseg match --direction target`), needed where
            `settings.matched`; the distinct source slices are the matched set (paper 3.2), and a source slice meets one
            of the target slices it was matched with.
        segmenter: as `ctseg.plugins.protocols.Segmenter`; training starts from its weights, and leaves the chosen ones
            in it.
        settings: with `lambda_adv=0` the target is read for validation and samples only.
        run: a run folder made by `ctseg.runs.start_run`.
        fabric: device and precision.
        header: what `model.safetensors` says; its `training` is completed by the outcome.
        seed: of everything random but the segmenter's first weights.
        resume: go on from the run's checkpoint.
        validation_split: the source split for rules that need one; a source without it has none, and
            patients that are trained on are left out of it.
        source_rows: train on these rows of the source only (Table 4); they must be of the training split.
        progress: told (done, total, note) after every step.

    Returns:
        A summary: epochs, steps, slices, the selection rule, the chosen epoch (from 1), its scores, the last losses.

    Raises:
        InputError: if the sets do not fit each other, the source is unlabelled or a split is empty.
        SettingError: if pairs are missing or the selection rule cannot be used.
        TrainingError: if training diverges.
    """
    check_adaptation(source, target, pairs, settings, validation_split=validation_split, source_rows=source_rows)
    data = _prepare(source, target, pairs, settings, seed, validation_split, source_rows, fabric)
    nets = make_adaptation(segmenter, settings, device=fabric.device, autocast=fabric.autocast, seed=seed)
    choice = Choice(settings.selection)
    epochs = settings.epochs + settings.decay_epochs
    ticker = Ticker(progress, epochs)

    def train_epoch(epoch: int) -> dict[str, Any]:
        row = _train_epoch(nets, data, epoch, seed, ticker)
        last = epoch + 1 == epochs
        if fabric.is_global_zero and (last or (epoch + 1) % settings.validate_every == 0):
            row |= _validate(nets, data, choice if last or epoch >= settings.select_from else None, epoch)
            if settings.keep_epochs:
                save_model(run / "epochs" / f"epoch_{epoch + 1:04d}.safetensors", nets.final, header)
        if fabric.is_global_zero and (last or (epoch + 1) % settings.sample_every == 0):
            rows = choose_samples(source, data.validation, data.sampler.source_rows)
            write_samples(run / "samples" / f"epoch_{epoch + 1:04d}.png", nets, source, target, *rows)
        return row

    metrics = run_epochs(
        EpochLoop(
            run=run,
            epochs=epochs,
            train_epoch=train_epoch,
            state=lambda: {"adaptation": nets.state_dict(), "choice": choice.state_dict()},
            restore=lambda state: _restore(state, nets, choice),
            modules=nets.modules,
            seed=seed,
            checkpoint_every=settings.checkpoint_every,
            writes=fabric.is_global_zero,
        ),
        resume=resume,
        device=fabric.device,
    )
    outcome = _outcome(data, choice, epochs)
    if fabric.is_global_zero:
        _finish(run, segmenter, choice, header, outcome, metrics)
    return {**outcome, "losses": _last_losses(metrics)}


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
    if settings.synthetic_haemorrhage and source.domain != "ct":
        raise SettingError(
            "das-train: synthetic_haemorrhage paints in the greys of CT, and --src is MR; use pseudo-CT or "
            "--set synthetic_haemorrhage=0"
        )
    if settings.copy_paste and not settings.lambda_consistency:
        raise SettingError(
            "das-train: copy_paste needs the teacher's pseudo-labels; --set lambda_consistency=1 or --set copy_paste=0"
        )
    train_rows, _ = _training_rows(source, target, pairs, settings, source_rows)
    check_rule(settings, has_source_validation=len(_held_out(source, validation_split, train_rows)) > 0)


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
    patients = source.table["patient_id"]
    trained_on = patients.isin(patients.iloc[train_rows])
    return np.flatnonzero((source.table["split"] == split) & ~trained_on)


def _prepare(
    source: SliceSet,
    target: SliceSet,
    pairs: PairTable | None,
    settings: AdaptationSettings,
    seed: int,
    validation_split: str,
    source_rows: Rows | None,
    fabric: lightning_fabric.Fabric,
) -> Data:
    train_rows, target_rows = _training_rows(source, target, pairs, settings, source_rows)
    held_out = _held_out(source, validation_split, train_rows)
    sampler = SliceSampler(
        train_rows,
        target_rows,
        batch_size=settings.batch_size,
        seed=seed,
        candidates=pairs.candidates if settings.matched and pairs is not None else None,
        steps_per_epoch=settings.steps_per_epoch,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    return Data(source, target, sampler, choose_validation(held_out, target_rows, seed))


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


def _train_epoch(nets: Adaptation, data: Data, epoch: int, seed: int, ticker: Ticker) -> dict[str, Any]:
    settings = nets.settings
    set_lr_factor(nets.optimisers, lr_factor(epoch, settings.epochs, settings.decay_epochs))
    meter = LossMeter(epoch)
    for name, module in nets.modules.items():
        module.train(name != "teacher")
    held = batch_norm_is_frozen(settings, epoch)
    with frozen_batch_norm(nets.segmenter, held):
        for step, source_rows, target_rows in steps_of(data.sampler, epoch, ticker):
            images, masks = source_batch(nets, data.source, source_rows, step_rng(seed, epoch, step))
            lesson = make_lesson(nets, epoch, np.random.default_rng([seed, epoch, step, LESSONS]), masks)
            meter.add(adaptation_step(nets, images, masks, target_batch(nets, data.target, target_rows), lesson))
            if nets.teacher is not None:
                follow(nets.teacher, nets.segmenter, settings.ema_decay)
    if not held:
        recalibrate(nets, recalibration_batches(nets, data.source, data.sampler, epoch, seed))
    return {**meter.means(), "lr": nets.optimiser.param_groups[0]["lr"]}


def _validate(nets: Adaptation, data: Data, choice: Choice | None, epoch: int) -> dict[str, Any]:
    """Every rule's score; the epoch is offered to `choice`, if there is one."""
    evidence = gather(nets, data.source, data.target, data.validation, epoch)
    scores = score_all(evidence)
    taken = choice is not None and choice.update(epoch, scores, nets.final)
    logged = {f"val_{name}": scores[name] for name in LOGGED}
    return {**logged, "val_target_lesion_share": lesion_share(evidence), "chosen": taken}


def _restore(state: dict[str, Any], nets: Adaptation, choice: Choice) -> None:
    nets.load_state_dict(state["adaptation"])
    choice.load_state_dict(state["choice"])


def _outcome(data: Data, choice: Choice, epochs: int) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "steps": epochs * data.sampler.steps,
        "source_slices": len(data.sampler.source_rows),
        "target_slices": len(data.sampler.target_rows),
        **choice.summary(),
    }


def _finish(
    run: Path,
    segmenter: nn.Module,
    choice: Choice,
    header: ModelHeader,
    outcome: dict[str, Any],
    metrics: list[dict[str, Any]],
) -> None:
    curves_png(run / "curves.png", metrics)
    segmenter.load_state_dict(choice.weights)
    save_model(run / "model.safetensors", segmenter, replace(header, training={**header.training, **outcome}))


def _last_losses(metrics: list[dict[str, Any]]) -> dict[str, float]:
    names = ("segmentation", "adversarial", "discriminator", "discriminator_accuracy")
    return {name: metrics[-1][name] for name in names if metrics and name in metrics[-1]}
