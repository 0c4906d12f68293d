"""Blood mixed with fluid: in the ventricles (IVH), in cisterns and sulci (SAH). It is added on the scan.

A part grows from a voxel that has room, so it follows the patient's own ventricles and sulci.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.fields import Floats, Mm, f32, norm, ramp

FILLED = {"intraventricular": 0.7, "subarachnoid": 0.22}
"""Share of its ball that a part fills: the rest is brain."""
SETTLED_SHARE = 0.6
"""Intraventricular parts that settle behind a level: supine patients, occipital horns (Osborn's Brain)."""
CISTERNS: tuple[Mm, ...] = ((0.0, -8.0, -22.0), (40.0, 6.0, -2.0), (-40.0, 6.0, -2.0), (0.0, 40.0, 10.0))
"""Suprasellar, Sylvian, interhemispheric: the aneurysmal pattern (van Gijn et al., Brain 2001)."""
ANEURYSMAL_SHARE = 0.5
"""Of SAH without trauma; after trauma it lies in sulci of the convexity (Rinkel et al., Stroke 1993)."""
APART = 3
"""Pixels between seeds of two parts at least."""


@dataclass(frozen=True)
class FluidBlood:
    """Parts of one kind that wait for the scan to find their place."""

    kind: str
    sizes: tuple[PartSize, ...]
    spots: tuple[tuple[Mm, float], ...]
    """Centres in template mm and radii around which parts are likely."""
    seed: int
    """Of the draws that depend on the scan."""

    def chances(self, points: Floats, room: Floats) -> Floats:
        """(K, h, w) relative chance that a part begins at a voxel.

        Args:
            points: (K, h, w, 3) template points.
            room: (K, h, w) share of each voxel that blood may fill.
        """
        near: Floats = np.full(room.shape, 0.004, dtype=np.float32)
        for centre, radius in self.spots:
            near = np.maximum(near, np.exp(-((norm(points - f32(centre)) / f32(radius)) ** 2)))
        if self.kind == "intraventricular":
            near = near * (0.15 + ramp(points[..., 1], -10, -60))
        return near * ramp(room, 0.35, 0.7)


def draw_ivh(rng: np.random.Generator, sizes: list[PartSize], source: Mm | None) -> FluidBlood:
    """IVH: next to a bleed that broke through, and settled in the occipital horns."""
    spots: list[tuple[Mm, float]] = [((20.0, -60.0, 8.0), 22.0), ((-20.0, -60.0, 8.0), 22.0)]
    if source is not None:
        x, y, z = source
        spots.append(((x * 0.5, y, z), 22.0))
    if rng.random() < 0.4:
        spots += [((0.0, -14.0, 0.0), 12.0), ((0.0, -46.0, -34.0), 12.0)]
    return FluidBlood("intraventricular", tuple(sizes), tuple(spots), int(rng.integers(2**31)))


def draw_sah(rng: np.random.Generator, sizes: list[PartSize], trauma: bool) -> FluidBlood:
    """SAH: in the basal cisterns and fissures, or in sulci of the convexity."""
    spots: list[tuple[Mm, float]] = []
    if not trauma and rng.random() < ANEURYSMAL_SHARE:
        spots += [(centre, 26.0) for centre in CISTERNS]
    else:
        for _ in range(int(rng.integers(1, 4))):
            side = float(rng.choice((-1, 1)))
            spots.append(((side * rng.uniform(20, 56), rng.uniform(-70, 50), rng.uniform(-10, 55)), 30.0))
    return FluidBlood("subarachnoid", tuple(sizes), tuple(spots), int(rng.integers(2**31)))


def pick_seed(rng: np.random.Generator, chances: Floats) -> tuple[int, int, int] | None:
    """A voxel drawn by its chance; None where there is none."""
    total = np.cumsum(chances.ravel(), dtype=np.float64)
    if total[-1] <= 0:
        return None
    k, row, column = np.unravel_index(int(np.searchsorted(total, rng.random() * total[-1])), chances.shape)
    return int(k), int(row), int(column)


def fluid_score(
    rng: np.random.Generator, kind: str, offsets_mm: Floats, radius_mm: float, shape: tuple[int, ...]
) -> Floats:
    """(K, h, w) mm inside a part around its seed.

    Args:
        rng: draws of the part.
        kind: IVH settles, SAH follows its sulcus.
        offsets_mm: (K, h, w, 3) from the seed in patient mm.
        radius_mm: radius of the ball that the part about fills.
        shape: (K, h, w).
    """
    stretch = np.exp(rng.normal(0, 0.25, 3)).astype(np.float32)
    score = np.float32(radius_mm) - norm(offsets_mm * stretch)
    rough = rng.standard_normal(shape, dtype=np.float32)
    if kind == "intraventricular" and rng.random() < SETTLED_SHARE:
        level = np.float32(0.35 * radius_mm) - np.maximum(offsets_mm[..., 1], -0.5 * radius_mm)
        score = np.minimum(1.2 * level, score + np.float32(0.5 * radius_mm))
    scored: Floats = score + np.float32(0.25) * rough
    return scored


def ball_radius_mm(kind: str, ml: float) -> float:
    """Radius of the ball that a part of `ml` about fills."""
    return float(np.cbrt(ml * 1000 * 3 / (4 * np.pi * FILLED[kind])))


def clear_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels (K, h, w) that neither belong to a mask nor touch it within its slice or above and below."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    wide = grown.copy()
    for axis in (1, 2):
        for shift in (-APART, -1, 1, APART):
            wide |= np.roll(grown, shift, axis=axis)
    return ~wide
