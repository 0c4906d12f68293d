"""Fit a bleed to the size and the HU that it must measure on the scan, partial volume included.

A part of a bleed is a score (mm inside its surface, negative outside) and a room (the share of a voxel that blood may
fill there). Its surface is moved until the mask holds the wanted mL; then its HU is solved so that the mean inside the
mask is the wanted one. Slices have half the matrix of the written ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.phantom.fields import Floats, edge, f32

Box = tuple[slice, slice, slice]
"""Slices, rows and columns of the scan."""

STEPS = 12
"""Bisections of the surface's shift: 40 mm / 2^12 is 0.01 mm."""
GROW_MM, SHRINK_MM = 14.0, 26.0
"""How far a surface may move out and in."""
COARSE = 150_000
"""Samples from which on the search takes every second row and column."""
BLOOD_HU = (8.0, 105.0)
"""What blood can have: serum with few cells up to a retracted clot (New & Aronow, Radiology 1976: 94 HU)."""
FACES = ndimage.generate_binary_structure(3, 1)


@dataclass
class Samples:
    """A part on its box of the scan, sampled through each slice."""

    box: Box
    score: Floats
    """(K, S, h, w) mm."""
    room: Floats
    """(K, S, h, w) 0..1."""
    soft_mm: float
    """Width of the surface."""
    level: float
    """Coverage from which on a voxel belongs to the mask."""

    def cover(self, shift: float) -> Floats:
        """(K, h, w) share of each voxel that is filled when the surface moves out by `shift` mm."""
        filled: Floats = (edge(self.score + f32(shift), self.soft_mm) * self.room).mean(axis=1)
        return filled

    def thinned(self) -> Samples:
        """Every second row and column."""
        return Samples(
            self.box, self.score[:, :, ::2, ::2], self.room[:, :, ::2, ::2], max(self.soft_mm, 2.0), self.level
        )


def fit_cover(
    samples: Samples, ml: float, voxel_ml: Floats, thin_from: int = COARSE
) -> tuple[Floats, NDArray[np.bool_]]:
    """Coverage (K, h, w) and mask of the part whose mask holds `ml`, or as near to it as the room allows.

    Args:
        samples: the part.
        ml: wanted volume of the mask.
        voxel_ml: (K,) volume of one voxel of each slice.
        thin_from: number of samples from which on the search takes every second row and column.
    """
    seed = _seed(samples)
    if seed is None:
        empty = np.zeros(samples.score.shape[:1] + samples.score.shape[2:], dtype=np.float32)
        return empty, empty > 0
    coarse = samples.score.size > thin_from
    search = samples.thinned() if coarse else samples
    place = (seed[0], seed[1] // 2, seed[2] // 2) if coarse else seed
    volumes = voxel_ml * 4 if coarse else voxel_ml
    low, high = -SHRINK_MM, GROW_MM
    for _ in range(STEPS):
        middle = (low + high) / 2
        mask = _piece(search.cover(middle) > samples.level, place)
        if float(mask.sum(axis=(1, 2)) @ volumes) > ml:
            high = middle
        else:
            low = middle
    cover = samples.cover(high)
    mask = _piece(cover > samples.level, seed)
    return _alone(cover, mask, samples.level), mask


def _seed(samples: Samples) -> tuple[int, int, int] | None:
    """The voxel that the part grows from: the highest score where there is room."""
    room = samples.room.mean(axis=1)
    if float(room.max()) <= samples.level:
        return None
    best = np.where(room > samples.level + 0.5 * (room.max() - samples.level), samples.score.mean(axis=1), -np.inf)
    k, row, column = np.unravel_index(int(best.argmax()), best.shape)
    return int(k), int(row), int(column)


def _piece(mask: NDArray[np.bool_], seed: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The connected piece of a mask that holds the seed, or its largest one where the seed is outside."""
    labels, count = ndimage.label(mask, FACES)
    if count < 2:
        return mask
    name = labels[seed] or int(np.bincount(labels.ravel())[1:].argmax()) + 1
    found: NDArray[np.bool_] = labels == name
    return found


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask."""
    labels, count = ndimage.label(mask, FACES)
    if count < 2:
        return mask
    found: NDArray[np.bool_] = labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1
    return found


def _alone(cover: Floats, mask: NDArray[np.bool_], level: float) -> Floats:
    """Coverage without what is neither part of the mask nor beside it; what is beside it stays below the level."""
    near = ndimage.binary_dilation(mask, np.ones((1, 3, 3), dtype=bool))
    kept: Floats = np.where(mask, cover, np.minimum(cover, f32(0.7 * level)) * near).astype(np.float32)
    return kept


def solve_hu(
    wanted: float, mask: NDArray[np.bool_], cover: Floats, below: Floats, measured: Floats, texture: Floats
) -> Floats:
    """HU (K, h, w) of the blood itself so that the mean of the scan inside the mask is `wanted`.

    Args:
        wanted: mean HU that the mask must measure.
        mask: (K, h, w) the part.
        cover: (K, h, w) share of each voxel that blood fills.
        below: HU of the tissue that blood takes the place of.
        measured: HU of the scan without the blood, artefacts included.
        texture: HU around the blood's mean.
    """
    if not mask.any():
        return texture + f32(wanted)
    weights = cover[mask]
    rest = measured[mask] + weights * (texture[mask] - below[mask])
    hu = (wanted - float(rest.mean())) / max(float(weights.mean()), 1e-3)
    blood: Floats = np.clip(texture + f32(hu), *BLOOD_HU).astype(np.float32)
    return blood
