"""Bright structures on head CT that are no bleed: calcium, dense dura, sinuses and arteries, bone in partial volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.fields import Floats, Mm, edge, f32, norm, ramp
from ctseg.phantom.landmarks import falx_region, surface_spot, tentorium_height
from ctseg.phantom.template import HeadTemplate

SINUS_HU = (46.0, 74.0)
"""Venous sinuses: about the haematocrit in percent plus 12 HU; 46 to 65 in adults, above 70 in haemoconcentration
(Black et al., AJNR 2011; Besachio et al., Neuroradiology 2012)."""
ARTERY_BELOW_HU = 10.0
"""Arteries measure less than sinuses by partial volume of their small calibre."""
DURA_HU = (42.0, 62.0)
"""Falx and tentorium; dense with age and calcium (Zimmerman et al., AJNR 1982: a normal falx mimics blood)."""
ROOF_SHARE = 0.8
"""Patients whose orbital roofs carry ridges (juga cerebralia) into the frontal base."""
ROOF_HU = (150.0, 500.0)
"""Thin bone of the roof at the resolution of the samples; slices average it to 40-150 HU."""


@dataclass
class Calcification:
    """A small ellipsoid of calcium, an ossified plaque of the falx, a ridge of the orbital roof."""

    centre: Mm
    radii: Mm
    hu: float
    fixed: bool = False
    """Whether it belongs to the skull, which mass effect does not move."""

    def cover(self, tissue: Tissue) -> Floats | None:
        """Coverage of each voxel; None where nothing is near."""
        points = tissue.template if self.fixed else tissue.moved
        away = np.abs(points[..., 2] - f32(self.centre[2]))
        if float(away.min()) > self.radii[2] * (1 + 0.6 / min(self.radii)) + 0.01:  # the edge is 1.2 mm wide
            return None
        local = norm((points - f32(self.centre)) / f32(self.radii))
        return edge((1 - local) * f32(min(self.radii)), 1.2)


@dataclass(frozen=True)
class Distractors:
    """Those of one patient."""

    calcifications: tuple[Calcification, ...]
    sinus_hu: float
    dura_hu: float

    def paint(self, hu: Floats, tissue: Tissue) -> None:
        """Paint dura, sinuses and arteries into the cavity's HU, in place."""
        for cover, value in (
            (_dura(tissue), self.dura_hu),
            (_sinuses(tissue), self.sinus_hu),
            (_arteries(tissue), self.sinus_hu - ARTERY_BELOW_HU),
        ):
            hu += cover * f32(value) - cover * hu

    def paint_calcium(self, hu: Floats, tissue: Tissue) -> None:
        """Paint calcium and bone ridges, in place."""
        for calcification in self.calcifications:
            cover = calcification.cover(tissue)
            if cover is not None:
                hu += cover * (f32(calcification.hu) - hu)


def draw_distractors(rng: np.random.Generator, template: HeadTemplate, age: float) -> Distractors:
    """Draw a patient's distractors; calcium and dense dura grow with age."""
    sinus = float(np.clip(rng.normal(56, 5.5), *SINUS_HU))
    dura = float(np.clip(rng.normal(46 + 6 * age, 4), *DURA_HU))
    return Distractors((*_calcium(rng, age), *_roof_ridges(rng, template)), sinus, dura)


def _calcium(rng: np.random.Generator, age: float) -> list[Calcification]:
    """Physiologic calcium, more with age.

    Pineal in two thirds of adults, choroid plexus in over half, falx in 10-20 %, basal ganglia in 1-15 %
    (Daghighi et al., Eur Radiol 2007; Yalcin et al., 2016).
    """
    found = []
    more = 0.6 + 0.8 * age
    if rng.random() < 0.62 * more:
        r = float(rng.uniform(1.5, 3.5))
        found.append(
            Calcification((float(rng.normal(0, 0.7)), -30.0, 0.5), (r, r * 1.2, r), float(rng.uniform(120, 420)))
        )
    for side in (-1.0, 1.0):
        if rng.random() < 0.62 * more:
            r = float(rng.uniform(1.5, 3.5))
            x, y, z = side * 24.5 + rng.normal(0, 1), -42.0 + rng.normal(0, 1.5), 7.0 + rng.normal(0, 2)
            found.append(
                Calcification((float(x), float(y), float(z)), (r, r * 1.5, r * 1.2), float(rng.uniform(100, 380)))
            )
    if rng.random() < 0.16 * more:
        hu = float(rng.uniform(50, 140))
        for side in (-1.0, 1.0):
            r = float(rng.uniform(2.5, 5.0))
            found.append(Calcification((side * 19.0, -4.0, 0.0), (r, r * 1.6, r), hu))
            found.append(Calcification((side * 13.0, 12.0, 8.0), (r * 0.6, r, r), 0.8 * hu))
    if rng.random() < 0.22 * more:
        y, z = float(rng.uniform(-20, 50)), float(rng.uniform(48, 62))
        found.append(Calcification((0.0, y, z), (1.6, float(rng.uniform(6, 15)), float(rng.uniform(3, 6))), 520.0))
    return found


def _roof_ridges(rng: np.random.Generator, template: HeadTemplate) -> list[Calcification]:
    """Crests of the orbital roofs, flat and thin, so that an axial slice cuts them in part."""
    if rng.random() > ROOF_SHARE:
        return []
    ridges = []
    for side in (-1.0, 1.0):
        for _ in range(int(rng.integers(1, 4))):
            x, y = side * float(rng.uniform(14, 36)), float(rng.uniform(26, 52))
            floor = surface_spot(template, (x, y, 10.0), (x, y, -60.0), float(rng.uniform(0.0, 2.0)))
            radii = (float(rng.uniform(3, 9)), float(rng.uniform(3, 9)), float(rng.uniform(0.8, 2.2)))
            spot = (float(floor[0]), float(floor[1]), float(floor[2]))
            ridges.append(Calcification(spot, radii, float(rng.uniform(*ROOF_HU)), fixed=True))
    return ridges


def _dura(tissue: Tissue) -> Floats:
    """Falx between the hemispheres, tentorium above the cerebellum."""
    middle = edge(0.6 - np.abs(tissue.moved[..., 0]), 1.0) * falx_region(tissue.moved)
    x, y, z = (tissue.template[..., d] for d in range(3))
    if float(z.max()) < -40 or float(z.min()) > 12:
        return middle
    tent = edge(0.5 - np.abs(z - tentorium_height(tissue.template)), 1.0)
    tent = tent * ramp(y, -30, -38) * ramp(np.abs(x) + 0.7 * np.maximum(-50 - y, 0), 10, 18)
    blood: Floats = np.maximum(middle, tent)
    return blood


def _sinuses(tissue: Tissue) -> Floats:
    """Superior sagittal sinus along the midline of the vault, transverse sinuses along the occiput."""
    x, y, z = (tissue.template[..., d] for d in range(3))
    depth = -tissue.wall_mm
    sagittal = edge(4.5 - np.abs(x) - 0.65 * depth, 1.2) * ramp(z - 0.35 * y, 5, 30)
    transverse = edge(4.0 - norm(np.stack([depth - 2.5, z + 14 + 0.08 * np.abs(x)], axis=-1)), 1.2) * ramp(y, -52, -62)
    blood: Floats = np.maximum(sagittal, transverse) * edge(depth)
    return blood


def _arteries(tissue: Tissue) -> Floats:
    """Basilar, internal carotid and middle cerebral arteries in the basal cisterns."""
    cover = np.zeros_like(tissue.fluid)
    low, high = float(tissue.moved[..., 2].min()), float(tissue.moved[..., 2].max())
    for start, end, radius in _VESSELS:
        if low > max(start[2], end[2]) + radius + 1 or high < min(start[2], end[2]) - radius - 1:
            continue  # its cover is 0 in all of this slab
        a, axis = f32(start), f32(end) - f32(start)
        along = np.clip(((tissue.moved - a) @ axis) / f32(axis @ axis), 0, 1)
        cover = np.maximum(cover, edge(f32(radius) - norm(tissue.moved - a - along[..., None] * axis), 1.2))
    return cover * np.clip(tissue.fluid * 1.5, 0, 1)


_VESSELS = [
    ((0.0, -17.0, -48.0), (0.0, -11.0, -20.0), 1.9),
    *(((side * 9.0, 2.0, -26.0), (side * 11.0, 2.0, -16.0), 2.0) for side in (-1, 1)),
    *(((side * 11.0, 2.0, -16.0), (side * 38.0, 6.0, -14.0), 1.4) for side in (-1, 1)),
]
