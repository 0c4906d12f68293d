"""Volumes in words: no volume that was found reads as none."""

from __future__ import annotations

import pytest

from ctseg.cli.case_rows import cells
from ctseg.inference.millilitres import ml_range_text, ml_text
from ctseg.inference.results import CaseResult


@pytest.mark.parametrize(
    ("ml", "text"),
    [
        (0.0, "0.0 mL"), (0.0004, "under 0.01 mL"), (0.0103, "0.01 mL"), (0.094, "0.09 mL"), (0.0951, "0.1 mL"),
        (0.366, "0.4 mL"), (8.424, "8.4 mL"), (113.78, "113.8 mL"),
    ],
)  # fmt: skip
def test_a_volume_that_was_found_is_not_shown_as_none(ml: float, text: str) -> None:
    assert ml_text(ml) == text


def test_a_range_names_its_unit_once() -> None:
    assert ml_range_text(0.0084, 0.625) == "0.01 to 0.6 mL"


def test_the_row_of_a_spot_says_how_small_it_is() -> None:
    spot = CaseResult(
        "a", "ok", ml=0.0103, lesions=1, seconds=1.0, ml_corrected=0.0103, ml_corrected_low=0.0084,
        ml_corrected_high=0.625, ml_corrected_level=0.9,
    )  # fmt: skip
    assert cells(spot)[-1] == "corrected 0.01 mL (90 %: 0.01 to 0.6)"
