"""The source slices that figures show, chosen by names and masks, never by a result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.io.slices import SliceSet

PATIENTS = 5
"""Source patients in a figure."""
HELD_OUT = "val"
MARGIN = 0.04
"""Background left around the brain, as a share of the slice."""


def largest_lesions(source: SliceSet, count: int = PATIENTS, split: str = HELD_OUT) -> tuple[list[int], str]:
    """A row for each of the first patients in name order: that of the largest lesion; and who they are.

    Looks at masks and names only.

    Args:
        source: a labelled set.
        count: of patients, at most.
        split: whose patients; any where it has no lesion.
    """
    areas = np.count_nonzero(source.require_masks("figures show them"), axis=(1, 2))
    usable = (areas > 0) & (source.table["split"].to_numpy(str) == split)
    who = f"{'held-out' if split == HELD_OUT else 'training'} patients (split {split})"
    if not usable.any():
        usable, who = areas > 0, f"any patients, trained on (no lesion in a split {split})"
    patients = source.table["patient_id"].to_numpy(str)
    rows = [np.flatnonzero(usable & (patients == name)) for name in sorted(set(patients[usable]))[:count]]
    return [int(part[areas[part].argmax()]) for part in rows], who


def brain_box(image: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of a (H, W) slice that hold brain, which is not 0, and some background around."""
    spans = []
    for axis, size in enumerate(image.shape):
        inside = np.flatnonzero(image.any(axis=1 - axis))
        first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (0, size - 1)
        margin = round(MARGIN * size)
        spans.append(slice(max(0, first - margin), last + 1 + margin))
    return spans[0], spans[1]


def spacing_mm(slices: SliceSet, row: int) -> tuple[float, float]:
    """(row, column) spacing of a slice."""
    return float(slices.table["spacing_row_mm"][row]), float(slices.table["spacing_col_mm"][row])
