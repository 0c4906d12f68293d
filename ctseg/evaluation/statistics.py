"""Intervals and tests that respect that scans of one patient belong together.

A statistic here is a function of case weights, (B, N) -> (B,): weights of one give the value itself, resampled weights
the bootstrap. Patients, not cases, are drawn (Field and Welsh 2007, cluster bootstrap), and all cases of a drawn
patient come along. Means and ratios of sums have a better interval for few patients: `ratio_interval`, the jackknife
over patients (`ctseg.evaluation.intervals`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta
from scipy.stats import t as student_t

from ctseg.evaluation.intervals import ANY, SHARE, Interval, Sums, shared_patients_interval

Weights = NDArray[np.float64]
Statistic = Callable[[Weights], NDArray[np.float64]]
BLOCK = 250
"""Resamples at a time."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval; NaN where it cannot be had (no case, or one patient only)."""

    value: float
    low: float
    high: float
    cases: int
    patients: int

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Ratio:
    """Sum of N parts over the sum of N wholes, as a statistic; cases with a whole of 0 add nothing."""

    parts: NDArray[np.float64]
    wholes: NDArray[np.float64]

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """(B,) of the weights (B, N)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ self.parts) / (weights @ self.wholes))

    def by_patient(self, numbers: NDArray[np.int64], count: int, sign: float = 1.0) -> Sums:
        """Sums over each patient's cases, for the jackknife."""

        def sums(column: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(numbers, column, count), np.float64)[None]

        return Sums(sums(self.parts), sums(self.wholes), sign)


def mean_of(values: ArrayLike) -> Ratio:
    """The mean of N values; NaN are left out."""
    array = np.asarray(values, float)
    known = np.isfinite(array)
    return ratio_of(np.where(known, array, 0.0), known.astype(float))


def ratio_of(parts: ArrayLike, wholes: ArrayLike) -> Ratio:
    """Sum of N parts over the sum of N wholes: pooled Dice is `ratio_of(2 * tp, 2 * tp + fp + fn)`."""
    return Ratio(np.asarray(parts, float), np.asarray(wholes, float))


def median_of(values: ArrayLike) -> Statistic:
    """The median of N values (mean of the middle two for an even count); NaN are left out."""
    array = np.asarray(values, float)
    order = np.argsort(array, kind="stable")
    order = order[np.isfinite(array[order])]
    ranked = array[order]

    def statistic(weights: Weights) -> NDArray[np.float64]:
        if not len(ranked):
            return np.full(len(weights), np.nan)
        sums = np.cumsum(weights[:, order], axis=1)
        total = sums[:, -1:]
        lower = np.argmax(sums >= total / 2, axis=1)
        upper = np.argmax(sums > total / 2, axis=1)
        return np.where(total[:, 0] > 0, (ranked[lower] + ranked[upper]) / 2, np.nan)

    return statistic


def concordance_of(one: ArrayLike, other: ArrayLike) -> Statistic:
    """Lin's concordance correlation coefficient of N pairs (Lin 1989)."""
    x, y = np.asarray(one, float), np.asarray(other, float)

    def statistic(weights: Weights) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            total = weights.sum(axis=1)
            mean_x, mean_y = weights @ x / total, weights @ y / total
            spread = weights @ x**2 / total - mean_x**2 + weights @ y**2 / total - mean_y**2
            values: NDArray[np.float64] = (
                2 * (weights @ (x * y) / total - mean_x * mean_y) / (spread + (mean_x - mean_y) ** 2)
            )
            return values

    return statistic


def patient_numbers(patients: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """(N,) number of each case's patient, and how many patients there are."""
    names, numbers = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return numbers.astype(np.int64), len(names)


def bootstrap(
    statistic: Statistic,
    patients: Sequence[str],
    *,
    used: ArrayLike | None = None,
    least: int = 1,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A statistic with its patient-clustered percentile interval.

    Args:
        statistic: of the weights of N cases.
        patients: (N,) whose case it is.
        used: (N,) which cases the statistic looks at; patients without any of them are not drawn.
        least: with fewer cases the statistic says nothing and is undefined; draws may have fewer different ones.
        resamples: how many times the patients are drawn.
        level: of the interval.
        seed: of the draws; the same patients with the same seed get the same draws.

    Draws in which the statistic is undefined (a ratio without a whole) are left out.
    """
    keep = np.ones(len(patients), bool) if used is None else np.asarray(used, bool)
    value = float(statistic(keep[None].astype(float))[0]) if keep.sum() >= max(least, 1) else float("nan")
    chosen = np.asarray(patients, dtype=str)[keep].tolist()
    numbers, count = patient_numbers(chosen)
    cases = int(keep.sum())
    if count < 2 or not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"), cases, count)
    drawn = np.concatenate([statistic(part) for part in _draws(numbers, count, keep, resamples, seed)])
    low, high = np.nanpercentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    return Estimate(value, float(low), float(high), cases, count)


def ratio_interval(
    ratio: Ratio,
    patients: Sequence[str],
    *,
    used: ArrayLike | None = None,
    level: float = 0.95,
    bounds: Interval = ANY,
) -> Estimate:
    """A mean or a ratio of sums with its jackknife interval over patients (`intervals.shared_patients_interval`).

    Args:
        ratio: of N cases.
        patients: (N,) whose case it is.
        used: (N,) which cases count; all by default.
        level: of the interval.
        bounds: values that the statistic cannot pass, such as `intervals.SHARE`.
    """
    keep = np.ones(len(patients), bool) if used is None else np.asarray(used, bool)
    numbers, count = patient_numbers(np.asarray(patients, dtype=str)[keep].tolist())
    sums = Ratio(ratio.parts[keep], ratio.wholes[keep]).by_patient(numbers, count)
    value = float(sums.ratios()[0]) if keep.any() else float("nan")
    low, high = shared_patients_interval([sums], level, bounds)
    return Estimate(value, low, high, int(keep.sum()), count)


def proportion_interval(
    parts: ArrayLike, wholes: ArrayLike, patients: Sequence[str], *, level: float = 0.95
) -> Estimate:
    """A share, sum of (N,) parts over sum of (N,) wholes, with a binomial interval that heeds patients.

    The interval is the exact binomial one (Clopper and Pearson 1934). Where nothing or everything counts it has one
    trial a patient, as if the cases of a patient carried no more information than one. Elsewhere it has the effective
    number of trials that the jackknife variance over patients implies, at most the trials themselves (Korn and Graubard
    1998).
    """
    part, whole = np.asarray(parts, float), np.asarray(wholes, float)
    found = ratio_interval(ratio_of(part, whole), patients, used=whole > 0, level=level, bounds=SHARE)
    if not np.isfinite(found.value):
        return found
    trials = float(found.patients)
    if 0 < part.sum() < whole.sum():
        if not np.isfinite(found.low):
            return found
        trials = _effective_trials(part, whole, patients, found.value, level)
    low, high = _clopper_pearson(found.value * trials, trials, level)
    return replace(found, low=low, high=high)


def _effective_trials(part: Weights, whole: Weights, patients: Sequence[str], share: float, level: float) -> float:
    """Trials of a binomial that varies as much as the share does over patients."""
    used = whole > 0
    numbers, count = patient_numbers(np.asarray(patients, dtype=str)[used].tolist())
    influences = Ratio(part[used], whole[used]).by_patient(numbers, count).influences()
    variance = float((influences**2).sum()) / (count - 1) / count
    total = float(whole.sum())
    if variance <= 0:
        return total
    correction = student_t.ppf((1 + level) / 2, [max(total - 1, 1), count - 1])
    return float(min(total, share * (1 - share) / variance * (correction[0] / correction[1]) ** 2))


def _clopper_pearson(hits: float, trials: float, level: float) -> Interval:
    """Exact binomial limits; hits and trials need not be whole (Korn and Graubard 1998)."""
    tail = (1 - level) / 2
    low = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits >= trials else float(beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


def _draws(
    numbers: NDArray[np.int64], count: int, keep: NDArray[np.bool_], resamples: int, seed: int
) -> Iterator[Weights]:
    """Case weights of the resamples in blocks of (B, N), each block small enough for memory."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        weights = np.zeros((size, len(keep)))
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        weights[:, keep] = times[:, numbers]
        yield weights


@dataclass(frozen=True)
class Comparison:
    """The difference `second - first` of two models on the same cases."""

    difference: float
    low: float
    high: float
    p_value: float
    permutations: int
    exact: bool
    cases: int
    patients: int

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        return asdict(self)


def compare_ratios(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    patients: Sequence[str],
    *,
    permutations: int = 10000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Paired difference of two ratios of sums, `second - first`, with an interval and a permutation test.

    `first` and `second` are (parts, wholes), (N,) each, of the same N cases; a mean is the ratio with wholes of one. A
    case that one of the two leaves out (a whole of 0) still counts in the other, so the difference is always that of
    the two ratios. The interval is the jackknife's over patients. The test swaps the two models within patients (all
    cases of a patient together): two-sided, exact where 2**patients is at most `permutations`, else by random swaps
    with the +1 correction of Phipson and Smyth (2010).
    """
    one, two = ratio_of(*first), ratio_of(*second)
    numbers, count = patient_numbers(patients)
    terms = [two.by_patient(numbers, count), one.by_patient(numbers, count, -1.0)]
    value = float(terms[0].ratios()[0] - terms[1].ratios()[0]) if count else float("nan")
    low, high = shared_patients_interval(terms, level) if count else (float("nan"), float("nan"))
    exact = 2**count <= permutations if count < 60 else False
    swaps = np.array(list(product((False, True), repeat=count))) if exact else _random_swaps(count, permutations, seed)
    found = _swapped_differences(first, second, swaps[:, numbers] if count else swaps)
    extreme = int(np.count_nonzero(np.abs(found) >= abs(value) - 1e-12))
    p_value = extreme / len(swaps) if exact else (extreme + 1) / (len(swaps) + 1)
    p_value = p_value if np.isfinite(value) else float("nan")
    return Comparison(value, low, high, p_value, len(swaps), exact, len(patients), count)


def _random_swaps(count: int, permutations: int, seed: int) -> NDArray[np.bool_]:
    return np.random.default_rng([seed, 1]).random((permutations, count)) < 0.5


def _swapped_differences(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], swaps: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(R,) differences after swapping the models in the cases that each row of `swaps` (R, N) marks."""
    sums = []
    for one, two in zip(first, second, strict=True):
        a, b = np.asarray(one, float), np.asarray(two, float)
        moved = swaps @ (b - a)
        sums.append((a.sum() + moved, b.sum() - moved))
    (part_one, part_two), (whole_one, whole_two) = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        difference: NDArray[np.float64] = part_two / whole_two - part_one / whole_one
        return difference


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p values; NaN stay NaN and are not counted."""
    known = sorted((p, place) for place, p in enumerate(p_values) if np.isfinite(p))
    corrected = [float("nan")] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected


def limits_of_agreement(errors: ArrayLike) -> tuple[float, float, float]:
    """Bias and 95 % limits of agreement (bias -/+ 1.96 SD) of N differences (Bland and Altman 1986)."""
    array = np.asarray(errors, float)
    if not len(array):
        return float("nan"), float("nan"), float("nan")
    bias = float(array.mean())
    spread = 1.96 * float(array.std(ddof=1)) if len(array) > 1 else float("nan")
    return bias, bias - spread, bias + spread
