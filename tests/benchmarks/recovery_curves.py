"""Ways to read a Dice off known haematomas, compared on what `ctseg recovery-study` has measured.

`python tests/benchmarks/recovery_curves.py recovery.json [--curve-of OTHER/recovery.json]`: for each way Spearman's
correlation with the true Dice, a 95 % bootstrap interval over scans, and the mean absolute and mean difference from it.
Ways that use other scans' numbers (a fixed curve, isotonic regression on true Dice) need `--curve-of`. Nothing is run
again: the rows hold each haematoma's Dice, expected Dice and volume. The chosen way is checked against `recovery`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata, spearmanr
from sklearn.isotonic import IsotonicRegression

Array = NDArray[np.float64]
Row = dict[str, Any]
CHOSEN = "chosen: each scan's own curve, faint ones count 3"


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def log_odds(share: Any) -> Array:
    """Kept from 0 and 1 as the package does."""
    return np.asarray(logit(np.clip(np.asarray(share, dtype=float), 1e-3, 1 - 1e-3)))


class Known:
    """The haematomas of one scan of which anything was segmented."""

    def __init__(self, row: Row) -> None:
        seen = [item for item in row["known"] if item["segmented_ml"] > 0]
        self.expected, self.dice, self.ml, self.true_ml = (
            np.array([item[name] for item in seen], dtype=float)
            for name in ("expected_dice", "dice", "segmented_ml", "ml")
        )
        self.faint = np.array([item["faint"] for item in seen], dtype=bool)


def fit(features: Array, dices: Array, weights: Array, start: Array, ridge: float) -> Array:
    """Fractional logit with a ridge towards `start`, by Newton's steps."""
    found = start.copy()
    for _ in range(60):
        mean = expit(features @ found)
        slope = features.T @ (weights * (dices - mean)) - ridge * (found - start)
        bend = (features * (weights * mean * (1 - mean))[:, None]).T @ features + ridge * np.eye(len(start))
        step = np.linalg.solve(bend, slope)
        found = found + step * min(1.0, 2.0 / max(float(np.linalg.norm(step)), 1e-12))
    return found


def own_curve(
    row: Row,
    weigh: Callable[[Known, Row], Array],
    ridge: float = 0.1,
    start: Array | None = None,
    *,
    size: bool = False,
) -> float:
    """Read the curve of a scan's haematomas at its expected Dice; with `size` at its volume, too."""
    known = Known(row)

    def features(expected: Any, ml: Any) -> Array:
        columns = [np.ones_like(log_odds(expected)), log_odds(expected)]
        return np.stack([*columns, np.log(np.maximum(np.asarray(ml, float), 0.05) / 5)][: 3 if size else 2], axis=-1)

    first = np.array([0.0, 1.0, 0.0][: 3 if size else 2]) if start is None else start
    found = fit(features(known.expected, known.ml), known.dice, weigh(known, row), first, ridge)
    return float(expit(features(row["expected_dice"], row["found_ml"]) @ found))


def faint(times: float, bright: float = 1.0) -> Callable[[Known, Row], Array]:
    """Weights by kind."""
    return lambda known, _: np.where(known.faint, times, bright)


def near(expected: float, log_ml: float) -> Callable[[Known, Row], Array]:
    """Weights by likeness: Gaussians of these widths in the log odds of the expected Dice and in log mL."""

    def weigh(known: Known, row: Row) -> Array:
        sure = (log_odds(known.expected) - log_odds(row["expected_dice"])) / expected
        size = (np.log(known.ml + 0.01) - np.log(row["found_ml"])) / log_ml
        return np.asarray(np.exp(-(sure**2 + size**2) / 2))

    return weigh


def by_volume(power: float) -> Callable[[Known, Row], Array]:
    """Weights by true volume."""
    return lambda known, _: known.true_ml**power / np.mean(known.true_ml**power)


def ways(others: list[Row]) -> dict[str, Callable[[Row], float]]:
    """Every way that was tried."""
    flat = 1e9
    found: dict[str, Callable[[Row], float]] = {
        CHOSEN: lambda row: own_curve(row, faint(3)),
        "all count 1": lambda row: own_curve(row, faint(1)),
        "all count 1, ridge 0.03": lambda row: own_curve(row, faint(1), 0.03),
        "all count 1, ridge 0.3": lambda row: own_curve(row, faint(1), 0.3),
        "faint count 2": lambda row: own_curve(row, faint(2)),
        "faint count 5": lambda row: own_curve(row, faint(5)),
        "faint count 3, ridge 0.3": lambda row: own_curve(row, faint(3), 0.3),
        "faint ones alone": lambda row: own_curve(row, faint(1, 0)),
        "bright ones alone": lambda row: own_curve(row, faint(0, 1)),
        "weight: true mL to 1/3": lambda row: own_curve(row, by_volume(1 / 3)),
        "weight: true mL to 2/3": lambda row: own_curve(row, by_volume(2 / 3)),
        "weight: true mL": lambda row: own_curve(row, by_volume(1)),
        "weight: alike in volume (1.5)": lambda row: own_curve(row, near(flat, 1.5)),
        "weight: alike in volume (2.5)": lambda row: own_curve(row, near(flat, 2.5)),
        "weight: alike in expected Dice (1), volume (1.5)": lambda row: own_curve(row, near(1, 1.5)),
        "weight: alike in expected Dice (1), volume (3)": lambda row: own_curve(row, near(1, 3)),
        "log mL as a second variable": lambda row: own_curve(row, faint(1), size=True),
        "expected_dice": lambda row: float(row["expected_dice"]),
    }
    if others:
        curve, rank = fixed_curve(others), [item["expected_dice"] for item in others]
        true, volume = [item["dice"] for item in others], [item["found_ml"] for item in others]
        by_rank = IsotonicRegression(out_of_bounds="clip").fit(rank, true)
        by_size = IsotonicRegression(out_of_bounds="clip").fit(volume, true)
        found |= {
            "one curve for all scans": lambda row: float(expit(curve @ [1, log_odds(row["expected_dice"])])),
            "own curve, ridge 1 towards that one": lambda row: own_curve(row, faint(3), 1, curve),
            "own curve, ridge 3 towards that one": lambda row: own_curve(row, faint(3), 3, curve),
            "rival with labels: true Dice by expected_dice": lambda row: float(
                by_rank.predict([row["expected_dice"]])[0]
            ),
            "rival with labels: true Dice by volume": lambda row: float(by_size.predict([row["found_ml"]])[0]),
            "rival with labels: the median Dice": lambda row: float(np.median(true)),
        }
    return found


def fixed_curve(rows: list[Row]) -> Array:
    """One curve for the haematomas of all these scans."""
    known = [Known(row) for row in rows]
    odds = log_odds(np.concatenate([item.expected for item in known]))
    dices = np.concatenate([item.dice for item in known])
    weights = np.concatenate([np.where(item.faint, 3.0, 1.0) for item in known])
    return fit(np.stack([np.ones_like(odds), odds], axis=-1), dices, weights, np.zeros(2), 1e-3)


def interval(one: Array, other: Array) -> tuple[float, float]:
    """95 % bootstrap interval of Spearman's correlation."""
    rng, drawn = np.random.default_rng(0), []
    for _ in range(2000):
        at = rng.integers(len(one), size=len(one))
        if np.ptp(one[at]) > 0 and np.ptp(other[at]) > 0:
            drawn.append(spearmanr(one[at], other[at]).statistic)
    low, high = np.quantile(drawn, (0.025, 0.975)) if drawn else (np.nan, np.nan)
    return float(low), float(high)


def given(one: Array, true: Array, other: Array) -> float:
    """Rank correlation of one with the truth, with the other given."""
    a, b, c = (np.corrcoef(rankdata(p), rankdata(q))[0, 1] for p, q in ((one, true), (one, other), (true, other)))
    return float((a - b * c) / np.sqrt((1 - b * b) * (1 - c * c)))


def paired(one: Array, other: Array, true: Array) -> None:
    """Print how the chosen way differs from the expected Dice, with bootstrap intervals over scans."""
    rng, ranks, errors = np.random.default_rng(0), [], []
    for _ in range(2000):
        at = rng.integers(len(true), size=len(true))
        ranks.append(spearmanr(one[at], true[at]).statistic - spearmanr(other[at], true[at]).statistic)
        errors.append(np.abs(one - true)[at].mean() - np.abs(other - true)[at].mean())
    for name, values in (("correlation", ranks), ("mean absolute difference", errors)):
        low, high = np.quantile(values, (0.025, 0.975))
        say(f"{name}, chosen less expected_dice: {np.mean(values):+.3f} ({low:+.3f} to {high:+.3f})")
    say(f"rank correlation of the chosen, given expected_dice: {given(one, true, other):.2f}")
    say(f"of expected_dice, given the chosen: {given(other, true, one):.2f}")


def main() -> None:
    """Print every way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("study", type=Path)
    parser.add_argument("--curve-of", type=Path)
    arguments = parser.parse_args()
    rows = [row for row in json.loads(arguments.study.read_text())["scans"] if row["found_ml"] > 0]
    others = json.loads(arguments.curve_of.read_text())["scans"] if arguments.curve_of else []
    true = np.array([row["dice"] for row in rows])
    say(f"{len(rows)} scans, {(true < 0.5).sum()} with a Dice under 0.5")
    known: dict[str, Array] = {}
    for name, way in ways(others).items():
        known[name] = values = np.array([way(row) for row in rows])
        rank = spearmanr(values, true).statistic if np.ptp(values) > 0 else np.nan
        low, high = interval(values, true)
        off = values - true
        say(f"{name:50s} {rank:5.2f} ({low:.2f} to {high:.2f})  off {np.abs(off).mean():.3f}  {off.mean():+.3f}")
    stated = np.array([row["recovery"] for row in rows], dtype=float)
    say(f"chosen against the column recovery: {np.abs(known[CHOSEN] - stated).max():.4f} at most")
    paired(known[CHOSEN], known["expected_dice"], true)


if __name__ == "__main__":
    main()
