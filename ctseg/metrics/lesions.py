"""Lesion by lesion: which were found, which were missed, what was made up, by size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from ctseg.io.stack import Grid, Mask

SIZES = ("small", "medium", "large")
"""Lesions under 1 mL, from 1 to 10 mL, over 10 mL."""


def size_of(volume_ml: float) -> str:
    """The size class of a lesion."""
    if volume_ml < 1:
        return "small"
    return "medium" if volume_ml <= 10 else "large"


def components(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """(K, H, W) numbers of the connected lesions (26 neighbours), 0 outside, and how many there are."""
    numbers, count = label(mask, np.ones((3, 3, 3)))
    return numbers, int(count)


def lesion_metrics(pred: Mask, ref: Mask, grid: Grid, min_ml: float = 0.0) -> dict[str, int]:
    """Lesions found, made up and missed, all together and by size.

    A reference lesion is found (`tp`) if at least one of its voxels is in the prediction, otherwise missed (`fn`); a
    predicted lesion without one voxel of the reference is made up (`fp`). Found and missed lesions go by the reference
    lesion's size, made-up ones by their own. Lesions under `min_ml` count nowhere.
    """
    counts = {
        f"lesions_{kind}{size}": 0 for kind in ("tp", "fp", "fn") for size in ("", *(f"_{size}" for size in SIZES))
    }
    for volume, hit in _lesions(ref, pred, grid):
        if volume >= min_ml:
            _count(counts, "tp" if hit else "fn", volume)
    for volume, hit in _lesions(pred, ref, grid):
        if volume >= min_ml and not hit:
            _count(counts, "fp", volume)
    return counts


def _count(counts: dict[str, int], kind: str, volume_ml: float) -> None:
    counts[f"lesions_{kind}"] += 1
    counts[f"lesions_{kind}_{size_of(volume_ml)}"] += 1


def _lesions(mask: Mask, other: Mask, grid: Grid) -> list[tuple[float, bool]]:
    """(mL, touches `other`) of each lesion of `mask`."""
    numbers, count = components(mask)
    if not count:
        return []
    slices, rows, cols = np.nonzero(mask)
    found = numbers[slices, rows, cols]
    volumes = np.bincount(found, grid.voxel_ml[slices], minlength=count + 1)[1:]
    hits = np.bincount(found, other[slices, rows, cols], minlength=count + 1)[1:] > 0
    return [(float(volume), bool(hit)) for volume, hit in zip(volumes, hits, strict=True)]
