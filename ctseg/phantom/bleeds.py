"""Blood outside the parenchyma and harmless brightness on CT: IVH, SAH, SDH, EDH, calcifications; all of a patient.

A finding says how much of a voxel it fills and which HU it has there; how often each occurs is the cohort's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctseg.phantom.anatomy import Subject, Tissue
from ctseg.phantom.fields import Field, Floats, Mm, edge, f32, noise, norm, ramp
from ctseg.phantom.haematoma import Haematoma, draw_haematoma

IVH_HU = (45.0, 70.0)
SAH_HU = (42.0, 65.0)
SDH_HU = (38.0, 68.0)
EDH_HU = (55.0, 75.0)
"""Blood diluted by fluid in ventricles and cisterns, subacute to acute subdural, acute epidural (Osborn's Brain)."""


@dataclass(frozen=True)
class Findings:
    """What a patient shows."""

    iph: int = 0
    ivh: bool = False
    sah: bool = False
    sdh: bool = False
    edh: bool = False

    @property
    def any(self) -> bool:
        """Whether there is any blood."""
        return bool(self.iph or self.ivh or self.sah or self.sdh or self.edh)


@dataclass
class Layer:
    """Coverage (D, H, W) of one finding and its HU."""

    cover: Floats
    hu: Floats | float


@dataclass
class Crescent:
    """Blood between skull and brain: a subdural crescent, or an epidural lens when short and thick."""

    centre: Floats
    spread_mm: float
    thickness_mm: float
    lens: bool
    hu: float
    texture: Field = field(repr=False)

    def thickness(self, points: Floats) -> Floats:
        """Mm of blood under the skull at each point."""
        away = norm((points - self.centre) * f32((1, 1, 1.15 if self.lens else 1.0))) / f32(self.spread_mm)
        profile = np.maximum(1 - away**2, 0) if self.lens else ramp(away, 1.0, 0.45)
        wobble = 1 + (0.08 if self.lens else 0.3) * self.texture.at(points)[0]
        same_side = ramp(points[..., 0] * np.sign(self.centre[0]), 3, 9)
        return (self.thickness_mm * profile * wobble * same_side).astype(np.float32)

    def cover(self, tissue: Tissue) -> Floats:
        """Coverage of each voxel."""
        thickness = self.thickness(tissue.template)
        return edge(thickness + tissue.wall_mm, 1.2) * edge(-tissue.wall_mm - 0.3) * (thickness > 0.4)

    def push(self, points: Floats, wall_mm: Floats) -> Floats:
        """The brain moves towards the middle of the head by the thickness, less the deeper it lies."""
        outward = points - f32((0, -18, 0))
        outward /= np.maximum(norm(outward), 1.0)[..., None]
        near = points - outward * np.minimum(wall_mm, 0)[..., None]
        return outward * (0.8 * self.thickness(near) * np.exp(np.minimum(wall_mm, 0) / 30))[..., None]


def draw_crescent(rng: np.random.Generator, lens: bool) -> Crescent:
    """Draw an SDH (over the convexity, 6-12 mm) or an EDH (temporoparietal lens, 9-16 mm); as in surgical series."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    spot = (62, -15, 8) if lens else (56, float(rng.uniform(-30, 15)), float(rng.uniform(12, 38)))
    centre = f32((side * spot[0], spot[1] + rng.normal(0, 10), spot[2] + rng.normal(0, 6)))
    spread = float(rng.uniform(14, 19) if lens else rng.uniform(48, 68))
    thickness = float(rng.uniform(9, 16) if lens else rng.uniform(6, 12))
    hu = float(rng.uniform(*(EDH_HU if lens else SDH_HU)))
    return Crescent(centre, spread, thickness, lens, hu, noise(rng, 26.0, (-110, -150, -115), (110, 120, 120)))


@dataclass
class CsfBlood:
    """Blood mixed with the fluid of ventricles (IVH) or of cisterns and sulci (SAH)."""

    where: str
    hu: float
    spots: list[tuple[Mm, float]]
    level_y: float
    texture: Field = field(repr=False)

    def cover(self, tissue: Tissue) -> Floats:
        """Coverage of each voxel: the fluid there times how bloody it is."""
        near = np.zeros_like(tissue.fluid)
        for centre, radius in self.spots:
            near = np.maximum(near, ramp(norm(tissue.moved - f32(centre)), radius, radius * 0.55))
        if self.where == "ventricles":
            settled = ramp(tissue.moved[..., 1], self.level_y + 2, self.level_y - 2) * (
                np.abs(tissue.moved[..., 0]) > 8
            )
            return tissue.ventricle * np.maximum(near, settled)
        patchy = ramp(self.texture.at(tissue.moved)[0], -0.9, 0.1)
        sulcal = np.clip(tissue.fluid * 1.6, 0, 1) * (1 - tissue.ventricle) * edge(-tissue.wall_mm - 0.5)
        return sulcal * near * patchy


def draw_ivh(rng: np.random.Generator, source: Haematoma | None) -> CsfBlood:
    """IVH: blood settles in the occipital horns of a supine patient and fills what lies next to a bleed."""
    spots: list[tuple[Mm, float]] = []
    if source is not None:
        x, y, z = (float(v) for v in source.blob.centre)
        spots.append(((x * 0.5, y, z), source.blob.radius_mm + float(rng.uniform(12, 26))))
    else:
        side = 1 if rng.random() < 0.5 else -1
        spots.append(((side * 14.0, float(rng.uniform(-30, 10)), 16.0), float(rng.uniform(18, 32))))
    if rng.random() < 0.5:
        spots.append(((0.0, -14.0, 0.0), 16.0))
    if rng.random() < 0.35:
        spots.append(((0.0, -46.0, -34.0), 14.0))
    level = float(rng.uniform(-52, -38))
    return CsfBlood(
        "ventricles", float(rng.uniform(*IVH_HU)), spots, level, noise(rng, 14.0, (-90, -120, -80), (90, 90, 100))
    )


def draw_sah(rng: np.random.Generator) -> CsfBlood:
    """SAH: aneurysmal pattern in the basal cisterns and a Sylvian fissure, or a convexity pattern in a few sulci."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    spots: list[tuple[Mm, float]]
    if rng.random() < 0.5:
        spots = [((0.0, -8.0, -22.0), float(rng.uniform(26, 36)))]
        spots += [
            ((way * 40.0, 6.0, -2.0), float(rng.uniform(24, 38))) for way in (side, -side)[: int(rng.integers(1, 3))]
        ]
    else:
        centre = (side * float(rng.uniform(20, 52)), float(rng.uniform(-60, 40)), float(rng.uniform(15, 52)))
        spots = [(centre, float(rng.uniform(30, 46)))]
    return CsfBlood(
        "sulci", float(rng.uniform(*SAH_HU)), spots, -99.0, noise(rng, 14.0, (-90, -120, -80), (90, 90, 100))
    )


@dataclass
class Calcification:
    """A small ellipsoid of calcium, or an ossified plaque of the falx."""

    centre: Mm
    radii: Mm
    hu: float

    def cover(self, tissue: Tissue) -> Floats:
        """Coverage of each voxel."""
        local = norm((tissue.moved - f32(self.centre)) / f32(self.radii))
        return edge((1 - local) * f32(min(self.radii)), 1.2)


def draw_calcifications(rng: np.random.Generator, age: float) -> list[Calcification]:
    """Draw physiologic calcium, more with age.

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
            spot = (
                side * 24.5 + float(rng.normal(0, 1)),
                -42.0 + float(rng.normal(0, 1.5)),
                7.0 + float(rng.normal(0, 2)),
            )
            found.append(Calcification(spot, (r, r * 1.5, r * 1.2), float(rng.uniform(100, 380))))
    if rng.random() < 0.16 * more:
        for side in (-1.0, 1.0):
            r = float(rng.uniform(2.5, 5.0))
            found.append(Calcification((side * 19.0, -4.0, 0.0), (r, r * 1.6, r), float(rng.uniform(55, 140))))
    if rng.random() < 0.22 * more:
        y = float(rng.uniform(-20, 50))
        found.append(
            Calcification(
                (0.0, y, float(rng.uniform(48, 62))), (1.6, float(rng.uniform(6, 15)), float(rng.uniform(3, 6))), 520.0
            )
        )
    return found


@dataclass
class Pathology:
    """All that one CT patient has, ready to be painted."""

    findings: Findings
    haematomas: list[Haematoma]
    fluids: dict[str, CsfBlood]
    crescents: dict[str, Crescent]
    calcifications: list[Calcification]

    def settle(self, subject: Subject) -> None:
        """Let everything with mass effect displace the patient's brain."""
        subject.add_lesions([*self.crescents.values(), *self.haematomas])


def draw_pathology(rng: np.random.Generator, findings: Findings, age: float, median_ml: float) -> Pathology:
    """Draw the lesions of a patient with these findings."""
    haematomas = [draw_haematoma(rng, median_ml / (1 + 0.8 * n)) for n in range(findings.iph)]
    fluids = {}
    if findings.ivh:
        fluids["intraventricular"] = draw_ivh(rng, haematomas[0] if haematomas else None)
    if findings.sah:
        fluids["subarachnoid"] = draw_sah(rng)
    crescents = {
        name: draw_crescent(rng, name == "epidural")
        for name, has in (("subdural", findings.sdh), ("epidural", findings.edh))
        if has
    }
    return Pathology(findings, haematomas, fluids, crescents, draw_calcifications(rng, age))
