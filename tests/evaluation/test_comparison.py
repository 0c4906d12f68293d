"""Differences of two models are those of their published values, whoever predicts nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctseg.evaluation.comparison import compare_models
from ctseg.evaluation.report import comparison_notes
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.evaluation.summary import summarise
from ctseg.io.stack import Grid
from ctseg.metrics.volume import volume_metrics

FAST = EvaluationSettings(resamples=100, permutations=100)
PUBLISHED = {
    "dice_pooled": ("pooled", "dice"),
    "dice_mean": ("by_volume", "dice", "mean"),
    "nsd_mean": ("by_volume", "nsd", "mean"),
    "hd95_mm_mean": ("by_volume", "hd95_mm", "mean"),
    "abs_error_ml_mean": ("volume", "abs_error_ml", "mean"),
}


def rows_of(model: str, reference: list[int], predicted: list[int], hits: list[int]) -> pd.DataFrame:
    """Cases of one voxel a mL: reference and predicted voxels, and how many of them agree."""
    ref, pred = np.array(reference), np.array(predicted)
    tp = np.minimum(np.array(hits), np.minimum(ref, pred))
    total, both = ref + pred, (ref > 0) & (pred > 0)
    dice = np.where(total > 0, 2 * tp / np.maximum(total, 1), np.nan)
    distance = np.where(both, 1.0 + ref, np.nan)
    lesions = {f"lesions_{kind}{end}": 0 for kind in ("tp", "fp", "fn") for end in ("", "_small", "_medium", "_large")}
    return pd.DataFrame(
        {
            "model": model, "case": [f"c{place}" for place in range(len(ref))],
            "patient": [f"p{place // 2}" for place in range(len(ref))], "status": "ok",
            "tp": tp, "fp": pred - tp, "fn": ref - tp, "dice": dice, "nsd": dice, "iou": dice,
            "sensitivity": dice, "precision": dice, "hd95_mm": distance + pred,
            "pred_ml": pred + 0.0, "ref_ml": ref + 0.0, "error_ml": pred - ref + 0.0,
            "abs_error_ml": abs(pred - ref) + 0.0,
            "slices": 4, "negative_slices": 2, "negative_slices_fp": 0, "negative_slices_fp_ml": 0.0,
            "fp_ml": pred - tp + 0.0, "dice_per_slice_released": 0.5,
            "dice_per_slice_positive": np.where(ref > 0, 0.5, np.nan), **lesions,
        }
    )  # fmt: skip


def published(table: pd.DataFrame, metric: str) -> float:
    value = summarise(table, FAST)
    for key in PUBLISHED[metric]:
        value = value[key]
    return float(value["value"])


count = st.integers(0, 6)
case = st.tuples(st.sampled_from([0, 0, 3, 9]), count, count, count, count)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.lists(case, min_size=2, max_size=7))
def test_a_paired_difference_is_that_of_the_published_values(cases: list[tuple[int, int, int, int, int]]) -> None:
    reference, one, hits_one, two, hits_two = (list(column) for column in zip(*cases, strict=True))
    tables = [rows_of("one", reference, one, hits_one), rows_of("two", reference, two, hits_two)]
    for row in compare_models(pd.concat(tables, ignore_index=True), ("one", "two"), FAST):
        expected = published(tables[1], row["metric"]) - published(tables[0], row["metric"])
        np.testing.assert_allclose(row["difference_of_means"], expected, atol=1e-12)
        if row["metric"] != "hd95_mm_mean" or not (row["undefined_first"] or row["undefined_second"]):
            np.testing.assert_allclose(row["difference"], expected, atol=1e-12)


def test_a_silent_negative_patient_stays_in_the_pooled_difference() -> None:
    tables = [rows_of("silent", [8, 8, 0, 0], [8, 8, 0, 0], [8, 8, 0, 0])]
    tables += [rows_of("loud", [8, 8, 0, 0], [8, 8, 8, 0], [8, 8, 0, 0])]
    found = {row["metric"]: row for row in compare_models(pd.concat(tables), ("silent", "loud"), FAST)}
    assert found["dice_pooled"]["difference"] == pytest.approx(32 / 40 - 1)


def test_where_hd95_is_undefined_for_one_model_both_numbers_and_the_count_are_given() -> None:
    tables = [rows_of("one", [3, 9, 3, 9], [3, 0, 3, 9], [2] * 4), rows_of("two", [3, 9, 3, 9], [2, 2, 2, 2], [2] * 4)]
    found = {row["metric"]: row for row in compare_models(pd.concat(tables), ("one", "two"), FAST)}
    row = found["hd95_mm_mean"]
    assert (row["cases"], row["undefined_first"], row["undefined_second"]) == (3, 1, 0)
    assert row["difference"] == pytest.approx(((4 + 2) + (4 + 2) + (10 + 2) - (4 + 3) - (4 + 3) - (10 + 9)) / 3)
    assert row["difference_of_means"] == pytest.approx((6 + 12 + 6 + 12) / 4 - (7 + 7 + 19) / 3)
    assert comparison_notes(row) == [
        "hd95_mm_mean: undefined for one alone in 1 case; the paired difference leaves these out, the other model's "
        "mean holds them."
    ]
    assert found["dice_mean"]["difference"] == pytest.approx(found["dice_mean"]["difference_of_means"])
    assert comparison_notes(found["dice_mean"]) == []


def test_a_case_that_one_model_lacks_is_said() -> None:
    tables = [rows_of("one", [3, 9, 3], [3, 2, 3], [2] * 3), rows_of("two", [3, 9], [2, 2], [2] * 2)]
    row = compare_models(pd.concat(tables), ("one", "two"), FAST)[0]
    assert (row["lacking_first"], row["lacking_second"]) == (0, 1)
    assert "two lacks 1 case" in comparison_notes(row)[0]


def test_dice_of_positive_slices_by_hand() -> None:
    grid = Grid.even(3, (1.0, 1.0, 1.0))
    pred, ref = np.zeros((3, 2, 2), bool), np.zeros((3, 2, 2), bool)
    ref[0, 0], pred[0, 0, 0], ref[1, 0, 0], pred[2] = True, True, True, True
    assert volume_metrics(pred, ref, grid)["dice_per_slice_positive"] == pytest.approx((2 / 3 + 0) / 2)
    assert np.isnan(volume_metrics(pred, ref & False, grid)["dice_per_slice_positive"])
