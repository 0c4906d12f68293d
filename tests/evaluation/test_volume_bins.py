"""Bins of the volume's bias: their medians, how often their intervals hold a new patient, and what is too little."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ctseg.evaluation.volume_bins import conformal_interval, volume_bins


def cases(pred: list[float], ref: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"pred_ml": pred, "ref_ml": ref})


def test_factors_are_medians_of_true_over_segmented() -> None:
    small, large = np.linspace(0.5, 1.9, 25), np.linspace(40, 90, 25)
    table = cases([*small, *large], [*(2 * small), *(1.25 * large)])
    bins = volume_bins(table)
    assert [(item.up_to_ml, item.factor, item.cases) for item in bins] == [(2.0, 2.0, 25), (None, 1.25, 25)]


def test_scans_without_either_volume_do_not_count() -> None:
    pred = [*np.linspace(1, 60, 40), 5.0, 0.0, np.nan]
    bins = volume_bins(cases(pred, [*np.linspace(1, 60, 40), 0.0, 5.0, 3.0]))
    assert sum(item.cases for item in bins) == 40
    assert all(item.factor == item.low == item.high == 1.0 for item in bins)


def test_bins_with_too_few_cases_are_joined() -> None:
    few = cases([1.0] * 5 + [5.0] * 20 + [100.0] * 3, [1.0] * 28)
    assert [(item.up_to_ml, item.cases) for item in volume_bins(few)] == [(None, 28)]
    assert volume_bins(cases([1.0] * 18, [1.0] * 18)) == []
    assert len(volume_bins(cases([1.0] * 19, [1.0] * 19))) == 1


@pytest.mark.parametrize("count", [19, 40, 101])
def test_intervals_hold_a_new_patient_as_often_as_the_level_says(count: int) -> None:
    rng = np.random.default_rng(count)
    held = []
    for _ in range(3000):
        low, high = conformal_interval(rng.lognormal(0.1, 0.4, count), 0.9)
        held.append(low <= rng.lognormal(0.1, 0.4) <= high)
    assert 0.88 <= np.mean(held) <= 0.94
