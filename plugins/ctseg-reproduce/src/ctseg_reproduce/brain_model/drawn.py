"""Slices drawn from ellipses: heads of any proportion, and necks with bone around a canal but no brain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = 128
"""Pixels of 2 mm."""
Slice = tuple[NDArray[np.float32], NDArray[np.float32]]


def drawn_slice(rng: np.random.Generator) -> Slice:
    """(SIZE, SIZE) HU and share of brain of a head or, one time in two, a neck."""
    return _neck(rng) if rng.random() < 0.5 else _head(rng)


def _ellipse(centre: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside: NDArray[np.bool_] = (
        ((rows - centre[0]) / max(radii[0], 0.5)) ** 2 + ((columns - centre[1]) / max(radii[1], 0.5)) ** 2
    ) <= 1
    return inside


def _head(rng: np.random.Generator) -> Slice:
    """Brain, bone, fat and skin, each an ellipse in the next; sometimes eyes or a sinus in front."""
    middle = np.full(2, SIZE / 2 - 0.5)
    brain = np.array([rng.uniform(8, 48), 0.0])
    brain[1] = min(brain[0] * rng.uniform(0.7, 1.1), 46)
    skull = brain + rng.uniform(1.5, 5)
    fat = skull + rng.uniform(0, 4)
    hu = np.full((SIZE, SIZE), -1000.0, np.float32)
    hu[_ellipse(middle, fat + rng.uniform(0, 1.5))] = rng.uniform(30, 60)
    hu[_ellipse(middle, fat)] = rng.uniform(-110, 50)
    hu[_ellipse(middle, skull)] = rng.uniform(300, 1300)
    inside = _ellipse(middle, brain)
    hu[inside] = rng.uniform(20, 42)
    if rng.random() < 0.4:
        for side in (-1, 1):
            eye = middle + np.array([-(skull[0] + 5), side * 0.4 * brain[1]])
            radius = np.full(2, rng.uniform(4, 7))
            hu[_ellipse(eye, radius + 3) & ~_ellipse(middle, skull)] = -90
            hu[_ellipse(eye, radius) & ~_ellipse(middle, skull)] = rng.uniform(5, 20)
    return hu, inside.astype(np.float32)


def _neck(rng: np.random.Generator) -> Slice:
    """Skin, fat and muscle around a vertebra with its canal, an airway, and sometimes a jaw with teeth."""
    middle = np.full(2, SIZE / 2 - 0.5) + rng.normal(0, 5, 2)
    body = rng.uniform(25, 55, 2)
    hu = np.full((SIZE, SIZE), -1000.0, np.float32)
    hu[_ellipse(middle, body)] = rng.uniform(-110, 40)
    muscle = body - rng.uniform(1, 10)
    hu[_ellipse(middle, muscle)] = rng.uniform(40, 65)
    for _ in range(int(rng.integers(0, 12))):
        spot = middle + rng.uniform(-0.8, 0.8, 2) * muscle
        hu[_ellipse(spot, rng.uniform(1, 8, 2)) & _ellipse(middle, muscle)] = rng.uniform(-100, 90)
    spine = middle + np.array([rng.uniform(0, 0.4) * body[0], rng.normal(0, 2)])
    hu[_ellipse(spine, rng.uniform(8, 16, 2))] = rng.uniform(250, 900)
    hu[_ellipse(spine + np.array([rng.uniform(1, 5), 0]), rng.uniform(4, 8, 2))] = rng.uniform(10, 45)
    airway = spine - np.array([rng.uniform(14, 26), rng.normal(0, 2)])
    if rng.random() < 0.8:
        hu[_ellipse(airway, rng.uniform(2, 10, 2))] = -1000
    if rng.random() < 0.6:
        jaw = airway - np.array([rng.uniform(2, 10), 0])
        radii = rng.uniform(14, 26, 2)
        ring = _ellipse(jaw, radii) & ~_ellipse(jaw, radii - rng.uniform(2, 5))
        ring[int(jaw[0]) + int(rng.integers(0, 12)) :] = False
        hu[ring & _ellipse(middle, body)] = rng.uniform(500, 1800)
    return hu, np.zeros_like(hu)
