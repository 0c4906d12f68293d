"""Draw mL, HU and number of the parts of bleeds so that they follow the quantiles of BHSD."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from ctseg.phantom.bhsd import BHSD, LEVELS, BleedStatistics

CALIBRATION_CORRELATION = 0.25
"""Of a bleed's HU with the scanner's calibration offset: both shift alike, offset SD 2 HU against 8 HU of bleeds."""
SEVERE_SIZE, SEVERE_PARTS = 0.80, 0.75
"""Severe patients lie above these shares of patients in size of the largest part and in number of parts."""
_STEPS = (0.7320508076, 0.6180339887, 0.4142135624)
_PART_STEPS = (0.6180339887, 0.4142135624)
"""Fractions of the square roots of 3 and 2 and of the golden ratio: Kronecker sequences of quadratic irrationals cover
an interval most evenly (Niederreiter, 1992)."""


@dataclass(frozen=True)
class PartSize:
    """What one part measures on the scan: mL of its mask and mean HU inside it."""

    ml: float
    hu: float


@dataclass(frozen=True)
class Turn:
    """Which of the patients with one kind of bleed a patient is, counted from 0, and the cohort's shift.

    Patients in turn follow a Kronecker sequence instead of independent draws, so that a small cohort covers the
    distribution evenly (quasi-Monte Carlo) and a patient still does not depend on the size of the cohort.
    """

    number: int
    shift: tuple[float, float, float]
    severe: bool = False

    def count(self, table: BleedStatistics) -> int:
        """Number of parts."""
        share = self._share(0)
        if self.severe:
            share = SEVERE_PARTS + (1 - SEVERE_PARTS) * share
        return round(table.parts_at(share))

    def main(self) -> tuple[float, float]:
        """Cumulative shares of mL and HU of the largest part."""
        share = self._share(1)
        return (SEVERE_SIZE + (1 - SEVERE_SIZE) * share if self.severe else share), self._share(2)

    def further(self, table: BleedStatistics) -> list[tuple[float, float]]:
        """Cumulative shares of mL and HU of every other part: they go on where the patients before stopped."""
        first = sum(replace(self, number=number).count(table) - 1 for number in range(self.number))
        return [
            (_wrap(self.shift[1] + n * _PART_STEPS[0]), _wrap(self.shift[2] + n * _PART_STEPS[1]))
            for n in range(first, first + self.count(table) - 1)
        ]

    def _share(self, dimension: int) -> float:
        return _wrap(self.shift[dimension] + self.number * _STEPS[dimension])


def _wrap(value: float) -> float:
    """Fraction of a value, not quite 0."""
    return max(value % 1.0, 1e-6)


def quantile(table: tuple[float, ...], share: float, *, log: bool = False) -> float:
    """Value at a cumulative share, interpolated between the columns; beyond the first and last column constant."""
    values = np.log(table) if log else np.array(table)
    found = float(np.interp(share, LEVELS, values))
    return float(np.exp(found)) if log else found


def share_below(table: tuple[float, ...], ml: float) -> float:
    """Cumulative share of a number of mL: the inverse of `quantile` in the logarithm."""
    return float(np.interp(np.log(ml), np.log(table), LEVELS))


def pooled_ml(table: BleedStatistics, ml: float) -> float:
    """A size moved so that the largest and the further parts together follow `ml` of the table exactly.

    Both tables are coarse and some rest on few parts, so their mixture misses the pooled quantiles by up to a third.
    """
    main = len(table.parts) / sum(table.parts)
    share = main * share_below(table.main_ml, ml) + (1 - main) * share_below(table.further_ml, ml)
    return quantile(table.ml, share, log=True)


def draw_parts(kind: str, turn: Turn, calibration: float = 0.0) -> list[PartSize]:
    """Draw mL and HU of every part of one kind of bleed in one patient, the largest first.

    Args:
        kind: a key of `BHSD`.
        turn: the patient's place among those with this kind.
        calibration: offset of the patient's scanner in SD.
    """
    table = BHSD[kind]
    main_ml, main_hu = turn.main()
    shares = [(quantile(table.main_ml, main_ml, log=True), main_hu)]
    shares += [(quantile(table.further_ml, ml, log=True), hu) for ml, hu in turn.further(table)]
    shares = [(pooled_ml(table, ml), hu) for ml, hu in shares]
    return [PartSize(ml, quantile(table.hu_of(ml), _calibrated(hu, calibration))) for ml, hu in shares]


def _calibrated(share: float, calibration: float) -> float:
    """A cumulative share by a Gaussian copula with the scanner's offset, which leaves its distribution uniform."""
    normal = NormalDist()
    own = np.sqrt(1 - CALIBRATION_CORRELATION**2)
    return normal.cdf(CALIBRATION_CORRELATION * calibration + own * normal.inv_cdf(min(share, 1 - 1e-6)))
