"""The Dice of a mask, read off known haematomas: by what became of those of which the model was as sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

RIDGE = 0.1
"""Weight of the curve that believes the model (`offset` 0, `slope` 1), against one haematoma's of weight 1."""
LEAST = 6
"""Known haematomas of which something was segmented, below which there is no curve."""
ENDS = 1e-3
"""Expected Dice is kept this far from 0 and 1, where its logarithm has no end."""


@dataclass(frozen=True)
class Curve:
    """logit(Dice) = offset + slope logit(expected Dice), in one scan."""

    offset: float
    slope: float
    """Not negative: a mask of which the model is surer is never read lower."""

    def at(self, expected: float) -> float:
        """Dice of a mask whose expected Dice is this, 0..1."""
        return float(expit(self.offset + self.slope * _logit(expected)))


def fit_curve(
    expected: Sequence[float], dices: Sequence[float], weights: Sequence[float] | None = None
) -> Curve | None:
    """Fit the curve to the known haematomas of one scan.

    A fractional logit regression (Papke and Wooldridge, J Appl Econometrics 1996;11:619) with a weak ridge towards the
    line on which the expected Dice is right. In this form the curve does not depend on size as long as errors lie along
    the rim: a ball twice as wide has half the 1 - Dice and half the 1 - expected Dice.

    Args:
        expected: (N,) expected Dice of the outlines that the model gave them, 0..1.
        dices: (N,) Dice of these outlines, 0..1.
        weights: (N,) how much each counts; default: 1.

    Returns:
        None where they are fewer than `LEAST`.
    """
    if len(expected) < LEAST:
        return None
    x, y = _logit(expected), np.asarray(dices, dtype=np.float64)
    weight = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        line = values[0] + values[1] * x
        off = weight * (expit(line) - y)
        away = values - (0.0, 1.0)
        slopes = np.array([off.sum(), (off * x).sum()]) + RIDGE * away
        return float(weight @ (np.logaddexp(0.0, line) - y * line) + RIDGE / 2 * (away @ away)), slopes

    found = minimize(loss, np.array([0.0, 1.0]), jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, None)]).x
    return Curve(float(found[0]), float(found[1]))


def _logit(share: float | Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(np.asarray(share, dtype=np.float64), ENDS, 1 - ENDS)))
