"""How much the members of one prediction disagree: mirror images with `--tta`, and models where several are given."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ctseg.inference.measure import drop_small, volume_ml
from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.metrics.overlap import dice


@dataclass(frozen=True)
class Disagreement:
    """What the members say of one scan.

    Structure-wise uncertainty after Roy et al., NeuroImage 2019;195:11 (volumes of the samples and the Dice between
    them), with flips (Wang et al., Neurocomputing 2019;338:34) and models in place of dropout. It is not calibrated: an
    error that all members share is not seen.
    """

    members: int
    ml_low: float
    """Smallest volume of any member."""
    ml_high: float
    """Largest."""
    agreement: float
    """Mean Dice between every two members; two empty masks agree (1)."""
    entropy_bits: float
    """Mean binary entropy of the mean probability over the voxels that any member segments; 0 where none does."""


RANGE_FLOOR_ML = 0.5
"""Added to either side of a range before it is widened: members that agree exactly are not certain."""


def widened(ml: float, low: float, high: float, factor: float) -> tuple[float, float]:
    """A range widened about the volume: `ml - factor * (ml - low + 0.5 mL)` to `ml + factor * (high - ml + 0.5 mL)`.

    With the factor that `ctseg evaluate` finds on labelled cases (normalised split conformal prediction, Lei et al., J
    Am Stat Assoc 2018;113:1094) new patients of the same kind have their volume in it as often as the stated level.
    """
    below, above = max(ml - low, 0.0) + RANGE_FLOOR_ML, max(high - ml, 0.0) + RANGE_FLOOR_ML
    return max(0.0, ml - factor * below), ml + factor * above


class Members:
    """Collects the masks of the members, packed to bits: a thin-slice scan with 12 members is a gigabyte otherwise."""

    def __init__(self, volume: Volume, min_lesion_ml: float) -> None:
        self.volume, self.min_lesion_ml = volume, min_lesion_ml
        self._masks: list[NDArray[np.uint8]] = []
        self._ml: list[float] = []

    def add(self, mask: Mask) -> None:
        """One member's (K, h, w) mask on the scan's own pixels, or those around its brain; drops small lesions."""
        mask = drop_small(mask, self.volume, self.min_lesion_ml)
        self._ml.append(volume_ml(mask, self.volume))
        self._masks.append(np.packbits(mask))

    def disagreement(self, mean: NDArray[np.float32]) -> Disagreement | None:
        """All numbers, given the mean probability on the same pixels (K, h, w); None with fewer than two members."""
        if len(self._masks) < 2:
            return None
        union = np.unpackbits(np.bitwise_or.reduce(self._masks), count=mean.size).astype(bool)
        entropy = entropy_bits(mean.ravel()[union])
        return Disagreement(
            len(self._masks),
            min(self._ml),
            max(self._ml),
            float(np.mean([_dice(one, other) for one, other in combinations(self._masks, 2)])),
            float(entropy.mean()) if entropy.size else 0.0,
        )


def entropy_bits(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Binary entropy of each probability; 0 at 0 and 1."""
    p = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def _dice(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Dice of two masks packed to bits; 1 where both are empty."""
    both = int(np.bitwise_count(one & other).sum())
    found = dice(both, int(np.bitwise_count(one).sum()) - both, int(np.bitwise_count(other).sum()) - both)
    return 1.0 if np.isnan(found) else found
