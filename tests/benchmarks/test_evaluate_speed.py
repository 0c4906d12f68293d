"""Overlap and surface distances of a mask pair: ctseg beside MONAI on the same masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from interleaved import Row, least_seconds
from monai.metrics import compute_dice, compute_hausdorff_distance
from numpy.typing import NDArray

from ctseg.io.stack import Grid
from ctseg.metrics.surface import hd95_mm, surface_distances

SPACING_MM = (5.0, 0.45, 0.45)
Mask = NDArray[np.bool_]


def pair(slices: int, side: int) -> tuple[Mask, Mask]:
    """A bleed of about 30 mL and what a model may have made of it."""
    k, r, c = np.ogrid[:slices, :side, :side]
    middle = (slices / 2, side / 2.5, side / 2)
    steps = [axis - at for axis, at in zip((k, r, c), middle, strict=True)]
    ref = (steps[0] / (0.13 * slices)) ** 2 + (steps[1] / (0.11 * side)) ** 2 + (steps[2] / (0.09 * side)) ** 2 < 1
    return np.roll(ref, (0, side // 100, -side // 80), (0, 1, 2)), ref


def ours(pred: Mask, ref: Mask) -> tuple[float, float]:
    """Dice and HD95 in mm."""
    dice = 2 * np.count_nonzero(pred & ref) / (np.count_nonzero(pred) + np.count_nonzero(ref))
    return dice, hd95_mm(*surface_distances(pred, ref, Grid.even(len(ref), SPACING_MM)))


def of_monai(pred: Mask, ref: Mask) -> tuple[float, float]:
    """The same by MONAI."""
    one, other = (torch.from_numpy(mask[None, None]).float() for mask in (pred, ref))
    dice = compute_dice(one, other, include_background=True)
    distance = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=list(SPACING_MM))
    return float(dice), float(distance)


def rows(slices: int = 30, side: int = 512) -> list[Row]:
    """All comparisons of this file."""
    pred, ref = pair(slices, side)
    spent, found = least_seconds({"ctseg": lambda: ours(pred, ref), "MONAI": lambda: of_monai(pred, ref)})
    (dice, distance), (their_dice, their_distance) = found.values()
    assert abs(dice - their_dice) < 1e-6
    words = f"the same Dice; HD95 {distance:.2f} and {their_distance:.2f} mm"
    return [Row(f"Dice and HD95 of {slices} slices of {side} x {side}", spent, words)]


@pytest.mark.slow
def test_both_agree_about_a_small_pair() -> None:
    assert rows(12, 96)[0].ratio > 0
