"""How often the intervals cover the truth of Dice-like data: `python -m ctseg.evaluation.simulation`.

A patient has a lesion of log-normal volume or none, is easy or hard, and each seed segments all patients better or
worse and each patient with an error of its own (logit-normal Dice). A seed may predict nothing for a patient, with a
lesion or without, or a false volume where there is none. Both rows of a difference share patients and part of the
seed's luck. With heavy tails, seeds, patients and errors are of Student's t distribution and a tenth of the lesions is
many times as large. A share of the trainings of the second row can end with a network that finds nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ctseg.evaluation.intervals import SHARE, Sums, cohorts_interval, shared_patients_interval, value_of

Array = NDArray[np.float64]
HEAVY_DEGREES = 3
TAIL_SHARE, TAIL_INDEX = 0.1, 1.5
"""Of the lesions of a heavy design: how many are larger by a Pareto factor, and its index."""


@dataclass(frozen=True)
class Design:
    """A study and its data; standard deviations are on the logit of Dice, of volumes on their logarithm."""

    seeds: int
    patients: int
    fresh_cohorts: bool = False
    """Whether each seed has patients of its own."""
    seed_sd: float = 0.3
    patient_sd: float = 0.7
    interaction_sd: float = 0.5
    volume_sd: float = 0.6
    negative: float = 0.15
    """Share of patients without a lesion."""
    silent: float = 0.03
    """Share of lesions for which nothing is predicted."""
    shift: float = 0.3
    """How much better the second row is, on the logit."""
    heavy: bool = False
    """Effects of Student's t with 3 degrees of freedom, of the same standard deviations, and a Pareto tail of sizes."""
    fallen: float = 0.0
    """Share of the second row's trainings whose network finds nothing in anyone."""

    def effects(self, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        """Random effects of standard deviation 1."""
        if not self.heavy:
            return rng.normal(size=shape)
        drawn: Array = rng.standard_t(HEAVY_DEGREES, size=shape) / np.sqrt(HEAVY_DEGREES / (HEAVY_DEGREES - 2))
        return drawn


@dataclass(frozen=True)
class Coverage:
    """Shares of the intervals that hold the truth, and their median width."""

    rows: float
    differences: float
    row_width: float
    difference_width: float


def draw(design: Design, rng: np.random.Generator) -> tuple[Sums, Sums]:
    """The counts of two rows, (K, N) each: second and first, the latter with sign -1."""
    shape = (design.seeds, design.patients)
    cohort = shape if design.fresh_cohorts else (1, design.patients)
    volume = 15.0 * np.exp(design.volume_sd * rng.normal(size=cohort)) * (rng.random(cohort) >= design.negative)
    if design.heavy:
        volume = volume * np.where(rng.random(cohort) < TAIL_SHARE, 1.0 + rng.pareto(TAIL_INDEX, cohort), 1.0)
    patient = design.patient_sd * design.effects(rng, cohort) + 0.3 * np.log(np.maximum(volume, 1.0) / 15.0)
    luck = design.effects(rng, (design.seeds, 1))
    first, other = (design.seed_sd * (luck + design.effects(rng, luck.shape)) / np.sqrt(2.0) for _ in range(2))
    rows = [_row(design, rng, volume, patient, seed) for seed in (design.shift + first, other)]
    works = rng.random(luck.shape) >= design.fallen if design.fallen else np.ones(luck.shape, bool)
    return _silenced(*rows[0], volume, works), Sums(*rows[1], sign=-1.0)


def _row(design: Design, rng: np.random.Generator, volume: Array, patient: Array, seed: Array) -> tuple[Array, Array]:
    shape = (design.seeds, design.patients)
    dice = expit(1.5 + patient + seed + design.interaction_sd * design.effects(rng, shape))
    predicted = volume * np.exp(0.2 * rng.normal(size=shape)) * (rng.random(shape) >= design.silent)
    false = np.exp(rng.normal(size=shape)) * (rng.random(shape) < 0.5) * (volume == 0)
    whole = volume + predicted + false
    return dice * whole * (predicted > 0), whole


def _silenced(parts: Array, wholes: Array, volume: Array, works: NDArray[np.bool_]) -> Sums:
    """A row in which the seeds that do not work, (K, 1), find nothing."""
    return Sums(np.where(works, parts, 0.0), np.where(works, wholes, volume))


def truth(design: Design) -> tuple[float, float]:
    """The pooled Dice of the second row, and the difference, for endless seeds and patients."""
    rng = np.random.default_rng(2**20)
    large = replace(design, seeds=100, patients=4000, fresh_cohorts=False)
    found = np.array(
        [[terms[0].ratios().mean(), value_of(terms).mean()] for terms in (draw(large, rng) for _ in range(20))]
    )
    return float(found[:, 0].mean()), float(found[:, 1].mean())


def coverage(design: Design, repeats: int = 2000, seed: int = 0, level: float = 0.95) -> Coverage:
    """How often the intervals of rows and of differences hold the truth over repeated studies."""
    rng, value, difference = np.random.default_rng(seed), *truth(design)
    limits = np.array([_limits(design, draw(design, rng), level) for _ in range(repeats)])
    hit = (limits[..., 0] <= [value, difference]) & (limits[..., 1] >= [value, difference])
    width = np.median(limits[..., 1] - limits[..., 0], axis=0)
    return Coverage(*map(float, hit.mean(axis=0)), *map(float, width))


def _limits(design: Design, rows: tuple[Sums, Sums], level: float) -> list[tuple[float, float]]:
    """Of a row and of the difference."""
    if design.fresh_cohorts:
        return [cohorts_interval(rows[0].ratios(), level, SHARE), cohorts_interval(value_of(rows), level)]
    return [shared_patients_interval(rows[:1], level, SHARE), shared_patients_interval(rows, level)]


def percentile_coverage(design: Design, repeats: int, resamples: int = 400, seed: int = 0) -> float:
    """How often the percentile bootstrap over patients and seeds, the earlier method, holds a row's truth."""
    rng, (value, _) = np.random.default_rng(seed), truth(design)
    hits = 0
    for _ in range(repeats):
        row = draw(design, rng)[0]
        patients = rng.multinomial(design.patients, np.full(design.patients, 1 / design.patients), resamples)
        seeds = rng.multinomial(design.seeds, np.full(design.seeds, 1 / design.seeds), resamples) / design.seeds
        with np.errstate(invalid="ignore"):
            drawn = (seeds * ((patients @ row.parts.T) / (patients @ row.wholes.T))).sum(axis=1)
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        hits += low <= value <= high
    return hits / repeats


def main() -> None:
    """Print the coverage of every design as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10000)
    repeats = parser.parse_args().repeats
    heads = ("seeds", "patients", "cohort", "seed SD", "volume SD", "data", "row, %", "difference, %")
    lines = [f"| {' | '.join(heads)} | percentile bootstrap, row, % |", "|---|---|---|---|---|---|---|---|---|"]
    for design in designs():
        found = coverage(design, repeats)
        before = "–" if design.fresh_cohorts else f"{100 * percentile_coverage(design, repeats // 5):.1f}"
        kind = "a seed its own" if design.fresh_cohorts else "shared"
        lines.append(
            f"| {design.seeds} | {design.patients} | {kind} | {design.seed_sd:g} | {design.volume_sd:g} | "
            f"{_data(design)} | {100 * found.rows:.1f} | {100 * found.differences:.1f} | {before} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


def _data(design: Design) -> str:
    """What is unlike the plain design."""
    fallen = f", {100 * design.fallen:.1f} % of trainings find nothing" if design.fallen else ""
    return ("heavy tails" if design.heavy else "normal") + fallen


HEAVY = Design(2, 24, True, heavy=True, negative=0.45, silent=0.06, volume_sd=1.1, seed_sd=0.5)
"""Heavy tails, near half of the patients without a lesion, and every 17th lesion missed."""


def designs() -> list[Design]:
    """One seed at 12 and 24 patients, then 2, 3, 5 and 8 seeds: seed variances, heavy tails, trainings that fail."""
    found = [Design(1, patients, seed_sd=0.0, volume_sd=sd) for patients in (12, 24) for sd in (0.6, 1.0)]
    for fresh in (False, True):
        for sd in (0.1, 0.3, 0.6):
            found += [Design(seeds, 24, fresh, seed_sd=sd) for seeds in (2, 3, 5, 8)]
    for fallen in (0.0, 1 / 30, 1 / 8):
        found += [replace(HEAVY, seeds=seeds, fallen=fallen) for seeds in (2, 3, 5, 8)]
    return found + [replace(HEAVY, seeds=seeds, fresh_cohorts=False) for seeds in (2, 3, 5, 8)]


if __name__ == "__main__":
    main()
