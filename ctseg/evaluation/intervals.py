"""Intervals from few patients and few seeds, for ratios of sums such as pooled Dice and for their differences.

A row's counts are two tables of sums over each patient's cases: `parts` and `wholes`, (K, N) for K seeds and N
patients; the statistic of a seed is `parts.sum() / wholes.sum()`, and a row's value is the mean over its seeds.

- One seed: the delete-one-patient jackknife (Tukey 1958; Miller 1974) with a t quantile, whose degrees of freedom are
  the effective number of patients (Kish 1965) less one, since a few large lesions carry most of a pooled Dice.
- Several seeds on the same patients: the two variance components of the crossed design, seeds (with their interaction
  with patients) and patients, each with a t half-width of its own; their squares add (modified large sample limits,
  Graybill and Wang 1980; the square-and-add step is also that of Zou and Donner 2008). The interaction counts with the
  seeds, whose few degrees of freedom it shares: counted with the patients, two seeds covered 88 to 92 %.
- A cohort of its own for every seed: the cohorts' values are independent, so t with one degree of freedom less than
  there are cohorts holds both the patients' and the seeds' variance (Student 1908).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Table = NDArray[np.float64]
Interval = tuple[float, float]
UNKNOWN: Interval = (float("nan"), float("nan"))
SHARE: Interval = (0.0, 1.0)
AMOUNT: Interval = (0.0, float("inf"))
ANY: Interval = (float("-inf"), float("inf"))


@dataclass(frozen=True)
class Sums:
    """Sums over each patient's cases of one row; `sign` is -1 for the row that is subtracted in a difference."""

    parts: Table
    """(K, N)"""
    wholes: Table
    """(K, N), 0 where a patient adds nothing."""
    sign: float = 1.0

    def ratios(self) -> Table:
        """(K,) the statistic of each seed; NaN where it is undefined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.parts.sum(axis=1) / self.wholes.sum(axis=1))

    def weights(self) -> Table:
        """(N,) each patient's share of the wholes, mean over seeds."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.wholes / self.wholes.sum(axis=1, keepdims=True)).mean(axis=0))

    def influences(self) -> Table:
        """(K, N) how far each patient moves the ratio: jackknife pseudo-values less their mean."""
        total, whole = self.parts.sum(axis=1, keepdims=True), self.wholes.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            without = (total - self.parts) / (whole - self.wholes)
        return np.asarray((self.parts.shape[1] - 1) * (without.mean(axis=1, keepdims=True) - without))


def value_of(terms: Sequence[Sums]) -> Table:
    """(K,) each seed's statistic: a ratio, or the signed sum of several."""
    values: Table = np.sum([term.sign * term.ratios() for term in terms], axis=0)
    return values


def used_patients(terms: Sequence[Sums]) -> NDArray[np.bool_]:
    """(N,) who adds anything to any term: a patient whom one row leaves empty still counts in the other."""
    counted: NDArray[np.bool_] = np.any([(term.wholes != 0).any(axis=0) for term in terms], axis=0)
    return counted


def effective_number(weights: Table) -> float:
    """How many equally weighted patients tell as much: (sum w)^2 / sum w^2 (Kish 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def half_width(variance: float, degrees: float, level: float) -> float:
    """Half the t interval of an estimate with this variance; below one degree of freedom, one is taken."""
    return float(student_t.ppf((1 + level) / 2, max(degrees, 1.0)) * np.sqrt(max(variance, 0.0)))


def shared_patients_interval(terms: Sequence[Sums], level: float = 0.95, bounds: Interval = ANY) -> Interval:
    """The interval where all seeds are tested on the same patients; with one seed it is over patients alone.

    Args:
        terms: one row, or the two of a difference, on the same K seeds and N patients.
        level: of the interval.
        bounds: values that the statistic cannot pass.

    Returns:
        Low and high; NaN where fewer than two patients tell anything.
    """
    used = used_patients(terms)
    terms = [Sums(term.parts[:, used], term.wholes[:, used], term.sign) for term in terms]
    seeds, count = terms[0].parts.shape
    values = value_of(terms)
    if count < 2 or not np.isfinite(values).all():
        return UNKNOWN
    influences = np.sum([term.sign * term.influences() for term in terms], axis=0)
    patients, interaction = _patient_variances(influences)
    degrees = effective_number(np.sum([term.weights() for term in terms], axis=0)) - 1
    over_patients = half_width(patients - interaction, degrees, level)
    over_seeds = half_width(float(values.var(ddof=1)) / seeds, seeds - 1, level) if seeds > 1 else 0.0
    return _within(float(values.mean()), float(np.hypot(over_patients, over_seeds)), bounds)


def _patient_variances(influences: Table) -> tuple[float, float]:
    """Variances of the mean over seeds: what patients add, and what patients add seed by seed (the interaction).

    Args:
        influences: (K, N), of mean 0 over patients.
    """
    seeds, count = influences.shape
    mean = influences.mean(axis=0)
    patients = float((mean**2).sum()) / (count - 1) / count
    if seeds == 1:
        return patients, 0.0
    rest = float(((influences - mean) ** 2).sum()) / ((seeds - 1) * (count - 1)) / (seeds * count)
    return patients, rest


def cohorts_interval(values: Table, level: float = 0.95, bounds: Interval = ANY) -> Interval:
    """The interval of a mean over independent cohorts, each with a seed of its own; NaN for fewer than two.

    Args:
        values: (K,) the statistic, or the paired difference, of each cohort.
        level: of the interval.
        bounds: values that the statistic cannot pass.
    """
    if len(values) < 2:
        return UNKNOWN
    half = half_width(float(values.var(ddof=1)) / len(values), len(values) - 1, level)
    return _within(float(values.mean()), half, bounds)


def _within(value: float, half: float, bounds: Interval) -> Interval:
    if not np.isfinite(half):
        return UNKNOWN
    return max(value - half, bounds[0]), min(value + half, bounds[1])
