"""How the true volume relates to the segmented one, by size: what a model card says in `volumes`.

The interval is split conformal prediction of the ratio of the two (Lei et al., J Am Stat Assoc 2018;113:1094) within a
bin of the segmented volume: a new patient of the same kind, with a lesion, has its true volume in it as often as the
level says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ctseg.models.card import VolumeBin

EDGES_ML = (2.0, 10.0, 50.0)
"""Where bins of the segmented volume end; the last has no end."""


def volume_bins(cases: pd.DataFrame, *, level: float = 0.9, edges_ml: Sequence[float] = EDGES_ML) -> list[VolumeBin]:
    """Bins of the cases in which both masks hold something.

    Args:
        cases: with the columns `pred_ml` and `ref_ml` of `cases.csv`.
        level: of the interval, 0 to 1.
        edges_ml: ends of the bins. A bin with too few cases for the level is joined with the next one, the last with
            the one before.

    Returns:
        The bins in order of size; none where all cases together are too few.
    """
    pred, ref = cases["pred_ml"].to_numpy(float), cases["ref_ml"].to_numpy(float)
    used = np.isfinite(pred) & np.isfinite(ref) & (pred > 0) & (ref > 0)
    pred, ratio = pred[used], ref[used] / pred[used]
    needed = _needed(level)
    ends: list[float] = []
    start = 0.0
    for end in (*edges_ml, math.inf):
        if np.count_nonzero((pred > start) & (pred <= end)) >= needed:
            ends.append(end)
            start = end
    if not ends:
        return []
    ends[-1] = math.inf
    starts = [0.0, *ends[:-1]]
    groups = [ratio[(pred > low) & (pred <= high)] for low, high in zip(starts, ends, strict=True)]
    return [_bin(group, end, level) for group, end in zip(groups, ends, strict=True)]


def _needed(level: float) -> int:
    """The fewest cases whose extremes hold a new one with the probability `level`."""
    return math.ceil(round(2 / (1 - level), 9)) - 1


def _bin(ratio: NDArray[np.float64], end_ml: float, level: float) -> VolumeBin:
    low, high = conformal_interval(ratio, level)
    return VolumeBin(
        up_to_ml=None if math.isinf(end_ml) else end_ml,
        factor=round(float(np.median(ratio)), 4),
        low=round(low, 4),
        high=round(high, 4),
        cases=len(ratio),
    )


def conformal_interval(values: ArrayLike, level: float) -> tuple[float, float]:
    """The interval of order statistics that holds a new value of the same kind with a probability of at least `level`.

    Args:
        values: (n,) at least `2 / (1 - level) - 1` of them.
        level: 0 to 1.
    """
    ordered = np.sort(np.asarray(values, float))
    tail = math.floor(round((len(ordered) + 1) * (1 - level) / 2, 9))
    return float(ordered[tail - 1]), float(ordered[-tail])
