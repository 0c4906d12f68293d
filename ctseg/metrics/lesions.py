"""Connected lesions: how many there are, their mL, and which of them are detected, by size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from ctseg.io.stack import Grid, Mask

NEIGHBOURS_26 = np.ones((3, 3, 3))
"""Voxels that share a face, an edge or a corner are one lesion."""

SIZES = ("small", "medium", "large")
"""Lesions under 1 mL, from 1 to 10 mL, over 10 mL."""


def size_of(volume_ml: float) -> str:
    """The size class of a lesion."""
    if volume_ml < 1:
        return "small"
    return "medium" if volume_ml <= 10 else "large"


def components(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """(K, H, W) numbers of the connected lesions (26 neighbours), 0 outside, and how many there are."""
    numbers = np.zeros(mask.shape, dtype=np.int32)
    if not mask.any():
        return numbers, 0
    box = tuple(
        slice(int(used[0]), int(used[-1]) + 1)
        for axes in ((1, 2), (0, 2), (0, 1))
        if len(used := np.flatnonzero(mask.any(axis=axes)))
    )
    numbers[box], count = label(mask[box], NEIGHBOURS_26)
    return numbers, int(count)


def component_ml(numbers: NDArray[np.int32], count: int, grid: Grid) -> NDArray[np.float64]:
    """(count,) volume in mL of each lesion of a (K, H, W) array of numbers from `components`."""
    places = np.flatnonzero(
        numbers != 0
    )  # of a flat array, which is several times faster than np.nonzero of three axes
    slices = places // (numbers.shape[1] * numbers.shape[2])
    sums = np.bincount(numbers.ravel()[places], grid.voxel_ml[slices], minlength=count + 1)
    return np.asarray(sums[1:], dtype=np.float64)


def lesion_counts(pred: Mask, ref: Mask, grid: Grid, min_ml: float = 0.0) -> dict[tuple[str, str], int]:
    """True positive, false positive and false negative lesions, all together and by size.

    A reference lesion is a true positive if at least one of its voxels is predicted, otherwise a false negative. A
    predicted lesion without one voxel of the reference is a false positive. True positives and false negatives have the
    size of the reference lesion, false positives their own. Lesions under `min_ml` count nowhere.

    Returns:
        (`tp`, `fp` or `fn`, `all` or one of `SIZES`) -> number of lesions.
    """
    counts = {(kind, size): 0 for kind in ("tp", "fp", "fn") for size in ("all", *SIZES)}
    kinds = [("tp" if hit else "fn", ml) for ml, hit in _lesions(ref, pred, grid)]
    kinds += [("fp", ml) for ml, hit in _lesions(pred, ref, grid) if not hit]
    for kind, ml in kinds:
        if ml >= min_ml:
            counts[kind, "all"] += 1
            counts[kind, size_of(ml)] += 1
    return counts


def _lesions(mask: Mask, other: Mask, grid: Grid) -> list[tuple[float, bool]]:
    """(mL, touches `other`) of each lesion of `mask`."""
    numbers, count = components(mask)
    if not count:
        return []
    hits = np.bincount(numbers[mask & other], minlength=count + 1)[1:] > 0
    volumes = component_ml(numbers, count, grid)
    return [(float(volume), bool(hit)) for volume, hit in zip(volumes, hits, strict=True)]
