"""Supervised training with k folds over patients: what the weights of stage 2 are worth as a start (Table 5).

This is the one place that trains on labels of the target domain, and says so: its results are never those of the
unsupervised method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from ctseg.errors import InputError
from ctseg.files import write_json, write_with
from ctseg.io.slices import SliceSet, assign_splits
from ctseg.metrics.overlap import dice_per_slice
from ctseg.networks.intensity import to_images
from ctseg.networks.modes import evaluating
from ctseg.runs import ModelHeader, save_model
from ctseg.segmentation.batch_norm import recalibrate
from ctseg.segmentation.batches import recalibration_batches, source_batch
from ctseg.segmentation.steps import Adaptation, adaptation_step, make_adaptation
from ctseg.selection.rules import THRESHOLD, pooled_dice
from ctseg.selection.validation import BATCH, predict
from ctseg.training.loop import EpochLoop, LossMeter, Report, Ticker, lr_factor, run_epochs, set_lr_factor, steps_of
from ctseg.training.sampling import Rows, SliceSampler, step_rng
from ctseg.training.settings import AdaptationSettings


def patient_folds(labelled: SliceSet, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """(N,) the fold that tests each slice, from 0; all slices of a patient are in one fold.

    Raises:
        InputError: if there are fewer patients than folds, or fewer than two folds.
    """
    patients = labelled.table["patient_id"].astype(str)
    if not 2 <= folds <= patients.nunique():
        raise InputError(
            f"{labelled.folder}: {patients.nunique()} patients cannot make {folds} folds; use --folds 2 to the number "
            "of patients"
        )
    fold_of = assign_splits(list(patients), {str(fold): 1 / folds for fold in range(folds)}, seed)
    return np.array([int(fold_of[patient]) for patient in patients], dtype=np.int64)


def train_supervised(
    labelled: SliceSet,
    make_segmenter: Callable[[], nn.Module],
    settings: AdaptationSettings,
    run: Path,
    *,
    fabric: lightning_fabric.Fabric,
    header: ModelHeader,
    folds: int = 5,
    seed: int = 0,
    resume: bool = False,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train on all folds but one, predict that one, for each fold in turn.

    Every fold trains for the same number of epochs and its last weights predict: nothing is chosen on the slices that
    are tested. Leaves `fold_K/` (metrics, checkpoint, weights), `masks.npy` (N, H, W) of out-of-fold outlines in the
    order of `labelled`, `folds.csv` and `summary.json` in `run`.

    Args:
        labelled: slices with masks; all its splits are used.
        make_segmenter: makes the segmenter that a fold starts from, untrained or with a run's weights; torch is seeded
            before each call.
        settings: as in stage 2, without its adversary.
        run: a run folder made by `ctseg.runs.start_run`.
        fabric: device and precision.
        header: what each fold's `model.safetensors` says.
        folds: how many.
        seed: of folds, first weights, draws and augmentation.
        resume: skip finished folds, and go on from the checkpoint of an unfinished one.
        progress: told (done, total, note) after every step.

    Returns:
        `overall` and `by_fold` scores, see `dice_scores`.

    Raises:
        InputError: if there are no masks or too few patients.
        TrainingError: if training diverges.
    """
    masks = labelled.require_masks("supervised training needs them")
    fold_of = patient_folds(labelled, folds, seed)
    found = np.zeros(labelled.images.shape, np.uint8)
    for fold in range(folds):
        held_out, used = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        nets = _start(make_segmenter, settings, fabric, seed, fold)
        report = _of_folds(progress, fold, folds)
        folder = run / f"fold_{fold + 1}"
        _train_fold(nets, labelled, used, folder, seed=seed + fold, fabric=fabric, resume=resume, progress=report)
        if fabric.is_global_zero:
            training = {**header.training, "supervised": True, "fold": fold + 1, "folds": folds, "slices": len(used)}
            save_model(folder / "model.safetensors", nets.segmenter, replace(header, training=training))
        for rows, outlines in _outlines(nets, labelled, held_out):
            found[rows] = outlines
    summary = _summarise(labelled, masks, found, fold_of)
    if fabric.is_global_zero:
        _write(run, labelled, found, fold_of, summary)
    return summary


def _start(
    make_segmenter: Callable[[], nn.Module],
    settings: AdaptationSettings,
    fabric: lightning_fabric.Fabric,
    seed: int,
    fold: int,
) -> Adaptation:
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence([seed, fold]).generate_state(1)[0]))
        segmenter = make_segmenter()
    alone = settings.model_copy(update={"lambda_adv": 0.0, "lambda_adv_output": 0.0, "lambda_consistency": 0.0})
    return make_adaptation(segmenter, alone, device=fabric.device, autocast=fabric.autocast, seed=seed)


def _of_folds(progress: Report | None, fold: int, folds: int) -> Report | None:
    """The progress of one fold as progress of all."""
    if progress is None:
        return None

    def report(done: int, total: int | None, note: str) -> None:
        progress(fold * (total or 0) + done, folds * (total or 0), f"fold {fold + 1} of {folds}, {note}")

    return report


def _train_fold(
    nets: Adaptation,
    labelled: SliceSet,
    rows: Rows,
    folder: Path,
    *,
    seed: int,
    fabric: lightning_fabric.Fabric,
    resume: bool,
    progress: Report | None,
) -> None:
    settings = nets.settings
    epochs = settings.epochs + settings.decay_epochs
    sampler = SliceSampler(
        rows,
        rows,
        batch_size=settings.batch_size,
        seed=seed,
        steps_per_epoch=settings.steps_per_epoch,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    ticker = Ticker(progress, epochs)

    def train_epoch(epoch: int) -> dict[str, Any]:
        set_lr_factor(nets.optimisers, lr_factor(epoch, settings.epochs, settings.decay_epochs))
        meter = LossMeter(epoch)
        nets.segmenter.train()
        for step, chosen, _ in steps_of(sampler, epoch, ticker):
            images, masks = source_batch(nets, labelled, chosen, step_rng(seed, epoch, step))
            meter.add(adaptation_step(nets, images, masks, None))
        recalibrate(nets, recalibration_batches(nets, labelled, sampler, epoch, seed))
        return dict(meter.means())

    folder.mkdir(parents=True, exist_ok=True)
    loop = EpochLoop(
        run=folder,
        epochs=epochs,
        train_epoch=train_epoch,
        state=nets.state_dict,
        restore=nets.load_state_dict,
        modules=nets.modules,
        seed=seed,
        checkpoint_every=settings.checkpoint_every,
        writes=fabric.is_global_zero,
    )
    run_epochs(loop, resume=resume, device=fabric.device)


def _outlines(nets: Adaptation, labelled: SliceSet, rows: Rows) -> Iterator[tuple[Rows, NDArray[np.uint8]]]:
    """Batches of rows and their outlines (B, H, W), 0/1."""
    with evaluating(nets.segmenter):
        for start in range(0, len(rows), BATCH):
            chosen = rows[start : start + BATCH]
            probabilities, _ = predict(nets, to_images(labelled.images[chosen], nets.device))
            yield chosen, (probabilities >= THRESHOLD).astype(np.uint8)


def dice_scores(
    found: NDArray[np.uint8], masks: NDArray[np.uint8], series: NDArray[Any]
) -> dict[str, float | int | None]:
    """Three Dice (equation 24), each named, of (N, H, W) outlines and masks.

    `pooled` over all pixels together; `per_volume` the mean over series that hold a lesion (`volumes` of them), `None`
    where there is none; `per_slice_smooth1` as in the released code: the mean over slices of (2 TP + 1) / (2 TP + FP +
    FN + 1), so that a slice empty in both counts 1.
    """
    volumes = [
        pooled_dice(found[series == name] > 0, masks[series == name])
        for name in pd.unique(series)
        if masks[series == name].any()
    ]
    return {
        "pooled": pooled_dice(found > 0, masks),
        "per_volume": float(np.mean([value or 0.0 for value in volumes])) if volumes else None,
        "per_slice_smooth1": dice_per_slice(found, masks),
        "volumes": len(volumes),
        "slices": len(found),
    }


def _summarise(
    labelled: SliceSet, masks: NDArray[np.uint8], found: NDArray[np.uint8], fold_of: NDArray[np.int64]
) -> dict[str, Any]:
    series = labelled.table["series_id"].to_numpy()
    tested = [np.flatnonzero(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]
    return {
        "overall": dice_scores(found, masks[:], series),
        "by_fold": [dice_scores(found[rows], masks[rows], series[rows]) for rows in tested],
        "selection": "last epoch of each fold; supervised, patients of a fold are never trained on",
    }


def _write(
    run: Path, labelled: SliceSet, found: NDArray[np.uint8], fold_of: NDArray[np.int64], summary: dict[str, Any]
) -> None:
    table = labelled.table[["slice_id", "patient_id", "series_id"]].assign(fold=fold_of + 1)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, found)

    write_with(run / "masks.npy", save)
    write_with(run / "folds.csv", lambda temporary: table.to_csv(temporary, index=False))
    write_json(run / "summary.json", summary)
