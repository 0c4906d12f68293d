"""A segmentation's doubts against the references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.uncertainty import spearman_of, summarise_doubts

FAST = EvaluationSettings(resamples=200, permutations=200, pictured_cases=0)
HEADER = "case,status,ml,ml_low,ml_high,agreement,unlike\n"


def test_correlation_is_scipys_also_with_ties_and_weights():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 30).astype(float), rng.normal(size=30)
    used = rng.random(30) > 0.3
    one[~used] = np.nan
    expected = spearmanr(one[used], other[used]).statistic
    assert spearman_of(one, other, used)(np.ones((1, 30)))[0] == pytest.approx(expected)


def test_by_hand():
    done = pd.DataFrame(
        {
            "case": list("abcde"), "patient": list("abcde"), "ref_ml": [10.0, 20, 30, 0, 5],
            "abs_error_ml": [0.0, 4, 20, 1, 1], "dice": [0.9, 0.7, 0.2, 0.0, 0.8],
        }
    )  # fmt: skip
    doubts = pd.DataFrame(
        {
            "ml_low": [9.0, 21, 5, 0, np.nan], "ml_high": [11.0, 25, 40, 1, np.nan],
            "agreement": [0.95, 0.8, 0.3, 0.5, np.nan], "unlike": [False, False, True, False, False],
        },
        index=list("abcde"),
    )  # fmt: skip
    found = summarise_doubts(done, doubts, FAST)
    assert (found["cases"], found["with_range"], found["unlike"]) == (5, 4, 1)
    assert found["in_range"]["value"] == 3 / 4
    assert found["agreement_dice"]["value"] == pytest.approx(1)
    assert found["range_error"]["value"] == pytest.approx(spearmanr([2, 4, 35, 1], [0, 4, 20, 1]).statistic)
    assert found["dice_unlike"]["value"] == pytest.approx(0.2)
    assert found["dice_like"]["value"] == pytest.approx((0.9 + 0.7 + 0.8) / 3)


def test_read_from_beside_the_masks_and_shown(cohort):
    rows = "a_1,ok,0.16,0.1,0.2,0.9,\na_2,ok,0.08,0.05,0.1,0.5,slice step 1.0 mm\nb_1,failed,,,,,\nb_2,ok,0,0,0,1,\n"
    (cohort / "pred" / "volumes.csv").write_text(HEADER + rows)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    doubts = found.summary["models"][0]["uncertainty"]
    assert doubts["in_range"]["value"] == pytest.approx(2 / 3)
    assert doubts["unlike"] == 1
    assert "doubts can be trusted" in (cohort / "out" / "report.html").read_text()


def test_another_tools_masks_have_none(cohort):
    (cohort / "pred" / "volumes.csv").write_text("case,ml\na_1,3\n")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    assert "uncertainty" not in found.summary["models"][0]
