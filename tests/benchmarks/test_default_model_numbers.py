"""What the default model's card states is what the committed tables of cases and haematomas give."""

from __future__ import annotations

from pathlib import Path

import default_model_numbers as numbers
import pandas as pd
import pytest

import ctseg.models
from ctseg.models import read_card

RESULTS = Path(__file__).parents[2] / "plugins" / "ctseg-reproduce" / "docs" / "results" / "default-model"


def stated(data: str) -> dict[str, tuple[float, int | None]]:
    card = read_card(ctseg.models.SHIPPED / "default.json")
    return {one.metric: (one.value, one.cases) for one in card.measured if one.data == data}


def test_the_rows_of_other_cohorts_are_those_of_the_table() -> None:
    rows = numbers.cohort_rows(pd.read_csv(RESULTS / "cohorts.csv"))
    assert {row["metric"]: (row["value"], row["cases"]) for row in rows} == stated(numbers.COHORTS)


def test_the_rows_of_the_real_head_are_those_of_the_haematomas() -> None:
    rows = numbers.implant_rows(pd.read_csv(RESULTS / "implants-ge.csv"))
    assert {row["metric"]: (row["value"], row["cases"]) for row in rows} == stated(numbers.HEAD)
    assert len(rows) == 16


def test_a_cohort_is_named_by_its_folder_and_its_mean_counts_once(tmp_path: Path) -> None:
    cases = {"case": ["x", "y"], "pred_ml": [1.0, 0.5], "ref_ml": [2.0, 0.0], "dice": [0.5, 0.0], "fn": [150, 0]}
    for cohort, fp in (("c7", 50), ("8", 150)):
        folder = tmp_path / cohort / "evaluation"
        folder.mkdir(parents=True)
        pd.DataFrame({**cases, "tp": [50, 0], "fp": [0, fp]}).to_csv(folder / "cases.csv", index=False)
    found = numbers.cohort_cases([tmp_path / "c7" / "evaluation", tmp_path / "8" / "evaluation"])
    assert list(found["cohort"]) == ["7", "7", "8", "8"]
    rows = {row["metric"]: row for row in numbers.cohort_rows(found)}
    assert rows["pooled Dice"]["value"] == pytest.approx((100 / 300 + 100 / 400) / 2, abs=1e-4)
    assert rows["false mL in a scan without IPH"]["cases"] == 2
    assert rows["Dice per volume, mean"]["cases"] == 2
