"""What the default model's card says of its volumes is what the committed table of cases gives."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import ctseg.models
from ctseg.evaluation.volume_bins import volume_bins
from ctseg.models import read_card

TABLE = Path(__file__).parents[1] / "docs" / "results" / "default-model" / "cohorts.csv"


def test_the_cards_volumes_are_those_of_the_committed_cases() -> None:
    volumes = read_card(ctseg.models.SHIPPED / "default.json").volumes
    assert volumes is not None
    assert list(volumes.bins) == volume_bins(pd.read_csv(TABLE), level=volumes.level)


def test_the_cards_dice_is_that_of_the_committed_cases() -> None:
    table = pd.read_csv(TABLE)
    sums = table.groupby("cohort")[["tp", "fp", "fn"]].sum()
    pooled = (2 * sums["tp"] / (2 * sums["tp"] + sums["fp"] + sums["fn"])).mean()
    card = read_card(ctseg.models.SHIPPED / "default.json")
    (stated,) = [one for one in card.measured if one.metric == "pooled Dice" and "five cohorts" in one.data]
    assert abs(stated.value - pooled) < 1e-3
