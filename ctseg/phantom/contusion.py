"""Cortical contusions: patchy blood and oedema where the brain strikes bone, several at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.blobs import make_blob
from ctseg.phantom.fields import Field, Floats, Mm, edge, f32, noise, ramp
from ctseg.phantom.haematoma import BOX, OEDEMA_HU, Haematoma
from ctseg.phantom.landmarks import surface_spot
from ctseg.phantom.parts import Part, Texture
from ctseg.phantom.template import HeadTemplate

SITES: tuple[tuple[float, Mm, Mm], ...] = (
    (0.20, (18, 30, 4), (24, 75, 2)),
    (0.24, (18, 36, 8), (20, 40, -40)),
    (0.22, (40, 0, -18), (46, 40, -34)),
    (0.18, (40, -18, -10), (85, -20, -14)),
    (0.08, (44, -18, -12), (48, -20, -60)),
    (0.05, (16, 10, 40), (22, 14, 90)),
    (0.03, (20, -60, -36), (30, -110, -44)),
)
"""Share, a point inside and a point beyond the skull, right side: frontal pole, orbital surface, temporal pole, its
side and base, vertex (gliding), cerebellum. Frontal and temporal lobes hold most contusions (Gurdjian, Arch Neurol
1976; Gentry et al., AJR 1988: temporal 46 %, frontal 31 %)."""
DEPTH_MM = (1.5, 6.0)
"""The centre's distance from the inner table: contusions sit on the crowns of gyri, at bone."""
OEDEMA_MM = (2.0, 12.0)
"""Oedema mixed in and around, growing over days (Kim & Gean, Neurotherapeutics 2011)."""
PATCHY_HU = (6.0, 12.0)
"""SD of HU inside: petechial blood beside oedema, 'salt and pepper' (same)."""


@dataclass
class Contusion(Haematoma):
    """Blood on the brain's surface, broken up by oedematous brain; the oedema takes grey matter, too."""

    patches: Field

    def score(self, tissue: Tissue) -> Floats:
        """Mm inside a surface that patches of less injured brain cut into."""
        depth: Floats = (
            self.blob.depth(tissue.template, 1e3) + f32(1.8) * self.patches.at(tissue.template - self.centre)[0]
        )
        return depth

    def room(self, tissue: Tissue) -> Floats:
        """The brain up to the bone."""
        room: Floats = edge(-tissue.wall_mm - 0.8) * (1 - tissue.ventricle) * (1 - 0.6 * tissue.fluid)
        return room

    def oedema(self, tissue: Tissue, score: Floats) -> Floats:
        """Cytotoxic oedema around the blood."""
        if self.halo_mm < 0.5:
            return np.zeros_like(score)
        return ramp(score + self.halo_mm, 0, 0.7 * self.halo_mm) * np.clip(tissue.white + 0.7 * tissue.grey, 0, 1)


def draw_contusion(rng: np.random.Generator, template: HeadTemplate, size: PartSize, side: float) -> Part:
    """Draw a contusion of a size on one side (-1 left, 1 right)."""
    shares = np.array([share for share, _, _ in SITES])
    _, start, towards = SITES[int(rng.choice(len(SITES), p=shares / shares.sum()))]
    mirror = f32((side, 1, 1))
    jitter = rng.normal(0, 6, 3)
    inside = f32(start) * mirror
    beyond = (f32(towards) + f32(jitter)) * mirror
    depth = float(rng.uniform(*DEPTH_MM)) + 1.2 * size.ml ** (1 / 3)
    spot = surface_spot(template, _mm(inside), _mm(beyond), depth)
    return contusion_at(rng, _mm(spot), size)


def contusion_at(rng: np.random.Generator, centre: Mm, size: PartSize) -> Part:
    """Draw a contusion of a size around a point at the brain's surface."""
    blob = make_blob(
        rng,
        centre,
        1.3 * size.ml,
        rough=float(rng.uniform(0.2, 0.32)),
        mass=float(rng.uniform(0.1, 0.35)),
        lobes=int(rng.integers(1, 5)) if size.ml > 0.3 else 0,
    )
    patches = noise(rng, 5.0, *BOX)
    texture = Texture(noise(rng, 7.0, *BOX, channels=2), patchy_hu=float(rng.uniform(*PATCHY_HU)))
    oedema = float(rng.uniform(*OEDEMA_MM)) * min(1.0, 0.35 + 0.3 * size.ml ** (1 / 3))
    return Part(
        "intraparenchymal", size, Contusion(blob, oedema, patches), texture, 1.2, float(rng.uniform(*OEDEMA_HU))
    )


def _mm(point: Floats) -> Mm:
    return float(point[0]), float(point[1]), float(point[2])
