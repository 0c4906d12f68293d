"""Small bleeds of a few mm: hypertensive and amyloid microbleeds, diffuse axonal injury, satellites of a large clot."""

from __future__ import annotations

import numpy as np

from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.blobs import make_blob
from ctseg.phantom.fields import Mm, noise
from ctseg.phantom.haematoma import BOX, OEDEMA_HU, Haematoma
from ctseg.phantom.parts import Part, Texture

SMALL_ML = 1.0
"""Largest volume of a small bleed: a ball of 12 mm."""
DEEP: list[Mm] = [(24, 2, 2), (14, -18, 8), (6, -26, -32), (22, -60, -38)]
"""Deep sites of hypertensive microbleeds, right side (Greenberg et al., Lancet Neurol 2009)."""
JUNCTION: list[Mm] = [(24, 40, 24), (40, 12, 36), (30, -20, 50), (38, -54, 30), (46, -24, -12), (22, -80, 10)]
"""Lobar sites at the border of grey and white matter: amyloid angiopathy, and axonal injury in trauma
(Gentry et al., AJR 1988)."""
CALLOSUM: list[Mm] = [(6, -34, 18), (8, 24, 14)]
"""Corpus callosum, the second site of axonal injury (Gentry et al., AJR 1988)."""
SATELLITE_MM = 16.0
"""SD of the distance of satellites from the large clot, beyond its radius."""


def draw_microbleed(
    rng: np.random.Generator, size: PartSize, *, trauma: bool, near: tuple[Mm, float] | None = None
) -> Part:
    """Draw a small bleed.

    Args:
        rng: the patient's own generator.
        size: mL and HU.
        trauma: axonal injury instead of small vessel disease.
        near: centre and radius in mm of a large clot that it may be a satellite of.
    """
    if near is not None and rng.random() < 0.5:
        spot = _beside(rng, *near)
    else:
        sites = JUNCTION + (CALLOSUM if trauma else DEEP)
        x, y, z = sites[int(rng.integers(len(sites)))] + rng.normal(0, 5, 3)
        spot = (float(max(abs(x), 6.0) * rng.choice((-1, 1))), float(y), float(z))
    return microbleed_at(rng, spot, size)


def microbleed_at(rng: np.random.Generator, centre: Mm, size: PartSize) -> Part:
    """Draw a small bleed around a point."""
    blob = make_blob(rng, centre, size.ml, rough=0.12, mass=0.0, lobes=int(rng.integers(0, 2)))
    return Part(
        "intraparenchymal",
        size,
        Haematoma(blob, float(rng.uniform(0, 4))),
        Texture(noise(rng, 9.0, *BOX, channels=2), patchy_hu=2.0),
        soft_mm=1.0,
        oedema_hu=float(rng.uniform(*OEDEMA_HU)),
    )


def _beside(rng: np.random.Generator, centre: Mm, radius_mm: float) -> Mm:
    """A point around a clot, on its side of the head."""
    way = rng.normal(size=3)
    way /= np.linalg.norm(way)
    x, y, z = np.array(centre) + way * (1.3 * radius_mm + 5 + abs(rng.normal(0, SATELLITE_MM)))
    side = np.sign(centre[0]) or 1.0
    return float(side * max(side * x, 7.0)), float(np.clip(y, -85, 58)), float(np.clip(z, -45, 58))
