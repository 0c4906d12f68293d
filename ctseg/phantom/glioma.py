"""Gliomas on MR: necrotic core, enhancing rim, oedema along the white matter, mass effect."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.blobs import Blob, make_blob
from ctseg.phantom.fields import Field, Floats, Mm, edge, noise, ramp

OEDEMA, CORE, RIM = 1, 2, 3
"""Label values of MSD Task01."""
SITES: list[tuple[float, Mm]] = [
    (0.40, (30, 36, 20)),
    (0.30, (46, -14, -10)),
    (0.20, (34, -44, 36)),
    (0.04, (24, -76, 10)),
    (0.06, (20, -6, 12)),
]
"""Shares of lobes: frontal 40 %, temporal 29 %, parietal 14-20 %, occipital 3 %, deep
(Larjavaara et al., Neuro-Oncology 2007)."""
CORE_ML = 26.0
"""Median volume of the tumour core; whole tumours of BraTS are 10-200 mL with a median near 90
(Bakas et al., Sci Data 2017)."""
ENHANCING = 0.75
"""Share of gliomas with an enhancing rim (BraTS: high-grade 75-80 %)."""


@dataclass
class Glioma:
    """One tumour."""

    blob: Blob
    rim_mm: float
    oedema_mm: float
    necrosis: float
    texture: Field = field(repr=False)

    @property
    def core_tissue(self) -> str:
        """Necrosis inside an enhancing rim, solid tumour where nothing enhances."""
        return "necrosis" if self.rim_mm > 0 else "tumour"

    def push(self, points: Floats, wall_mm: Floats) -> Floats:
        """Mass effect."""
        return self.blob.push(points, wall_mm)

    def fractions(self, tissue: Tissue) -> dict[str, Floats]:
        """Coverage by core, rim and oedema."""
        depth = self.blob.depth(tissue.template, 1.5 * self.oedema_mm + 10)
        if float(depth.max()) < -900:
            return {name: np.zeros_like(depth) for name in ("core", "rim", "oedema")}
        near = self.texture.at(tissue.template - self.blob.centre)
        brain = edge(-tissue.wall_mm - 2.0, 1.5) * (1 - 0.9 * tissue.ventricle)
        body = edge(depth, 1.5) * brain
        thickness = self.rim_mm * (1 + 0.6 * near[0])
        dead = edge(depth - thickness, 1.5) * ramp(near[1], self.necrosis + 0.5, self.necrosis - 0.5)
        rim = body * (1 - dead) * (self.rim_mm > 0)
        core = body - rim
        reach = self.oedema_mm * (0.25 + 1.1 * tissue.deep_white + 0.35 * near[1])
        soft = 1 - 0.85 * tissue.fluid
        oedema = (
            ramp(depth + reach, -1.5, 1.5)
            * (0.25 + 0.75 * ramp(tissue.white + 0.6 * tissue.deep_white, 0.35, 0.8))
            * soft
        )
        return {"core": core, "rim": rim, "oedema": oedema * (1 - body) * (tissue.wall_mm < -1)}


def draw_glioma(rng: np.random.Generator) -> Glioma:
    """Draw a tumour: lobe by published shares, size log-normal."""
    shares = np.array([share for share, _ in SITES])
    spot = np.array(SITES[int(rng.choice(len(SITES), p=shares / shares.sum()))][1]) + rng.normal(0, [5, 8, 7])
    side = 1.0 if rng.random() < 0.5 else -1.0
    volume = float(np.clip(CORE_ML * np.exp(rng.normal(0, 0.65)), 4, 110))
    centre = (float(side * max(spot[0], 12.0)), float(spot[1]), float(spot[2]))
    blob = make_blob(
        rng,
        centre,
        volume,
        rough=float(rng.uniform(0.14, 0.28)),
        mass=float(rng.uniform(0.25, 0.6)),
        lobes=int(rng.integers(1, 5)),
    )
    box = (-48.0, -48.0, -48.0), (48.0, 48.0, 48.0)
    rim = float(rng.uniform(2.5, 5.5)) if rng.random() < ENHANCING else 0.0
    return Glioma(
        blob,
        rim,
        float(np.clip(rng.normal(13, 6), 3, 26)),
        float(rng.uniform(-0.6, 1.0)),
        noise(rng, 9.0, *box, channels=2),
    )


def labels(fractions: dict[str, Floats]) -> np.ndarray:
    """Task01 labels; rim and core from half of a voxel, oedema from 0.3 on: raters draw all that is bright."""
    result = np.zeros(fractions["core"].shape, dtype=np.uint8)
    result[fractions["oedema"] > 0.3] = OEDEMA
    body = fractions["core"] + fractions["rim"] > 0.5
    result[body] = np.where(fractions["rim"] > fractions["core"], RIM, CORE)[body]
    return result
