"""Supervised training with k folds over patients, from random weights or those of stage 2 (Table 5).

This is the one place that trains on labels of the target domain, and says so: its results are never those of the
unsupervised method.
"""

from __future__ import annotations

from collections.abc import Callable
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
from ctseg.files import write_csv, write_json, write_with
from ctseg.io.slice_table import scan_numbers
from ctseg.io.slices import SliceSet, assign_splits
from ctseg.outputs import run_folder
from ctseg.progress import ProgressCallback
from ctseg.runs import RUN_FILES, ModelHeader, save_model
from ctseg.segmentation.batches import check_lesion_share, shows_lesion
from ctseg.segmentation.steps import SegmenterTraining, make_training
from ctseg.segmentation.train import TrainingData, make_sampler, train_segmenter
from ctseg.selection.rules import pooled_dice
from ctseg.selection.validation import segment_slices
from ctseg.training.settings import FinetuneSettings
from ctseg.wording import counted


def patient_folds(labelled: SliceSet, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """(N,) the fold that tests each slice, from 0; all slices of a patient are in one fold.

    Raises:
        InputError: if there are fewer patients than folds, or fewer than two folds.
    """
    patients = labelled.patients
    count = len(set(patients))
    if not 2 <= folds <= count:
        known = "2" if count == 2 else f"2 to {count}"
        way_out = f"use --folds {known}" if count > 1 else "add scans of other patients"
        raise InputError(f"{labelled.folder}: {counted(count, 'patient')} cannot make {folds} folds; {way_out}")
    fold_of = assign_splits(list(patients), {str(fold): 1 / folds for fold in range(folds)}, seed)
    return np.array([int(fold_of[patient]) for patient in patients], dtype=np.int64)


def train_folds(
    labelled: SliceSet,
    make_segmenter: Callable[[], nn.Module],
    settings: FinetuneSettings,
    run: Path,
    *,
    fabric: lightning_fabric.Fabric,
    header: ModelHeader,
    folds: int = 5,
    seed: int = 0,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    start_saw: bool = False,
) -> dict[str, Any]:
    """Train on all folds but one, predict that one, for each fold in turn.

    Every fold trains for the same number of epochs and its last weights predict: nothing is chosen on the slices that
    are tested. Leaves `fold_K/` (metrics, checkpoint, weights), `masks.npy` (N, H, W) of out-of-fold masks in the order
    of `labelled`, `folds.csv` and `summary.json` in `run`.

    Args:
        labelled: slices with masks; all its splits are used.
        make_segmenter: makes the segmenter that a fold starts from, untrained or with a run's weights; torch is seeded
            before each call.
        settings: nothing is painted into labelled CT, and there is no target.
        run: a run folder made by `ctseg.runs.start_run`, or an empty one.
        fabric: device and precision.
        header: what each fold's `model.safetensors` says.
        folds: how many.
        seed: of folds, first weights, draws and augmentation.
        resume: skip finished folds, and go on from the checkpoint of an unfinished one.
        progress: called with (done, total, note) after every step.
        start_saw: whether the first weights have learnt from these very masks, which the summary then says.

    Returns:
        `overall` and `by_fold` scores, see `dice_scores`.

    Raises:
        InputError: if there are no masks or too few patients, or `run` is or holds the input.
        OutputExistsError: if `run` holds a training and `resume` is not set.
        TrainingError: if training diverges.
    """
    masks = labelled.require_masks("supervised training needs them")
    fold_of = patient_folds(labelled, folds, seed)
    check_folds(labelled, fold_of, settings)
    with run_folder(run, RUN_FILES, inputs=(labelled.folder,), resume=resume, writes=fabric.is_global_zero):
        return _train_folds(
            labelled, masks, make_segmenter, settings, run, fold_of, fabric, header, seed, resume, progress, start_saw
        )


def check_folds(labelled: SliceSet, fold_of: NDArray[np.int64], settings: FinetuneSettings) -> None:
    """Refuse what a fold could not be trained with.

    Raises:
        InputError: if the slices beside a fold show no lesion: its network would learn to segment nothing.
    """
    shown = shows_lesion(labelled, np.arange(len(fold_of)))
    if not shown.any():
        raise InputError(
            f"{labelled.folder}: its masks mark no lesion on any of {len(shown)} slices, so there is nothing to learn; "
            "see the masks and --lesion-labels of ctseg preprocess"
        )
    for fold in range(int(fold_of.max()) + 1):
        if not shown[fold_of != fold].any():
            patients = counted(len(set(labelled.patients[shown])), "patient")
            raise InputError(
                f"{labelled.folder}: every lesion is in the patients of fold {fold + 1} ({patients}), so its network "
                "would see none; take another --folds or --seed, or label more patients"
            )
        check_lesion_share(labelled, np.flatnonzero(fold_of != fold), settings)


def _train_folds(
    labelled: SliceSet,
    masks: NDArray[np.uint8],
    make_segmenter: Callable[[], nn.Module],
    settings: FinetuneSettings,
    run: Path,
    fold_of: NDArray[np.int64],
    fabric: lightning_fabric.Fabric,
    header: ModelHeader,
    seed: int,
    resume: bool,
    progress: ProgressCallback | None,
    start_saw: bool,
) -> dict[str, Any]:
    """As `train_folds`, in a folder that is guarded."""
    folds = int(fold_of.max()) + 1
    segmented = np.zeros(labelled.images.shape, np.uint8)
    for fold in range(folds):
        tested, used = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        folder = run / f"fold_{fold + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        training = _make_training(make_segmenter, settings, fabric, seed, fold)
        sampler = make_sampler(settings, labelled, used, used, seed=seed + fold, fabric=fabric)
        train_segmenter(
            training, TrainingData(labelled, sampler), folder, fabric=fabric, seed=seed + fold, resume=resume,
            progress=_progress_of_fold(progress, fold, folds),
        )  # fmt: skip
        if fabric.is_global_zero:
            facts = {**header.training, **training.facts, "supervised": True, "fold": fold + 1, "folds": folds}
            facts["slices"] = len(used)
            save_model(folder / "model.safetensors", training.final, replace(header, training=facts))
        segmented[tested] = segment_slices(training.final, labelled.images[tested], fabric.autocast)
    summary = _summarise(labelled, masks, segmented, fold_of) | _said_of(start_saw)
    if fabric.is_global_zero:
        _write(run, labelled, segmented, fold_of, summary)
    return summary


def _make_training(
    make_segmenter: Callable[[], nn.Module],
    settings: FinetuneSettings,
    fabric: lightning_fabric.Fabric,
    seed: int,
    fold: int,
) -> SegmenterTraining:
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence([seed, fold]).generate_state(1)[0]))
        segmenter = make_segmenter()
    return make_training(segmenter, settings, device=fabric.device, autocast=fabric.autocast, seed=seed)


def _progress_of_fold(progress: ProgressCallback | None, fold: int, folds: int) -> ProgressCallback | None:
    """The progress of one fold as progress of all."""
    if progress is None:
        return None

    def report(done: int, total: int | None, note: str) -> None:
        progress(fold * (total or 0) + done, folds * (total or 0), f"fold {fold + 1} of {folds}, {note}")

    return report


def dice_scores(
    segmented: NDArray[np.uint8], masks: NDArray[np.uint8], series: NDArray[Any]
) -> dict[str, float | int | None]:
    """Three Dice (equation 24), each named, of (N, H, W) predicted and true masks.

    `pooled` over all pixels together; `per_volume` the mean over series that hold a lesion (`volumes` of them), `None`
    where there is none; `per_slice_smooth1` as in the released code: the mean over slices of (2 TP + 1) / (2 TP + FP +
    FN + 1), so that a slice empty in both counts 1.
    """
    volumes = [
        pooled_dice(segmented[series == name] > 0, masks[series == name])
        for name in pd.unique(series)
        if masks[series == name].any()
    ]
    overlap = np.count_nonzero((segmented > 0) & (masks > 0), axis=(1, 2))
    total = np.count_nonzero(segmented, axis=(1, 2)) + np.count_nonzero(masks, axis=(1, 2))
    return {
        "pooled": pooled_dice(segmented > 0, masks),
        "per_volume": float(np.mean([value or 0.0 for value in volumes])) if volumes else None,
        "per_slice_smooth1": float(((2 * overlap + 1) / (total + 1)).mean()),
        "volumes": len(volumes),
        "slices": len(segmented),
    }


def _summarise(
    labelled: SliceSet, masks: NDArray[np.uint8], segmented: NDArray[np.uint8], fold_of: NDArray[np.int64]
) -> dict[str, Any]:
    scans = scan_numbers(labelled.table).to_numpy()
    tested = [np.flatnonzero(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]
    return {
        "overall": dice_scores(segmented, masks[:], scans),
        "by_fold": [dice_scores(segmented[rows], masks[rows], scans[rows]) for rows in tested],
    }


def _said_of(start_saw: bool) -> dict[str, Any]:
    """What the summary says of patients that the networks have seen."""
    chosen = "last epoch of each fold; supervised, "
    if start_saw:
        return {"selection": f"{chosen}from weights that have learnt from these patients", "start_saw_patients": True}
    return {"selection": f"{chosen}patients of a fold are never trained on"}


def _write(
    run: Path, labelled: SliceSet, segmented: NDArray[np.uint8], fold_of: NDArray[np.int64], summary: dict[str, Any]
) -> None:
    table = labelled.table[["slice_id", "patient_id", "series_id"]].assign(fold=fold_of + 1)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, segmented)

    write_with(run / "masks.npy", save)
    write_csv(run / "folds.csv", table)
    write_json(run / "summary.json", summary)
