"""Intraparenchymal haemorrhage on CT: fresh clot, irregular and multi-lobed, with a halo of oedema and mass effect."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.blobs import Blob, make_blob
from ctseg.phantom.fields import Field, Floats, Mm, edge, f32, noise, ramp

SITES: dict[str, tuple[float, list[Mm]]] = {
    "putamen": (0.36, [(28, 0, 0), (27, -4, 4)]),
    "thalamus": (0.17, [(14, -19, 7)]),
    "lobar": (0.34, [(30, 38, 22), (36, 8, 42), (40, -52, 32), (50, -22, -8), (26, -78, 12), (34, -28, 38)]),
    "cerebellum": (0.09, [(24, -64, -38)]),
    "pons": (0.04, [(2, -28, -34)]),
}
"""Site shares of spontaneous IPH (Qureshi et al., NEJM 2001; Flaherty et al., Neurology 2005) and right positions."""

LARGEST_ML = {"pons": 8.0, "thalamus": 30.0, "cerebellum": 40.0}
"""Largest volume in mL that a small structure holds; larger bleeds lie elsewhere (maxima of the same series)."""

VOLUME_SPREAD = 0.4
"""SD of log volume around the median that the case mix asks for."""

IPH_HU = (55.0, 80.0)
"""Mean attenuation of fresh clot: 55-90 HU, from haematocrit and clot retraction (New & Aronow, Radiology 1976)."""
CLOT_TEXTURE_HU = 4.0
"""Patchiness of fresh clot (density heterogeneity of growing bleeds; Barras et al., Stroke 2009)."""
OEDEMA_HU = -11.0
"""Perihaematomal oedema against white matter: 5-33 HU in total (Urday et al., Nat Rev Neurol 2015)."""


@dataclass
class Haematoma:
    """One IPH: the clot, a halo of oedema, its HU."""

    blob: Blob
    hu: float
    halo_mm: float
    texture: Field = field(repr=False)

    def push(self, points: Floats, wall_mm: Floats) -> Floats:
        """Mass effect of the clot."""
        return self.blob.push(points, wall_mm)

    def clot(self, tissue: Tissue, depth: Floats) -> Floats:
        """Coverage by clot: inside the blob, in the brain, not in a ventricle."""
        inside = edge(depth, 1.4) * edge(-tissue.wall_mm - 3.0, 1.5)
        return inside * (1 - tissue.ventricle)

    def halo(self, tissue: Tissue, depth: Floats) -> Floats:
        """Weight of the oedema around the clot: it spreads in white matter."""
        reach = self.halo_mm * (0.45 + 0.9 * tissue.deep_white)
        return ramp(depth + reach, 0, 0.6 * self.halo_mm) * tissue.white

    def clot_hu(self, points: Floats) -> Floats:
        """HU of the clot, patchy."""
        return f32(self.hu) + CLOT_TEXTURE_HU * self.texture.at(points - self.blob.centre)[0]


def draw_haematoma(rng: np.random.Generator, median_ml: float) -> Haematoma:
    """Draw an IPH: volume log-normal, site by published shares among those that hold it; larger ones, wider halo."""
    volume = float(np.clip(median_ml * np.exp(rng.normal(0, VOLUME_SPREAD)), 2.0, 120.0))
    names = [name for name in SITES if volume <= LARGEST_ML.get(name, np.inf)]
    shares = np.array([SITES[name][0] for name in names])
    site = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    spots = SITES[site][1]
    spot = np.array(spots[int(rng.integers(len(spots)))]) + rng.normal(0, [2, 4, 4] if site != "pons" else 1.0)
    side = 1.0 if rng.random() < 0.5 else -1.0
    blob = make_blob(
        rng,
        (float(spot[0] * side), float(spot[1]), float(spot[2])),
        volume,
        rough=float(rng.uniform(0.12, 0.24)),
        mass=float(rng.uniform(0.35, 0.65)),
        lobes=int(rng.integers(1, 5)),
        long=_lengths(rng, site),
    )
    box = (-48.0, -48.0, -48.0), (48.0, 48.0, 48.0)
    halo = float(np.clip(rng.normal(5.0, 2.0) + 0.03 * volume, 2, 11))
    return Haematoma(blob, float(rng.uniform(*IPH_HU)), halo, noise(rng, 7.0, *box))


def _lengths(rng: np.random.Generator, site: str) -> Mm | None:
    """Relative lengths: putaminal bleeds follow the external capsule front to back and up, lobar ones lie along it."""
    if site == "putamen":
        return 1.0, float(rng.uniform(1.2, 1.5)), float(rng.uniform(1.1, 1.4))
    if site == "lobar":
        return 1.0, float(rng.uniform(0.9, 1.3)), float(rng.uniform(0.9, 1.3))
    return None
