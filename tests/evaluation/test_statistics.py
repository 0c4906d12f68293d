"""Intervals and tests against slow, plain computations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ctseg.evaluation.statistics import (
    bootstrap,
    compare_ratios,
    concordance_of,
    holm,
    limits_of_agreement,
    mean_of,
    median_of,
    ratio_of,
)


def weights_like(rng, draws, count):
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)


@pytest.mark.parametrize(
    ("statistic", "plain"),
    [
        (lambda x, y: mean_of(x), lambda x, y: np.mean(x)),
        (lambda x, y: median_of(x), lambda x, y: np.median(x)),
        (lambda x, y: ratio_of(x, y), lambda x, y: np.sum(x) / np.sum(y)),
        (
            lambda x, y: concordance_of(x, y),
            lambda x, y: 2 * np.cov(x, y, ddof=0)[0, 1] / (np.var(x) + np.var(y) + (np.mean(x) - np.mean(y)) ** 2),
        ),
    ],
    ids=["mean", "median", "ratio", "concordance"],
)
def test_weighted_statistics_are_those_of_the_repeated_cases(rng, statistic, plain):
    x, y = rng.normal(3, 1, 12), rng.normal(3, 1, 12)
    weights = weights_like(rng, 40, 12)
    repeated = [(np.repeat(x, row.astype(int)), np.repeat(y, row.astype(int))) for row in weights]
    np.testing.assert_allclose(statistic(x, y)(weights), [plain(*pair) for pair in repeated], rtol=1e-9)


def test_mean_and_median_leave_out_what_is_undefined():
    values = [1.0, np.nan, 3.0, 10.0]
    whole = np.ones((1, 4))
    assert mean_of(values)(whole)[0] == pytest.approx(14 / 3)
    assert median_of(values)(whole)[0] == 3


def test_too_few_cases_have_no_value():
    one, other = [10.0, 20.0, 40.0], [11.0, 22.0, 38.0]
    agreement = concordance_of(one, other)
    for count in (0, 1):
        used = np.arange(3) < count
        found = bootstrap(agreement, ["a", "b", "c"], used=used, least=2)
        assert np.isnan([found.value, found.low, found.high]).all()
        assert (found.cases, found.patients) == (count, count)
    assert bootstrap(agreement, ["a", "b", "c"], used=[True, True, False], least=2).value == pytest.approx(22 / 23)


def test_bootstrap_interval_is_that_of_a_plain_cluster_bootstrap(rng):
    patients = [f"p{index // 3}" for index in range(36)]
    values = np.repeat(rng.normal(0.7, 0.15, 12), 3) + rng.normal(0, 0.02, 36)
    found = bootstrap(mean_of(values), patients, resamples=8000, seed=3)
    draw = np.random.default_rng(99)
    by_patient = values.reshape(12, 3)
    plain = [by_patient[draw.integers(0, 12, 12)].mean() for _ in range(8000)]
    low, high = np.percentile(plain, [2.5, 97.5])
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(low, abs=0.006)
    assert found.high == pytest.approx(high, abs=0.006)
    assert (found.cases, found.patients) == (36, 12)
    single = bootstrap(mean_of(values), [str(index) for index in range(36)], resamples=8000, seed=3)
    assert single.high - single.low < 0.7 * (found.high - found.low)


def test_intervals_cover_the_truth_as_often_as_they_say(rng):
    covered = 0
    for repeat in range(300):
        values = rng.normal(0, 1, 40)
        found = bootstrap(mean_of(values), [str(index) for index in range(40)], resamples=300, seed=repeat)
        covered += found.low <= 0 <= found.high
    assert 0.89 <= covered / 300 <= 0.98


def test_bootstrap_is_the_same_under_a_seed_and_other_under_another(rng):
    values, patients = rng.random(20), [str(index) for index in range(20)]
    assert bootstrap(mean_of(values), patients, seed=1) == bootstrap(mean_of(values), patients, seed=1)
    assert bootstrap(mean_of(values), patients, seed=1) != bootstrap(mean_of(values), patients, seed=2)


def test_only_patients_with_used_cases_are_drawn(rng):
    values = np.array([0.2, 0.4, 0.9, 5.0, 7.0])
    patients = ["a", "a", "b", "c", "d"]
    used = np.array([True, True, True, False, False])
    found = bootstrap(mean_of(values), patients, used=used, seed=4)
    assert found == bootstrap(mean_of(values[:3]), patients[:3], seed=4)
    assert (found.cases, found.patients) == (3, 2)


def test_one_patient_has_no_interval_and_no_case_no_value():
    alone = bootstrap(mean_of([0.5, 0.7]), ["a", "a"])
    assert alone.value == pytest.approx(0.6)
    assert np.isnan(alone.low)
    assert np.isnan(bootstrap(mean_of([0.5]), ["a"], used=[False]).value)


def test_exact_permutation_test_is_the_plain_enumeration(rng):
    patients = ["a", "a", "b", "c", "d", "e", "e"]
    one, two = rng.random(7), rng.random(7) + 0.2
    count = np.ones(7)
    found = compare_ratios((one, count), (two, count), patients, permutations=100)
    extreme = []
    for flips in itertools.product((False, True), repeat=5):
        flip = np.array([flips["abcde".index(name)] for name in patients])
        swapped_one, swapped_two = np.where(flip, two, one), np.where(flip, one, two)
        extreme.append(abs(swapped_two.mean() - swapped_one.mean()) >= abs(two.mean() - one.mean()) - 1e-12)
    assert found.exact
    assert found.permutations == 32
    assert found.p_value == pytest.approx(np.mean(extreme))
    assert found.difference == pytest.approx(two.mean() - one.mean())


def test_pooled_ratios_swap_parts_and_wholes_together(rng):
    patients = list("abcd")
    part_one, part_two = rng.random(4), rng.random(4)
    whole_one, whole_two = part_one + rng.random(4), part_two + rng.random(4)
    found = compare_ratios((part_one, whole_one), (part_two, whole_two), patients)
    actual = part_two.sum() / whole_two.sum() - part_one.sum() / whole_one.sum()
    extreme = 0
    for flips in itertools.product((False, True), repeat=4):
        flip = np.array(flips)
        a = np.where(flip, part_two, part_one).sum() / np.where(flip, whole_two, whole_one).sum()
        b = np.where(flip, part_one, part_two).sum() / np.where(flip, whole_one, whole_two).sum()
        extreme += abs(b - a) >= abs(actual) - 1e-12
    assert found.p_value == pytest.approx(extreme / 16)


def test_random_permutations_agree_with_the_exact_ones(rng):
    patients = [str(index) for index in range(10)]
    one, count = rng.random(10), np.ones(10)
    two = one + rng.normal(0.1, 0.15, 10)
    exact = compare_ratios((one, count), (two, count), patients, permutations=1024)
    drawn = compare_ratios((one, count), (two, count), patients, permutations=1023)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.03)


def test_no_p_value_is_0():
    """Forty patients, all of them better by far: no random swap is as extreme, so p is 1 / (permutations + 1)."""
    one, two, count = np.zeros(40), np.ones(40), np.ones(40)
    found = compare_ratios((one, count), (two, count), [str(place) for place in range(40)], permutations=99)
    assert (found.exact, found.p_value) == (False, pytest.approx(1 / 100))


def test_p_values_are_uniform_where_there_is_no_difference(rng):
    patients, count = [str(index) for index in range(30)], np.ones(30)
    found = [
        compare_ratios((rng.random(30), count), (rng.random(30), count), patients, permutations=200, seed=seed).p_value
        for seed in range(200)
    ]
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.09
    assert 0.4 <= np.mean(found) <= 0.6


def test_equal_models_differ_by_nothing():
    values, count = np.array([0.1, 0.5, 0.9]), np.ones(3)
    found = compare_ratios((values, count), (values, count), list("abc"))
    assert (found.difference, found.p_value) == (0, 1)


def test_holm_by_hand():
    assert holm([0.04, 0.01, float("nan"), 0.03])[:2] == [pytest.approx(0.06), pytest.approx(0.03)]
    assert holm([0.04, 0.01, float("nan"), 0.03])[3] == pytest.approx(0.06)
    assert np.isnan(holm([0.04, 0.01, float("nan"), 0.03])[2])


def test_limits_of_agreement_by_hand():
    bias, low, high = limits_of_agreement([1.0, 2.0, 3.0])
    assert (bias, low, high) == (2, pytest.approx(2 - 1.96), pytest.approx(2 + 1.96))
    assert np.isnan(limits_of_agreement([])[0])
