"""The uncertainty that a segmentation states, against the references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.uncertainty import range_factor, spearman_of, summarise_uncertainty
from ctseg.inference.disagreement import widened

FAST = EvaluationSettings(resamples=200, permutations=200, pictured_cases=0)
HEADER = "case,status,ml,ml_low,ml_high,agreement,ood\n"


def test_correlation_is_scipys_also_with_ties_and_weights():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 30).astype(float), rng.normal(size=30)
    used = rng.random(30) > 0.3
    one[~used] = np.nan
    expected = spearmanr(one[used], other[used]).statistic
    assert spearman_of(one, other, used)(np.ones((1, 30)))[0] == pytest.approx(expected)


def test_recovery_ranks_as_dice():
    done = pd.DataFrame(
        {
            "case": list("abcd"),
            "patient": list("abcd"),
            "ref_ml": 9.0,
            "abs_error_ml": 1.0,
            "dice": [0.9, 0.2, 0.5, 0.7],
        }
    )
    stated = pd.DataFrame(
        {"ml": 9.0, "ml_low": np.nan, "ml_high": np.nan, "agreement": np.nan, "ood": False,
         "recovery": [0.8, 0.3, 0.4, np.nan]}, index=list("abcd"),
    )  # fmt: skip
    found = summarise_uncertainty(done, stated, FAST)
    assert found["with_recovery"] == 3
    assert found["recovery_dice"]["value"] == pytest.approx(1)
    assert found["recovery_error"]["value"] == pytest.approx(0.1)
    two = summarise_uncertainty(done[:2], stated[:2], FAST)  # any two are in order, or in the other one
    assert np.isnan(two["recovery_dice"]["value"])
    assert two["recovery_error"]["value"] == pytest.approx(0.1)


def test_by_hand():
    done = pd.DataFrame(
        {
            "case": list("abcde"), "patient": list("abcde"), "ref_ml": [10.0, 20, 30, 0, 5],
            "abs_error_ml": [0.0, 4, 20, 1, 1], "dice": [0.9, 0.7, 0.2, 0.0, 0.8],
        }
    )  # fmt: skip
    stated = pd.DataFrame(
        {
            "ml": [10.0, 24, 10, 1, 4], "ml_low": [9.0, 21, 5, 0, np.nan], "ml_high": [11.0, 25, 40, 1, np.nan],
            "agreement": [0.95, 0.8, 0.3, 0.5, np.nan], "ood": [False, False, True, False, False],
        },
        index=list("abcde"),
    )  # fmt: skip
    found = summarise_uncertainty(done, stated, FAST)
    assert (found["cases"], found["with_range"], found["ood_cases"]) == (5, 4, 1)
    assert found["in_range"]["value"] == 3 / 4
    assert found["with_recovery"] == 0
    assert found["agreement_dice"]["value"] == pytest.approx(1)
    assert found["range_error"]["value"] == pytest.approx(spearmanr([2, 4, 35, 1], [0, 4, 20, 1]).statistic)
    assert found["dice_ood"]["value"] == pytest.approx(0.2)
    assert found["dice_in_distribution"]["value"] == pytest.approx((0.9 + 0.7 + 0.8) / 3)


@pytest.mark.slow
def test_recovery_is_read_and_correlated_where_there_is_one(cohort):
    header = HEADER.replace(",ood", ",ood,recovery")
    rows = "a_1,ok,1,,,,,0.8\na_2,ok,1,,,,,0.3\nb_1,ok,0,,,,,0.1\nb_2,ok,0,,,,,\n"
    (cohort / "pred" / "volumes.csv").write_text(header + rows)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    stated = found.summary["models"][0]["uncertainty"]
    assert stated["with_recovery"] == 3
    assert stated["recovery_dice"]["value"] == pytest.approx(1)
    report = (cohort / "out" / "report.html").read_text()
    assert "Recovery and Dice, correlation" in report
    assert "Recovery and Dice, mean absolute difference" in report


@pytest.mark.slow
def test_read_from_beside_the_masks_and_shown(cohort):
    rows = "a_1,ok,0.16,0.1,0.2,0.9,\na_2,ok,0.08,0.05,0.1,0.5,slice step 1.0 mm\nb_1,failed,,,,,\nb_2,ok,0,0,0,1,\n"
    (cohort / "pred" / "volumes.csv").write_text(HEADER + rows)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    stated = found.summary["models"][0]["uncertainty"]
    assert stated["in_range"]["value"] == pytest.approx(2 / 3)
    assert stated["ood_cases"] == 1
    assert "Cases flagged as out of distribution" in (cohort / "out" / "report.html").read_text()


@pytest.mark.slow
def test_another_tools_masks_have_none(cohort):
    (cohort / "pred" / "volumes.csv").write_text("case,ml\na_1,3\n")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    assert "uncertainty" not in found.summary["models"][0]


def cohort_of(rng, patients, scans=1):
    """Members that are off by a share of their range, so a widening of the range is what it takes."""
    ref = rng.gamma(2, 15, patients * scans)
    width = 0.1 * ref + rng.uniform(0, 2, len(ref))
    ml = np.maximum(ref + rng.normal(0, 2, len(ref)) * width, 0)
    columns = {"ref_ml": ref, "ml": ml, "ml_low": np.maximum(ml - width, 0), "ml_high": ml + width}
    return pd.DataFrame({**columns, "patient": np.repeat(np.arange(patients), scans).astype(str)})


def covered(cases, factor):
    ranges = [widened(row.ml, row.ml_low, row.ml_high, factor) for row in cases.itertuples()]
    return np.mean([low <= ref <= high for (low, high), ref in zip(ranges, cases["ref_ml"], strict=True)])


def test_widened_ranges_hold_new_patients_as_often_as_stated():
    """Over many calibrations on 30 patients, 80 % of new patients lie within; the members' own range held 38 %."""
    rng = np.random.default_rng(0)
    new = cohort_of(rng, 400)
    shares = [covered(new, range_factor(cohort_of(rng, 30), 0.8)["factor"]) for _ in range(60)]
    assert 0.78 < np.mean(shares) < 0.86
    assert np.mean((new["ref_ml"] >= new["ml_low"]) & (new["ref_ml"] <= new["ml_high"])) < 0.5


def test_a_factor_by_hand_takes_each_patients_worst_case_and_the_side_of_the_error():
    cases = pd.DataFrame(
        {
            "ref_ml": [12.0, 10, 5, 8], "ml": [10.0, 10, 10, 10], "ml_low": [9.0, 9, 7.5, 10],
            "ml_high": [10.5, 10.5, 20, 10], "patient": list("aabc"),
        }
    )  # fmt: skip
    found = range_factor(cases, 0.5)  # a: 2 / 1.0, b: 5 / 3.0, c: 2 / 0.5; rank ceil(4 * 0.5)
    assert found == {"level": 0.5, "patients": 3, "factor": pytest.approx(2.0)}
    assert widened(10, 9, 10.5, 2.0) == (pytest.approx(7.0), pytest.approx(12.0))
    assert range_factor(cases, 0.9)["factor"] is None


@pytest.mark.slow
def test_ranges_that_were_widened_already_calibrate_nothing(cohort):
    rows = "a_1,ok,0.16,0.1,0.2,0.9,\na_2,ok,0.08,0.05,0.1,0.5,\nb_1,ok,0,0,0,1,\n"
    (cohort / "pred" / "volumes.csv").write_text(HEADER + rows)
    settings = FAST.model_copy(update={"range_level": 0.5})
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "one", settings=settings)
    assert found.summary["models"][0]["uncertainty"]["range_factor"]["patients"] == 3
    (cohort / "pred" / "volumes.json").write_text('{"settings": {"range_factor": 2.0}}')
    again = evaluate(cohort / "pred", cohort / "ref", cohort / "two", settings=settings)
    assert again.summary["models"][0]["uncertainty"]["range_factor"]["factor"] is None
    assert again.summary["models"][0]["uncertainty"]["with_range"] == 3
