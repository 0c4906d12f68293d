"""How well the label-free rules choose: each stored epoch's scores beside its Dice on labelled CT.

A study of finished runs, apart from them: no run reads its result, and the labels it uses choose nothing in any row.
The oracle, the epoch with the best Dice on the labels themselves, is an upper bound that no unsupervised run reaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from torch import nn

from ctseg.errors import InputError
from ctseg.evaluation.intervals import AMOUNT
from ctseg.evaluation.statistics import mean_of, ratio_interval
from ctseg.files import read_toml, write_csv
from ctseg.inference.models import load_models
from ctseg.inference.predict import predict_slices
from ctseg.inference.settings import SegmentSettings
from ctseg.io.slices import SliceSet
from ctseg.runs import ModelHeader, read_metrics
from ctseg.selection.rules import RULES, pooled_dice, select_epoch
from ctseg.settings import resolve

Build = Callable[[ModelHeader], nn.Module]
THRESHOLD = 0.5
LABELLED_SLICES = 256
"""At most so many slices of a labelled set score an epoch, evenly spaced over its patients and levels."""


@dataclass(frozen=True)
class Regret:
    """How far the epochs that a rule chose lie behind the oracle's, over runs; Dice points."""

    rule: str
    labels: str
    """Which labelled set it is measured on."""
    runs: int
    mean: float
    low: float
    high: float
    """95 % interval; runs of one seed, which share data, count together."""
    worst: float
    correlation: float
    """Spearman's, between score and Dice over a run's epochs, mean of the runs; signed so that 1 is right."""


def run_epochs_table(run: Path, label_sets: Mapping[str, SliceSet], build: Build) -> pd.DataFrame:
    """Scores and Dice of each epoch that a run stored; cached in the run's `epochs/dice.csv`.

    Args:
        run: a folder of `das-train --set keep_epochs=true`.
        label_sets: name -> labelled CT slices of the run's size, in none of which a mask was trained on.
        build: makes the network that a header names.

    Returns:
        One row an epoch: `epoch` from 1, a column for each rule (empty where the run could not choose the epoch), and
        `dice_NAME` for each labelled set (pooled, slices at the model's size).

    Raises:
        InputError: if the run stored no epochs.
    """
    path = run / "epochs" / "dice.csv"
    wanted = ["epoch", *RULES, *(f"dice_{name}" for name in label_sets)]
    if path.exists() and list((known := pd.read_csv(path)).columns) == wanted:
        return known
    rows = [row for row in read_metrics(run) if (run / _weights(row)).exists()]
    if not rows:
        raise InputError(f"{run}: stored no epochs; train it with --set keep_epochs=true")
    first = read_toml(run / "config.toml").get("settings", {}).get("select_from", 0)
    found = [_scores(row, first) | _dice(run / _weights(row), label_sets, build) for row in rows]
    table = pd.DataFrame(found, columns=wanted)
    write_csv(path, table)
    return table


def _weights(row: Mapping[str, float]) -> str:
    return f"epochs/epoch_{int(row['epoch']) + 1:04d}.safetensors"


def _scores(row: Mapping[str, float | None], first: int) -> dict[str, float | None]:
    """An epoch from before `first` (from 0) has no scores: its run could not have chosen it."""
    epoch = float(row["epoch"] or 0) + 1
    open_to_choice = epoch > first
    scores = {name: row.get(f"val_{name}") if open_to_choice else None for name in RULES if name != "last"}
    return {"epoch": epoch, "last": epoch, **scores}


def _dice(weights: Path, label_sets: Mapping[str, SliceSet], build: Build) -> dict[str, float | None]:
    model, settings = load_models([weights], build)[0], resolve(SegmentSettings)
    found = {}
    for name, labelled in label_sets.items():
        rows = np.arange(0, len(labelled), -(-len(labelled) // LABELLED_SLICES))
        images, masks = labelled.images[rows], labelled.require_masks("the rules are measured on them")[rows]
        found_mask = predict_slices(images, model, settings) >= THRESHOLD
        found[f"dice_{name}"] = pooled_dice(found_mask & (images > 0), masks)
    return found


def regrets(tables: Sequence[pd.DataFrame], labels: str, seeds: Sequence[int] | None = None) -> list[Regret]:
    """Every rule's regret over the runs that it can serve, the smallest first.

    Args:
        tables: of `run_epochs_table`, one a run.
        labels: which labels measure it.
        seeds: of each run; without, every run counts as one of its own.
    """
    clusters = [str(seed) for seed in (range(len(tables)) if seeds is None else seeds)]
    found = [_regret(name, tables, labels, clusters) for name in RULES]
    return sorted((item for item in found if item.runs), key=lambda item: item.mean)


def _regret(name: str, tables: Sequence[pd.DataFrame], labels: str, clusters: Sequence[str]) -> Regret:
    served = [place for place, table in enumerate(tables) if table[name].notna().any()]
    if not served:
        return Regret(name, labels, 0, *[math.nan] * 5)
    lost = np.array([_lost(name, tables[place], labels) for place in served])
    mean = ratio_interval(mean_of(lost), [clusters[place] for place in served], bounds=AMOUNT)
    right = [_correlation(name, tables[place], labels) for place in served]
    return Regret(
        name, labels, len(served), mean.value, mean.low, mean.high, float(lost.max()),
        float(np.nanmean(right)) if not np.isnan(right).all() else math.nan,
    )  # fmt: skip


def _lost(name: str, table: pd.DataFrame, labels: str) -> float:
    """Dice points of the oracle's epoch minus those of the rule's."""
    dice = 100.0 * table[f"dice_{labels}"].fillna(0.0).to_numpy()
    return float(dice.max() - dice[select_epoch(name, _or_none(table[name]))])


def _correlation(name: str, table: pd.DataFrame, labels: str) -> float:
    scored = table[table[name].notna()]
    if len(scored) < 3 or scored[name].nunique() < 2 or scored[f"dice_{labels}"].nunique() < 2:
        return math.nan
    sign = 1.0 if RULES[name].higher_is_better else -1.0
    return sign * float(spearmanr(scored[name], scored[f"dice_{labels}"])[0])


def _or_none(column: pd.Series) -> list[float | None]:
    return [None if pd.isna(value) else float(value) for value in column]
