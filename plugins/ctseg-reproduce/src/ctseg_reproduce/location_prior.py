"""The location-prior control: predicts where the source's lesions lie most often, and looks at no grey value.

A segmenter is worth something on CT only where it is above this. The prior even knows the true volume of each scan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.io.slice_table import scan_numbers
from ctseg.io.slices import SliceSet, check_same_size

LEVELS = 32
"""Heights between the lowest and the highest slice of a brain for which the prior is calculated."""
SPREAD = 0.05
"""Standard deviation over heights, as a share of the brain's: a source lesion counts near its own height."""
CHUNK = 256
"""Source slices that are in memory as float32 at once."""


def prior_masks(source: SliceSet, scans: SliceSet, split: str = "train") -> NDArray[np.uint8]:
    """Predict each scan's haemorrhage from the source's masks alone.

    Args:
        source: labelled slices; those of `split` make the prior.
        scans: whole scans as a labelled set of the same size. Of its masks the number of voxels of each series is used,
            of its images where the brain is.
        split: the part of the source that is trained on.

    Returns:
        (N, H, W) 0 or 1: in each scan the brain voxels with the highest prior, as many as its mask has.

    Raises:
        InputError: if a set has no masks or the sizes differ.
    """
    check_same_size(source, scans)
    truth = scans.require_masks("the prior takes each scan's volume from them")
    prior = location_prior(source, source.rows(None if split == "all" else split))
    level = np.rint(relative_heights(scans) * (LEVELS - 1)).astype(int)
    found = np.zeros(truth.shape, np.uint8)
    numbers = scan_numbers(scans.table).to_numpy()
    for number in range(numbers.max(initial=-1) + 1):
        rows = np.flatnonzero(numbers == number)
        count = int(np.count_nonzero(truth[rows]))
        likely = np.where(scans.images[rows] > 0, prior[level[rows]], -1.0)  # (k, H, W)
        found[rows] = highest(likely, count)
    return found


def location_prior(source: SliceSet, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(LEVELS, H, W) mean mask of the source's slices, weighted by how near their height is to each level's."""
    masks = source.require_masks("the prior is their mean")
    heights = relative_heights(source)[rows]
    weights = np.exp(-0.5 * ((np.linspace(0, 1, LEVELS)[:, None] - heights) / SPREAD) ** 2)  # (LEVELS, n)
    weights = (weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)
    total = np.zeros((LEVELS, masks.shape[1] * masks.shape[2]), np.float32)
    for start in range(0, len(rows), CHUNK):
        part = np.asarray(masks[rows[start : start + CHUNK]] > 0, np.float32)
        total += weights[:, start : start + CHUNK] @ part.reshape(len(part), -1)
    return total.reshape(LEVELS, *masks.shape[1:])


def relative_heights(slices: SliceSet) -> NDArray[np.float64]:
    """(N,) place of each slice between the lowest (0) and the highest (1) of its scan, by mm; 0.5 of a single one."""
    z_mm = slices.table["z_mm"].astype(float)
    series = z_mm.groupby(scan_numbers(slices.table))
    low, high = series.transform("min"), series.transform("max")
    heights = (z_mm - low) / (high - low).where(high > low)
    return heights.fillna(0.5).to_numpy(np.float64)


def highest(likely: NDArray[np.floating], count: int) -> NDArray[np.uint8]:
    """1 for the `count` highest values; of equal ones the first in order."""
    chosen = np.zeros(likely.size, np.uint8)
    chosen[np.argsort(-likely, axis=None, kind="stable")[:count]] = 1
    return chosen.reshape(likely.shape)
