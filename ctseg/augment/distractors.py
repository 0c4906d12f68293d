"""Paint distractors of a haemorrhage into slices without a label, so that brightness alone does not identify blood.

A source domain of gliomas has no blood outside the tissue, no calcification and none of the bone that is left where a
skull base meets a tilted slice, and a network trained on it segments all of them. What is painted follows what they
look like on CT (bright rims along the brain's edge; small, very bright spots; ventricles and sulci filled with blood),
not any labelled scan. Lesions and background stay as they are. Not in the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.augment.morphology import connected_components, distance_to_outside
from ctseg.augment.slices import (
    BACKGROUND,
    DARKEST,
    Bools,
    Floats,
    brain_of,
    from_hu,
    mean_within,
    median_within,
    per_slice,
    rows_of,
)

RIM = (0.02, 0.08)
"""Thickness of a rim as a share of the slice's width: 5 to 19 mm at 240 mm; a subdural haematoma that is treated is
rarely thicker than 2 to 3 cm, and bone left at the skull base is thinner."""
ARC_DEG = (30.0, 150.0)
"""Angle over which a rim runs, degrees."""
RIM_HU = (45.0, 100.0)
"""Clotted blood (Osborn's Brain) to partial bone, HU."""
SPOTS = 4
"""Spots in a slice at most."""
SPOT = (0.006, 0.02)
"""Radius of a spot, as a share of the width: 1.5 to 5 mm, calcified pineal, choroid plexus, basal ganglia."""
SPOT_HU = (86.0, 100.0)
"""Calcification is over 85 HU."""
FLUID = 0.6
"""Fluid is darker than this share of a slice's median brain grey: at 31 HU of tissue, under 19 HU."""
FLUID_HU = (42.0, 70.0)
"""Blood that mixes with the fluid of ventricles and sulci (Osborn's Brain), HU."""
LEAST_FLUID = 3
"""Pixels; smaller pools are noise."""
POOLS = 61
"""Choices drawn for the pools of a slice; a pool's place says which is its own."""
KEPT_TEXTURE = 0.5
"""Share of the grey values' spread that stays under what is painted."""


@dataclass(frozen=True, eq=False)
class Rims:
    """A bright band along the brain's edge over an angle, thinning out to both ends."""

    painted: Bools
    """(B,)"""
    middle: Floats
    """(B,) direction of the band's middle from the brain's centre, radians."""
    arc_deg: Floats
    """(B,) angle that it runs over."""
    thickness: Floats
    """(B,) share of the slice's width."""
    hu: Floats
    """(B,) attenuation."""

    @classmethod
    def draw(cls, rng: np.random.Generator, painted: Bools) -> Rims:
        """Draw a rim for every slice; `painted` (B,) says where it is used."""
        count = len(painted)
        return cls(
            painted,
            rng.uniform(-np.pi, np.pi, count),
            rng.uniform(*ARC_DEG, count),
            rng.uniform(*RIM, count),
            rng.uniform(*RIM_HU, count),
        )

    def paint(self, images: Tensor, free: Tensor) -> Tensor:
        """Paint rims into (B, 1, H, W) images, where `free` (B, 1, H, W) allows it."""
        if not self.painted.any():
            return images
        rows = rows_of(self.painted, images)
        chosen = images[rows]
        where = free[rows] & self.bands(brain_of(chosen))
        return images.index_copy(0, rows, fill(chosen, where, self.hu[self.painted]))

    def bands(self, brain: Tensor) -> Tensor:
        """Return the bands (b, 1, H, W) of the painted slices, whose brains (b, 1, H, W) these are."""
        height, width = brain.shape[2:]
        row = torch.arange(height, dtype=torch.float32, device=brain.device)[:, None]
        column = torch.arange(width, dtype=torch.float32, device=brain.device)[None, :]
        centre_row, centre_column = (mean_within(axis.expand(brain.shape), brain) for axis in (row, column))
        angle = torch.atan2(row - centre_row, column - centre_column)
        middle, half, thickness = (
            per_slice(values[self.painted], angle)
            for values in (self.middle, np.radians(self.arc_deg) / 2, self.thickness * width)
        )
        away = (torch.remainder(angle - middle + math.pi, 2 * math.pi) - math.pi).abs() / half
        distance = distance_to_outside(brain, math.ceil(self.thickness[self.painted].max() * width))
        return brain & (distance <= thickness * (1.0 - away**2).clamp(min=0.0))


@dataclass(frozen=True, eq=False)
class Spots:
    """Up to four small, very bright discs."""

    count: NDArray[np.int64]
    """(B,) 0 to 4."""
    place: Floats
    """(B, 4) share of the brain's pixels, row by row, before a spot's centre."""
    radius: Floats
    """(B, 4) share of the slice's width."""
    hu: Floats
    """(B, 4) attenuation."""

    @classmethod
    def draw(cls, rng: np.random.Generator, painted: Bools) -> Spots:
        """Draw spots for every slice; `painted` (B,) says where they are used."""
        shape = (len(painted), SPOTS)
        count = np.where(painted, rng.integers(1, SPOTS + 1, len(painted)), 0)
        return cls(count, rng.random(shape), rng.uniform(*SPOT, shape), rng.uniform(*SPOT_HU, shape))

    def paint(self, images: Tensor, free: Tensor) -> Tensor:
        """Paint the spots into (B, 1, H, W) images, where `free` (B, 1, H, W) allows it."""
        if not self.count.any():
            return images
        pixels, inside = self.discs(brain_of(images))
        flat = pixels.flatten(1)  # (B, 4 * window)
        inside = inside & free.flatten(1).gather(1, flat).reshape(inside.shape)
        grey = images.flatten(1).gather(1, flat).reshape(inside.shape)
        mean = (grey * inside).sum(dim=2, keepdim=True) / inside.sum(dim=2, keepdim=True).clamp(min=1)
        level = torch.from_numpy(from_hu(self.hu)).to(images)[:, :, None]
        new = torch.where(inside, _over(grey, mean, level), torch.full_like(grey, BACKGROUND))
        return images.flatten(1).scatter_reduce(1, flat, new.flatten(1), "amax").reshape(images.shape)

    def discs(self, brain: Tensor) -> tuple[Tensor, Tensor]:
        """Find the pixels of each spot.

        Args:
            brain: (B, 1, H, W) bool.

        Returns:
            Places in the flattened slice, (B, 4, window) int64, and which of them belong to the spot, bool.
        """
        height, width = brain.shape[2:]
        before = brain.flatten(1).cumsum(dim=1, dtype=torch.int32)
        wanted = (torch.from_numpy(self.place).float().to(brain.device) * before[:, -1:]).floor().int() + 1
        centre = torch.searchsorted(before, wanted).clamp(max=height * width - 1)[:, :, None]
        radius = torch.from_numpy(np.maximum(1.0, self.radius * width)).float().to(brain.device)[:, :, None]
        offset = torch.arange(-int(max(1.0, SPOT[1] * width)), int(max(1.0, SPOT[1] * width)) + 1, device=brain.device)
        down, right = (part.flatten() for part in torch.meshgrid(offset, offset, indexing="ij"))
        row, column = centre // width + down, centre % width + right
        on_slice = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        drawn = torch.arange(SPOTS) < torch.from_numpy(self.count)[:, None]
        inside = on_slice & (down**2 + right**2 <= radius**2) & drawn.to(brain.device)[:, :, None]
        return row.clamp(0, height - 1) * width + column.clamp(0, width - 1), inside


@dataclass(frozen=True, eq=False)
class BloodyFluid:
    """Blood in half of the pools of fluid; in one slice of two only in what lies behind a random row.

    Blood in the ventricles of a patient on his back sinks to the occipital horns. Rows run from front to back.
    """

    painted: Bools
    """(B,)"""
    filled: Bools
    """(B, 61) whether a pool is filled, by the place of its last pixel."""
    sunk: Bools
    """(B,) whether only the back is filled."""
    level: Floats
    """(B,) share of the rows of the filled pools that stay in front of the blood."""
    hu: Floats
    """(B,) attenuation."""

    @classmethod
    def draw(cls, rng: np.random.Generator, painted: Bools) -> BloodyFluid:
        """Draw for every slice; `painted` (B,) says where it is used."""
        count = len(painted)
        filled, sunk = rng.random((count, POOLS)) < 0.5, rng.random(count) < 0.5
        return cls(painted, filled, sunk, rng.random(count), rng.uniform(*FLUID_HU, count))

    def paint(self, images: Tensor, free: Tensor) -> Tensor:
        """Fill pools of (B, 1, H, W) images, where `free` (B, 1, H, W) allows it."""
        if not self.painted.any():
            return images
        rows = rows_of(self.painted, images)
        chosen = images[rows]
        where = self.pools(chosen, free[rows])
        return images.index_copy(0, rows, fill(chosen, where, self.hu[self.painted]))

    def pools(self, images: Tensor, free: Tensor) -> Tensor:
        """Return the pools to fill, (b, 1, H, W) bool, of the painted slices."""
        usual = median_within(images, brain_of(images)) - BACKGROUND
        pools = connected_components(free & (images - BACKGROUND < FLUID * usual)).flatten(1)  # 0: none
        row, place = pools.nonzero(as_tuple=True)  # of the pixels of all pools
        name = pools[row, place]  # of each pixel's pool, 1 to H * W in its slice
        pool = row * pools.shape[1] + name - 1
        large = torch.bincount(pool)[pool] >= LEAST_FLUID
        filled = torch.from_numpy(self.filled[self.painted]).to(images.device)[row, name % POOLS]
        found = torch.zeros_like(pools, dtype=torch.bool)
        found[row, place] = large & filled
        return self._sink(found.reshape(images.shape))

    def _sink(self, pools: Tensor) -> Tensor:
        """Keep what lies behind the drawn row, where the blood has sunk."""
        filled = pools.any(dim=3, keepdim=True)  # (b, 1, H, 1)
        row = torch.arange(pools.shape[2], device=pools.device)[:, None]
        first = torch.where(filled, row, pools.shape[2]).amin(dim=2, keepdim=True)
        last = torch.where(filled, row, -1).amax(dim=2, keepdim=True)
        share = per_slice(np.where(self.sunk, self.level, 0.0)[self.painted].astype(np.float32), pools.float())
        return pools & (row >= first + torch.minimum((share * (last - first + 1)).floor(), last - first))


@dataclass(frozen=True, eq=False)
class Distractors:
    """What is painted into each slice of a batch: rims, then spots, then bloody fluid."""

    rims: Rims
    spots: Spots
    fluid: BloodyFluid

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, probability: float) -> Distractors:
        """Draw for `count` slices: each of the three kinds is painted with `probability`."""
        rim, spots, fluid = rng.random((3, count)) < probability
        return cls(Rims.draw(rng, rim), Spots.draw(rng, spots), BloodyFluid.draw(rng, fluid))

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Paint into the brain of (B, 1, H, W) images beside the lesions of the masks; masks stay."""
        free = brain_of(images) & (masks <= 0)
        for part in (self.rims, self.spots, self.fluid):
            images = part.paint(images, free)
        return images, masks

    def describe(self) -> list[str]:
        """Say what is painted into each slice."""
        rows = zip(self.rims.painted, self.spots.count, self.fluid.painted, strict=True)
        return [
            ", ".join(text for text, used in
                      (("bright rim", rim), (f"bright spots: {spots}", spots), ("bloody fluid", fluid)) if used)
            for rim, spots, fluid in rows
        ]  # fmt: skip


def fill(images: Tensor, where: Tensor, hu: Floats) -> Tensor:
    """Fill `where` (B, 1, H, W) with blood of `hu` (B,) that keeps some of the texture, never darker than before."""
    filled = _over(images, mean_within(images, where), per_slice(from_hu(hu), images))
    return torch.where(where, filled, images)


def _over(grey: Tensor, mean: Tensor, level: Tensor) -> Tensor:
    return torch.maximum(grey, level + KEPT_TEXTURE * (grey - mean)).clamp(DARKEST, 1.0)
