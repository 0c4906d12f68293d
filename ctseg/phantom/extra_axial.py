"""Blood between skull and brain and along the dura: subdural over the convexity, on falx and tentorium; epidural."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.fields import Field, Floats, Mm, edge, f32, noise, norm, ramp
from ctseg.phantom.haematoma import BOX
from ctseg.phantom.landmarks import falx_region, surface_spot, tentorium_height
from ctseg.phantom.parts import Part, Texture
from ctseg.phantom.template import HeadTemplate

PLACES = (("convexity", 0.64), ("falx", 0.20), ("tentorium", 0.16))
"""Where subdural blood lies: over the convexity mostly, along falx and tentorium in a third of acute ones
(Osborn's Brain; Ho et al., AJNR 1977)."""
FALX_ML, TENTORIUM_ML = 12.0, 8.0
"""Most that these places hold before the blood spreads over the convexity."""
MIXED_SHARE, MIXED_HU = 0.35, (8.0, 20.0)
"""Subdurals with unclotted or older blood inside, and its contrast (Reed et al., AJR 1986: mixed in 32 %)."""
MASS_ML = 2.0
"""Smallest crescent that moves the brain."""


@dataclass
class Crescent:
    """Blood under the skull: a subdural crescent, or an epidural lens when short and thick."""

    centre: Floats
    spread_mm: float
    thickness_mm: float
    lens: bool
    texture: Field = field(repr=False)

    @property
    def reach_mm(self) -> float:
        """No blood lies further from the centre."""
        return 1.5 * self.spread_mm + 12.0

    def thickness(self, points: Floats) -> Floats:
        """Mm of blood under the skull at each point, negative beyond its rim."""
        away = norm((points - self.centre) * f32((1, 1, 1.15 if self.lens else 1.0))) / f32(self.spread_mm)
        profile = 1 - away ** (2 if self.lens else 4)
        wobble = 1 + (0.08 if self.lens else 0.3) * self.texture.at(points - self.centre)[0]
        depth: Floats = (self.thickness_mm * np.maximum(profile, -2.0) * wobble).astype(np.float32)
        return depth

    def score(self, tissue: Tissue) -> Floats:
        """Mm inside the blood."""
        return self.thickness(tissue.template) + tissue.wall_mm

    def room(self, tissue: Tissue) -> Floats:
        """Under the bone, on its side of the falx."""
        side = f32(np.sign(self.centre[0]) or 1.0)
        return edge(-tissue.wall_mm - 0.3) * ramp(tissue.template[..., 0] * side, 3, 9)

    def oedema(self, _tissue: Tissue, score: Floats) -> Floats:
        """None: the blood lies outside the brain."""
        return np.zeros_like(score)

    def push(self, points: Floats, wall_mm: Floats) -> Floats:
        """The brain moves towards the middle of the head by the thickness, less the deeper it lies."""
        outward = points - f32((0, -18, 0))
        outward /= np.maximum(norm(outward), 1.0)[..., None]
        near = points - outward * np.minimum(wall_mm, 0)[..., None]
        same_side = ramp(points[..., 0] * np.sign(self.centre[0]), 3, 9)
        thick = np.maximum(self.thickness(near), 0) * same_side
        return outward * (0.8 * thick * np.exp(np.minimum(wall_mm, 0) / 30))[..., None]


@dataclass
class DuralSheet:
    """Subdural blood along the falx or on the tentorium."""

    centre: Floats
    spread_mm: float
    thickness_mm: float
    falx: bool

    @property
    def reach_mm(self) -> float:
        """No blood lies further from the centre."""
        return 1.5 * self.spread_mm + 8.0

    def _above(self, tissue: Tissue) -> Floats:
        """Mm beside the falx or above the tentorium, on the blood's side."""
        side = f32(np.sign(self.centre[0]) or 1.0)
        if self.falx:
            return tissue.template[..., 0] * side
        return tissue.template[..., 2] - tentorium_height(tissue.template)

    def score(self, tissue: Tissue) -> Floats:
        """Mm inside the blood."""
        away = norm(tissue.template - self.centre) / f32(self.spread_mm)
        score: Floats = self.thickness_mm * np.maximum(1 - away**4, -2.0) - self._above(tissue)
        return score

    def room(self, tissue: Tissue) -> Floats:
        """Beside the dura, inside the skull, where the dura is."""
        side = f32(np.sign(self.centre[0]) or 1.0)
        room = edge(self._above(tissue) - 0.4, 0.8) * edge(-tissue.wall_mm - 0.8)
        if self.falx:
            return room * falx_region(tissue.template)
        x, y = tissue.template[..., 0] * side, tissue.template[..., 1]
        return room * ramp(x, 5, 10) * ramp(y, -28, -36)

    def oedema(self, _tissue: Tissue, score: Floats) -> Floats:
        """None: the blood lies outside the brain."""
        return np.zeros_like(score)

    def push(self, points: Floats, _wall_mm: Floats) -> Floats:
        """Thin blood moves nothing."""
        return np.zeros_like(points)


def draw_subdural(rng: np.random.Generator, template: HeadTemplate, size: PartSize, side: float) -> Part:
    """Draw one part of a subdural haemorrhage; large ones lie over the convexity."""
    limits = {"convexity": np.inf, "falx": FALX_ML, "tentorium": TENTORIUM_ML}
    places = [(name, share) for name, share in PLACES if size.ml <= limits[name]]
    shares = np.array([share for _, share in places])
    place = places[int(rng.choice(len(places), p=shares / shares.sum()))][0]
    texture = _texture(rng, size.ml)
    if place == "convexity":
        spot = (side * 56, float(rng.uniform(-60, 40)), float(rng.uniform(0, 44)))
        return Part("subdural", size, _crescent(rng, template, size, spot, lens=False), texture, soft_mm=1.2)
    thickness = min(1.6 + 1.2 * size.ml**0.4, 5.0)
    if place == "falx":
        y, z = ((-70.0, 30.0), (40.0, 30.0), (-20.0, 62.0), (-50.0, 52.0))[int(rng.integers(4))]
        centre = f32((side * 1.5, y + rng.normal(0, 6), z + rng.normal(0, 6)))
    else:
        centre = f32((side * rng.uniform(14, 42), rng.uniform(-80, -48), 0.0))
        centre[2] = tentorium_height(centre[None])[0] + 1.0
    spread = _spread(size.ml, thickness, 45.0)
    return Part("subdural", size, DuralSheet(centre, spread, thickness, place == "falx"), texture, soft_mm=1.0)


def draw_epidural(rng: np.random.Generator, template: HeadTemplate, size: PartSize, side: float) -> Part:
    """Draw an epidural lens, temporoparietal as in most patients (Osborn's Brain: 66 to 95 %)."""
    spot = (side * 62, -15 + float(rng.normal(0, 16)), 8 + float(rng.normal(0, 12)))
    shape = _crescent(rng, template, size, spot, lens=True)
    return Part("epidural", size, shape, Texture(noise(rng, 9.0, *BOX, channels=2), 4.0), soft_mm=1.2)


def _crescent(rng: np.random.Generator, template: HeadTemplate, size: PartSize, spot: Mm, lens: bool) -> Crescent:
    centre = surface_spot(template, (spot[0] * 0.3, spot[1] * 0.7, spot[2] * 0.7), spot, 1.0)
    thickness = min(3.0 + 3.2 * size.ml**0.45, 24.0) if lens else min(2.4 + 1.3 * size.ml**0.45, 13.0)
    thickness *= float(rng.uniform(0.8, 1.2))
    return Crescent(centre, _spread(size.ml, thickness, 80.0), thickness, lens, noise(rng, 26.0, *_WIDE))


_WIDE = (-90.0, -90.0, -90.0), (90.0, 90.0, 90.0)


def _spread(ml: float, thickness_mm: float, most_mm: float) -> float:
    """Radius of a sheet that holds `ml` at two thirds of its middle's thickness."""
    return float(np.clip(np.sqrt(ml * 1000 / (np.pi * 0.66 * thickness_mm)), 3.0, most_mm))


def _texture(rng: np.random.Generator, ml: float) -> Texture:
    mixed = rng.random() < MIXED_SHARE and ml > 3.0
    level = mixed and rng.random() < 0.4
    step = float(rng.uniform(*MIXED_HU))
    return Texture(
        noise(rng, 9.0, *BOX, channels=2),
        patchy_hu=3.0,
        swirl_hu=step if mixed and not level else 0.0,
        level_hu=step if level else 0.0,
        level_mm=float(rng.uniform(-8, 8)),
    )
