"""Published outcomes are of the rows as they are now, or lie on a page that says that they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from ctseg_reproduce.inputs import PHANTOM
from ctseg_reproduce.outcomes import OutcomeRecord, read_outcomes
from ctseg_reproduce.plan import Plan
from ctseg_reproduce.scales import PRESETS, get_scale
from ctseg_reproduce.systems import ROWS, LocationPrior

RESULTS = Path(__file__).parents[1] / "docs/results"
PUBLISHED = sorted(path for path in RESULTS.glob("cpu-*/*-outcomes.csv") if "-former" not in path.name)
BEFORE = sorted(RESULTS.glob("one-normalisation-2026-11/*-outcomes.csv"))
"""Presets `released` and `paper` with one normalisation for both domains."""


def has_todays_key(path: Path, item: OutcomeRecord) -> bool:
    """Whether a record's key is that of the row which a call would make: the file's name has preset and window."""
    preset = next((name for name in PRESETS if name in path.stem.split("-")), "")
    scale = get_scale("cpu").with_preset(preset) if preset else get_scale("cpu")
    scale = scale.with_window(0, 50) if "hu-0-50" in path.stem else scale
    key = Plan(scale, PHANTOM, precision="32").row(ROWS[item.row], item.outcome.seed).key
    return key == item.key


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_a_page_of_results_has_the_rows_of_today(path: Path) -> None:
    """A change of a preset, a scale or a row moves its results to another page, or leaves the keys as they are."""
    assert [(item.row, item.outcome.seed) for item in read_outcomes(path) if not has_todays_key(path, item)] == []


@pytest.mark.parametrize("path", BEFORE, ids=lambda path: path.name)
def test_rows_from_before_are_no_rows_of_today(path: Path) -> None:
    trained = [item for item in read_outcomes(path) if not isinstance(ROWS[item.row], LocationPrior)]
    assert trained
    assert not any(has_todays_key(path, item) for item in trained)


def test_files_are_found() -> None:
    assert len(PUBLISHED) == 12
    assert len(BEFORE) == 5
    again = [path.name for path in PUBLISHED for preset in ("released", "paper") if preset in path.stem.split("-")]
    assert again == ["claims-paper-hu-0-50-outcomes.csv", "claims-released-hu-0-50-outcomes.csv"]
