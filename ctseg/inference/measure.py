"""Volumes of a mask in mL: by true slice positions, lesion by lesion, and by ABC/2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.lesions import component_ml, components
from ctseg.preprocess.grid import filled_box

HALF_PIXELS = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
"""From a pixel's centre to the middles of its four edges, in pixels: an n pixel line then is n pixels long."""


@dataclass(frozen=True)
class Measures:
    """What a mask amounts to."""

    ml: float
    """Volume by slice positions."""
    abc2_ml: float
    """The bedside estimate ABC/2, summed over lesions."""
    lesions_ml: tuple[float, ...]
    """Volume of each connected lesion (26 neighbours), largest first."""

    @property
    def lesions(self) -> int:
        """How many lesions there are."""
        return len(self.lesions_ml)

    @property
    def largest_ml(self) -> float:
        """The largest lesion; 0 where there is none."""
        return self.lesions_ml[0] if self.lesions_ml else 0.0


def measure(mask: Mask, volume: Volume) -> Measures:
    """All measures of a mask (K, H, W) on the grid of `volume`."""
    numbers, count = components(mask[_part(mask)])
    lesions = np.sort(component_ml(numbers, count, Grid.of(volume)))[::-1]
    return Measures(volume_ml(mask, volume), _abc2_ml(numbers, volume), tuple(float(ml) for ml in lesions))


def _part(mask: Mask) -> tuple[slice, slice, slice]:
    """All slices, and the rows and columns that hold anything of a mask (K, H, W)."""
    return (slice(None), *filled_box(mask, (0, 0, 0))[1:]) if mask.any() else (slice(None),) * 3


def volume_ml(mask: Mask, volume: Volume) -> float:
    """Volume of a mask (K, H, W) in mL, see `Grid.volume_ml`."""
    return Grid.of(volume).volume_ml(mask)


def drop_small(mask: Mask, volume: Volume, min_ml: float) -> Mask:
    """The mask without its lesions under `min_ml` mL."""
    if min_ml <= 0:
        return mask
    numbers, count = components(mask)
    keep = np.concatenate([[False], component_ml(numbers, count, Grid.of(volume)) >= min_ml])
    return keep[numbers]


def expected_dice(probability: NDArray[np.float32], mask: Mask, volume: Volume) -> float | None:
    """The Dice that the probabilities (K, H, W) expect of a mask, were they right: 2 sum(p m) / (sum(p) + sum(m)).

    Voxels count by their volume. A model is too sure of itself, so the number ranks scans and is no Dice. None where
    nothing is segmented.
    """
    if not mask.any():
        return None
    part = _part(mask)
    shares = (np.where(mask[part], probability[part], 0), probability)
    both, likely = (float(values.sum(axis=(1, 2), dtype=np.float64) @ volume.voxel_ml) for values in shares)
    return 2 * both / (likely + volume_ml(mask, volume))


LARGE_ML = 1.0
"""Where a lesion of this size is, faint ones may be parts of the same bleed."""


def drop_faint(mask: Mask, volume: Volume, brain: Mask, least_hu: float) -> Mask:
    """The mask without its faint lesions, where none of its lesions has `LARGE_ML`; noise and streaks are such.

    Args:
        mask: (K, H, W)
        volume: HU.
        brain: (K, H, W) brain mask.
        least_hu: a lesion's mean against the brain's median; 0 drops nothing.
    """
    if least_hu <= 0 or not mask.any():
        return mask
    part = _part(mask)
    numbers, count = components(mask[part])
    if component_ml(numbers, count, Grid.of(volume)).max() >= LARGE_ML:
        return mask
    middle, inside = float(np.median(volume.voxels[brain])), numbers > 0
    sums = np.bincount(numbers[inside], volume.voxels[part][inside] - middle, minlength=count + 1)
    means = sums / np.maximum(np.bincount(numbers[inside], minlength=count + 1), 1)
    kept = np.zeros_like(mask)
    kept[part] = np.concatenate([[False], means[1:] >= least_hu])[numbers]
    return kept


def abc2_ml(mask: Mask, volume: Volume) -> float:
    """ABC/2 of a mask (K, H, W) in mL (Kothari et al., Stroke 1996;27:1304), summed over its lesions.

    A: the largest diameter on the slice where the lesion is largest. B: the longest line at right angles to A there.
    C: slab thicknesses summed with weight 1 where the lesion's area is over 75 % of the largest, 0.5 from 25 % to 75 %,
    0 below.
    """
    return _abc2_ml(components(mask)[0], volume)


def _abc2_ml(numbers: NDArray[np.int32], volume: Volume) -> float:
    boxes = enumerate(find_objects(numbers), start=1)
    row_col_mm = volume.spacing_mm
    return float(sum(_one_abc2_ml(numbers[box] == n, volume.slab_mm[box[0]], row_col_mm) for n, box in boxes))


def _one_abc2_ml(lesion: Mask, slab_mm: NDArray[np.float64], spacing_mm: tuple[float, float]) -> float:
    areas = np.count_nonzero(lesion, axis=(1, 2))
    longest, width = diameters_mm(lesion[int(areas.argmax())], spacing_mm)
    share = areas / areas.max()
    weight = np.where(share > 0.75, 1.0, np.where(share >= 0.25, 0.5, 0.0))
    return longest * width * float(weight @ slab_mm) / 2 / 1000


def ml_wholly_outside(mask: Mask, elsewhere: Mask, grid: Grid) -> float:
    """Volume in mL of the lesions of a mask (K, h, w) that have no voxel in another mask of that shape."""
    numbers, count = components(mask)
    ml = component_ml(numbers, count, grid)
    ml[np.unique(numbers[mask & elsewhere]) - 1] = 0
    return float(ml.sum())


def diameters_mm(area: Mask, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """The largest diameter of a flat mask (H, W) and the longest line at right angles to it, in mm.

    Both are taken from pixel edge to pixel edge of the mask's convex hull, as callipers would.
    """
    from scipy.spatial import ConvexHull  # a scan without lesions needs none of it

    edges = (np.argwhere(area)[:, None] + HALF_PIXELS).reshape(-1, 2) * spacing_mm
    hull = edges[ConvexHull(edges).vertices]
    lengths = np.linalg.norm(hull[:, None] - hull, axis=-1)
    start, end = np.unravel_index(lengths.argmax(), lengths.shape)
    longest = float(lengths[start, end])
    along = (hull[end] - hull[start]) / longest
    return longest, _longest_across(np.roll(hull, -start, axis=0), int(end - start) % len(hull), along)


def _longest_across(hull: NDArray[np.float64], end: int, along: NDArray[np.float64]) -> float:
    """The longest line through a convex polygon (V, 2) at right angles to its diameter, from vertex 0 to vertex `end`.

    The distance between the two sides is linear between vertices, so its maximum is at one.
    """
    place, side = hull @ along, hull @ np.array([-along[1], along[0]])
    there = np.interp(place, place[: end + 1], side[: end + 1])
    back = np.interp(place, np.append(place[end:], place[0])[::-1], np.append(side[end:], side[0])[::-1])
    return float(np.abs(there - back).max())
