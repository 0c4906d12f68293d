"""Intraparenchymal haemorrhage on CT: irregular, multi-lobed, deep or lobar, with oedema around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.blobs import Blob, make_blob
from ctseg.phantom.fields import Floats, Mm, edge, noise, ramp
from ctseg.phantom.parts import Part, Texture

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

CLOT_TEXTURE_HU = (2.5, 5.0)
"""Patchiness of fresh clot (density heterogeneity of growing bleeds; Barras et al., Stroke 2009)."""
SWIRL_SHARE, SWIRL_HU = 0.30, (8.0, 18.0)
"""Bleeds with darker, unclotted blood inside: swirl sign in 30 % (Selariu et al., Acta Neurol Scand 2012)."""
LEVEL_SHARE, LEVEL_HU = 0.06, (14.0, 26.0)
"""Bleeds with a fluid level, and its step (Pfleger et al., AJNR 1994: 5 to 7 %)."""
LEVEL_ML = 8.0
"""Smallest bleed that shows a level or a swirl here."""
OEDEMA_HU = (-12.0, -6.0)
"""Perihaematomal oedema against the tissue around it (Urday et al., Nat Rev Neurol 2015: 5-33 HU in total)."""
OEDEMA_MM = (0.0, 15.0)
"""Width of the oedema: none in the first hours, up to 15 mm after days (Venkatasubramanian et al., Stroke 2011)."""
BOX = (-48.0, -48.0, -48.0), (48.0, 48.0, 48.0)


@dataclass
class Haematoma:
    """One IPH: the clot and a halo of oedema."""

    blob: Blob
    halo_mm: float

    @property
    def centre(self) -> Floats:
        """Centre of the main lobe, template mm."""
        return self.blob.centre

    @property
    def reach_mm(self) -> float:
        """Clot, its surface moved out, and oedema lie within."""
        return self.blob.reach_mm(max(1.35 * self.halo_mm, 4.0) + 3.0)

    def push(self, points: Floats, wall_mm: Floats) -> Floats:
        """Mass effect of the clot."""
        return self.blob.push(points, wall_mm)

    def score(self, tissue: Tissue) -> Floats:
        """Mm inside the blob."""
        return self.blob.depth(tissue.template, 1e3)

    def room(self, tissue: Tissue) -> Floats:
        """The brain without its surface and its ventricles."""
        room: Floats = edge(-tissue.wall_mm - 3.0, 1.5) * (1 - tissue.ventricle)
        return room

    def oedema(self, tissue: Tissue, score: Floats) -> Floats:
        """Weight of the oedema around the clot: it spreads in white matter."""
        if self.halo_mm < 0.5:
            return np.zeros_like(score)
        reach = self.halo_mm * (0.45 + 0.9 * tissue.deep_white)
        return ramp(score + reach, 0, 0.6 * self.halo_mm) * tissue.white


def draw_haematoma(rng: np.random.Generator, size: PartSize) -> Part:
    """Draw an IPH of a size: site by published shares among those that hold it."""
    names = [name for name in SITES if size.ml <= LARGEST_ML.get(name, np.inf)]
    shares = np.array([SITES[name][0] for name in names])
    site = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    spots = SITES[site][1]
    spot = np.array(spots[int(rng.integers(len(spots)))]) + rng.normal(0, [2, 4, 4] if site != "pons" else 1.0)
    side = 1.0 if rng.random() < 0.5 else -1.0
    return haematoma_at(rng, (float(spot[0] * side), float(spot[1]), float(spot[2])), size, site)


def haematoma_at(rng: np.random.Generator, centre: Mm, size: PartSize, site: str = "") -> Part:
    """Draw an IPH of a size around a point; `site`, a key of `SITES`, gives it the proportions usual there."""
    blob = make_blob(
        rng,
        centre,
        size.ml,
        rough=float(rng.uniform(0.12, 0.30)),
        mass=float(rng.uniform(0.35, 0.65)),
        lobes=int(rng.integers(1, 5)),
        long=_lengths(rng, site),
    )
    shape = Haematoma(blob, draw_oedema_mm(rng, size.ml))
    texture = draw_texture(rng, size.ml)
    return Part("intraparenchymal", size, shape, texture, oedema_hu=float(rng.uniform(*OEDEMA_HU)))


def draw_oedema_mm(rng: np.random.Generator, ml: float) -> float:
    """Draw the width of the oedema: any age of the bleed, wider around larger ones."""
    width = rng.uniform(0, 1) ** 1.3 * (4.0 + 11.0 * min(ml / 25.0, 1.0) ** 0.5)
    return float(np.clip(width, *OEDEMA_MM))


def draw_texture(rng: np.random.Generator, ml: float) -> Texture:
    """Draw the inside of a clot: patchy, sometimes with swirls or a fluid level."""
    large = ml >= LEVEL_ML
    level, swirl = rng.random() < LEVEL_SHARE, rng.random() < SWIRL_SHARE
    return Texture(
        noise(rng, 9.0, *BOX, channels=2),
        patchy_hu=float(rng.uniform(*CLOT_TEXTURE_HU)),
        swirl_hu=float(rng.uniform(*SWIRL_HU)) if swirl and large else 0.0,
        level_hu=float(rng.uniform(*LEVEL_HU)) if level and large else 0.0,
        level_mm=float(rng.uniform(-4, 6)),
    )


def _lengths(rng: np.random.Generator, site: str) -> Mm | None:
    """Relative lengths: putaminal bleeds follow the external capsule front to back and up, lobar ones lie along it."""
    if site == "putamen":
        return 1.0, float(rng.uniform(1.2, 1.5)), float(rng.uniform(1.1, 1.4))
    if site == "lobar":
        return 1.0, float(rng.uniform(0.9, 1.3)), float(rng.uniform(0.9, 1.3))
    return None
