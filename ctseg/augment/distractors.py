"""Distractors of a haematoma painted into source slices without a label, so that bright is not enough.

A source domain of gliomas has no blood outside the tissue, no calcification and none of the bone that is left where a
skull base meets a tilted slice, and a network trained on it outlines all of them. What is painted follows what they
look like on CT (bright rims and bands along the brain's edge; small, very bright spots; ventricles and sulci filled
with blood), not any labelled scan. None of this is in the paper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bools = NDArray[np.bool_]
RIM = (0.02, 0.08)
"""Thickness of a rim as a share of the slice's width: 5 to 19 mm at 240 mm; a subdural haematoma that is treated is
rarely thicker than 2 to 3 cm, and bone left at the skull base is thinner."""
ARC_DEG = (30.0, 150.0)
SPOT = (0.006, 0.02)
"""Radius of a spot, as a share of the width: 1.5 to 5 mm, calcified pineal, choroid plexus, basal ganglia."""
RIM_GREY = (115.0, 255.0)
"""Of 0..255 at 0 to 100 HU: 45 to over 100 HU, clotted blood (Osborn's Brain) to partial bone."""
SPOT_GREY = (220.0, 255.0)
"""Calcification is over 85 HU."""
FLUID = 0.6
"""Fluid is darker than this share of a slice's median brain grey: at 31 HU of tissue, under 19 HU."""
FLUID_GREY = (107.0, 179.0)
"""42 to 70 HU: blood that mixes with the fluid of ventricles and sulci (Osborn's Brain)."""
LEAST_FLUID = 3
"""Pixels; smaller pools are noise."""


def paint(
    images: NDArray[np.uint8], masks: NDArray[np.uint8], probability: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(B, H, W) slices with rims, spots and bloody fluid, each kind in a slice with `probability`.

    The lesion and the background stay as they are; masks are not changed.
    """
    painted = images.copy()
    for image, mask in zip(painted, masks, strict=True):
        brain = image > 0
        rim, spots, blood = rng.random(3) < probability
        if not brain.any():
            continue
        free = brain & (mask == 0)
        if rim:
            _fill(image, free & arc(brain, rng), RIM_GREY, rng)
        for _ in range(int(rng.integers(1, 5)) if spots else 0):
            _fill(image, free & spot(brain, rng), SPOT_GREY, rng)
        if blood:
            _fill(image, pools(image, free, rng), FLUID_GREY, rng)
    return painted


def arc(brain: Bools, rng: np.random.Generator) -> Bools:
    """(H, W) a band along the brain's edge, over a random angle, thinning out to both ends."""
    width = brain.shape[1]
    rows, columns = np.nonzero(brain)
    angle = np.arctan2(np.arange(brain.shape[0])[:, None] - rows.mean(), np.arange(width)[None, :] - columns.mean())
    middle, half = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(*ARC_DEG)) / 2
    away = np.abs((angle - middle + np.pi) % (2 * np.pi) - np.pi) / half
    thickness = rng.uniform(*RIM) * width * np.clip(1.0 - away**2, 0.0, None)
    return brain & (ndimage.distance_transform_edt(brain) <= thickness)


def spot(brain: Bools, rng: np.random.Generator) -> Bools:
    """(H, W) a disc around a random brain pixel."""
    places = np.argwhere(brain)
    row, column = places[rng.integers(len(places))]
    radius = max(1.0, rng.uniform(*SPOT) * brain.shape[1])
    squared = (np.arange(brain.shape[0])[:, None] - row) ** 2 + (np.arange(brain.shape[1])[None, :] - column) ** 2
    return brain & (squared <= radius**2)


def pools(image: NDArray[np.uint8], free: Bools, rng: np.random.Generator) -> Bools:
    """(H, W) half of the pools of fluid, drawn at random; in one slice of two only what lies behind a random row.

    Blood in the ventricles of a patient on his back sinks to the occipital horns. Rows run from front to back.
    """
    labels, count = ndimage.label(free & (image < FLUID * np.median(image[image > 0])))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    chosen = (rng.random(count + 1) < 0.5) & (sizes >= LEAST_FLUID)
    chosen[0] = False
    found = chosen[labels]
    if rng.random() < 0.5 and found.any():
        rows = np.flatnonzero(found.any(axis=1))
        found[: rng.integers(rows[0], rows[-1] + 1)] = False
    return np.asarray(found, dtype=bool)


def _fill(image: NDArray[np.uint8], where: Bools, grey: tuple[float, float], rng: np.random.Generator) -> None:
    """In place: one grey with the texture that was there, never darker than before."""
    level = rng.uniform(*grey)
    texture = image[where].astype(np.float64)
    if not texture.size:
        return
    new = np.maximum(texture, level + 0.5 * (texture - texture.mean()))
    image[where] = np.clip(np.rint(new), 1, 255).astype(np.uint8)
