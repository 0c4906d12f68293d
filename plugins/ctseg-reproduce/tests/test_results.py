"""Numbers of a row against hand-made truth and a second implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ctseg_reproduce.results import Outcome, difference, estimate, read_slices, read_trained
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student_t

from ctseg.errors import InputError
from ctseg.evaluation.intervals import Sums, shared_patients_interval
from ctseg.io.slices import SliceSet
from ctseg.segmentation.folds import dice_scores


def outcome(parts: list[float], wholes: list[float], seed: int = 0) -> Outcome:
    patients = [f"p{place}" for place in range(len(parts))]
    table = pd.DataFrame({"patient": patients, "pooled_part": parts, "pooled_whole": wholes})
    return Outcome(seed, table, "last", 1)


def test_the_value_is_the_mean_of_the_seeds_pooled_ratios() -> None:
    found = estimate([outcome([1, 2], [2, 6]), outcome([4, 4], [8, 8], 1)], "pooled")
    assert found.value == pytest.approx((3 / 8 + 8 / 16) / 2)
    assert found.patients == 2
    assert found.low <= found.value <= found.high


def test_seeds_on_shared_patients_have_two_variance_components() -> None:
    rng = np.random.default_rng(5)
    parts, wholes = rng.uniform(0, 1, (2, 9)), rng.uniform(1, 2, (2, 9))
    found = estimate([outcome(list(parts[k]), list(wholes[k]), k) for k in (0, 1)], "pooled")
    assert (found.low, found.high) == pytest.approx(shared_patients_interval([Sums(parts, wholes)], bounds=(0, 1)))
    assert (found.cases, found.patients) == (18, 9)


def test_seeds_with_cohorts_of_their_own_have_students_interval_over_cohorts() -> None:
    rows = [replace(outcome([part, 4.0], [8.0, 8.0], seed), cohort=3000 + seed) for seed, part in enumerate((2, 4, 3))]
    values = np.array([6, 8, 7]) / 16
    found = estimate(rows, "pooled")
    half = student_t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert (found.value, found.high) == (pytest.approx(7 / 16), pytest.approx(7 / 16 + half))
    assert found.patients == 6  # two of each cohort, though they are named alike
    other = [replace(item, cases=item.cases.assign(pooled_part=item.cases["pooled_part"] - 1)) for item in rows]
    paired = difference(rows, other, "pooled")
    assert (paired.value, paired.low, paired.high) == (pytest.approx(1 / 8),) * 3  # the cohorts' spread cancels
    other_cohort = [replace(item, cohort=1) for item in other]
    assert np.isnan(difference(rows, other_cohort, "pooled").value)  # other patients: nothing can be paired


count = st.integers(0, 5)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(count, count, count, count), min_size=3, max_size=3), min_size=1, max_size=3),
    st.booleans(),
)
def test_a_difference_is_always_that_of_the_values(seeds: list[list[tuple[int, ...]]], fresh: bool) -> None:
    def rows(hit: int, false: int) -> list[Outcome]:
        counts = [np.array(item, float) for item in seeds]
        return [
            replace(
                outcome(list(2 * item[:, hit]), list(2 * item[:, hit] + item[:, false]), seed),
                cohort=seed if fresh else None,
            )
            for seed, item in enumerate(counts)
        ]

    one, two = rows(0, 1), rows(2, 3)
    found = difference(one, two, "pooled")
    values = estimate(one, "pooled").value - estimate(two, "pooled").value
    np.testing.assert_equal(found.difference_of_values, values)
    if all(item.cases["pooled_whole"].sum() > 0 for item in (*one, *two)):
        assert found.value == pytest.approx(values, abs=1e-12)
        assert found.is_of_the_values


def test_a_patient_on_whom_one_row_has_no_foreground_stays_in_the_difference() -> None:
    empty, full = [outcome([8, 8, 0], [10, 10, 0])], [outcome([8, 8, 0], [10, 10, 5])]
    assert difference(full, empty, "pooled").value == pytest.approx(16 / 25 - 16 / 20)
    assert difference(empty, full, "pooled").patients == 3


def test_seeds_of_one_cohort_count_once_between_them() -> None:
    """Two seeds on cohort 1 and one on cohort 2: the interval is over the two cohorts' means."""
    rows = [
        replace(outcome([part], [10.0], seed), cohort=cohort)
        for seed, (part, cohort) in enumerate([(2, 1), (6, 1), (7, 2)])
    ]
    found = estimate(rows, "pooled")
    half = student_t.ppf(0.975, 1) * np.std([0.4, 0.7], ddof=1) / np.sqrt(2)
    assert (found.low, found.high) == (max(0.55 - half, 0), min(0.55 + half, 1))
    paired = difference(rows, [replace(row, cases=row.cases.assign(pooled_part=0.0)) for row in rows], "pooled")
    assert (paired.low, paired.high) == (pytest.approx(0.55 - half), pytest.approx(0.55 + half))


def test_a_patient_that_a_row_lacks_stays_in_the_difference() -> None:
    """A scan that failed under one row alone: the other row's value has it, so the difference has it, too."""
    short, whole = outcome([3, 4], [6, 8]), outcome([3, 4, 1], [6, 8, 9])
    for one, other in ((short, whole), (whole, short)):
        found = difference([one, replace(one, seed=1)], [other, replace(other, seed=1)], "pooled")
        assert found.value == pytest.approx(found.difference_of_values)
        assert found.patients == 3


def test_where_seeds_differ_both_numbers_are_known() -> None:
    one, two = [outcome([5], [10]), outcome([9], [10], 1)], [outcome([4], [10])]
    found = difference(one, two, "pooled")
    assert (found.seeds, found.value) == ((0,), pytest.approx(0.1))
    assert found.difference_of_values == pytest.approx(0.3)
    assert not found.is_of_the_values


def test_a_difference_is_paired_by_patient_and_seed() -> None:
    hard = [outcome([1, 5, 9], [10, 10, 10]), outcome([2, 6, 9], [10, 10, 10], 1)]
    better = [outcome([2, 6, 10], [10, 10, 10]), outcome([3, 7, 10], [10, 10, 10], 1), outcome([0, 0, 0], [1, 1, 1], 7)]
    found = difference(better, hard, "pooled")
    assert (found.value, found.patients) == (pytest.approx(0.1), 3)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))  # the spread of patients cancels
    assert estimate(hard, "pooled").high - estimate(hard, "pooled").low > 0.3
    assert np.isnan(difference(better[2:], hard, "pooled").value)


def test_equal_patients_and_seeds_leave_no_spread() -> None:
    found = estimate([outcome([1, 1, 1], [2, 2, 2], seed) for seed in (0, 1)], "pooled")
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_seed_that_differs_widens_the_interval() -> None:
    same = estimate([outcome([1, 2, 1], [2, 3, 2], 0)] * 2, "pooled")
    other = estimate([outcome([1, 2, 1], [2, 3, 2], 0), outcome([0, 0.2, 0], [2, 3, 2], 1)], "pooled")
    assert other.high - other.low > same.high - same.low


def test_one_patient_has_no_interval_and_none_no_value() -> None:
    one = estimate([outcome([1], [2])], "pooled")
    assert one.value == 0.5
    assert np.isnan(one.low)
    assert np.isnan(estimate([outcome([0, 0], [0, 0])], "pooled").value)


@pytest.fixture
def crossed(tmp_path: Path, make_slices: Callable[..., SliceSet]) -> tuple[Path, SliceSet, np.ndarray]:
    """A fine-tuning's outlines: the truth shifted, and nothing in the last series; one series has no lesion."""
    truth = make_slices(tmp_path / "truth", "ct", 4, 3, labelled=True)
    masks = np.array(truth.masks)
    masks[3:6] = 0
    np.save(truth.folder / "masks.npy", masks)
    found = np.roll(masks, 2, axis=2)
    found[4, 10:12, 10:14] = 1
    found[9:] = 0
    (tmp_path / "row" / "run").mkdir(parents=True)
    np.save(tmp_path / "row" / "run" / "masks.npy", found)
    return tmp_path / "row", SliceSet(truth.folder, truth.images, masks, truth.table, truth.info), found


def test_fine_tuned_scores_are_those_of_dice_scores(crossed: tuple[Path, SliceSet, np.ndarray]) -> None:
    row, truth, found = crossed
    outcomes = [read_slices(row, truth.folder, 0)]
    scores = dice_scores(found, truth.require_masks("x"), truth.table["series_id"].to_numpy())
    assert estimate(outcomes, "pooled").value == pytest.approx(scores["pooled"])
    assert estimate(outcomes, "per_volume").value == pytest.approx(scores["per_volume"])
    assert estimate(outcomes, "per_slice").value == pytest.approx(scores["per_slice_smooth1"])


def test_false_ml_is_that_of_the_volume_without_a_lesion(crossed: tuple[Path, SliceSet, np.ndarray]) -> None:
    row, truth, _ = crossed
    assert estimate([read_slices(row, truth.folder, 0)], "fp_ml").value == pytest.approx(8 * 7.5 * 7.5 * 5.0 / 1000)


def test_dice_on_slices_with_a_lesion_leaves_the_others_out(crossed: tuple[Path, SliceSet, np.ndarray]) -> None:
    row, truth, found = crossed
    masks = truth.require_masks("x")[:] > 0
    positive = masks.any(axis=(1, 2))
    overlap = (masks & (found > 0))[positive].sum()
    dice = 2 * overlap / (masks[positive].sum() + (found > 0)[positive].sum())
    assert estimate([read_slices(row, truth.folder, 0)], "pooled_positive").value == pytest.approx(dice)


def test_dice_per_slice_with_a_lesion_is_the_plain_mean(crossed: tuple[Path, SliceSet, np.ndarray]) -> None:
    row, truth, found = crossed
    masks = truth.require_masks("x")[:] > 0
    pairs = [(mask, one > 0) for mask, one in zip(masks, found, strict=True) if mask.any()]
    plain = np.mean([2 * (mask & one).sum() / (mask.sum() + one.sum()) for mask, one in pairs])
    assert estimate([read_slices(row, truth.folder, 0)], "per_slice_positive").value == pytest.approx(plain)


def test_outlines_of_another_set_are_refused(
    crossed: tuple[Path, SliceSet, np.ndarray], tmp_path: Path, make_slices: Callable[..., SliceSet]
) -> None:
    other = make_slices(tmp_path / "other", "ct", 2, 3, labelled=True)
    with pytest.raises(InputError, match="run this row again"):
        read_slices(crossed[0], other.folder, 0)


def test_a_row_without_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cases\.csv: no such file"):
        read_trained(tmp_path, 0)
