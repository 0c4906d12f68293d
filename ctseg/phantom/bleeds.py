"""Blood and harmless brightness on CT: IPH, IVH, SAH, SDH, EDH, calcifications.

Every finding says how much of a voxel it fills and which HU it has there; how often each occurs is the cohort's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctseg.phantom.anatomy import Subject, Tissue
from ctseg.phantom.blobs import Blob, make_blob
from ctseg.phantom.fields import Field, Floats, Mm, edge, noise, norm, ramp

SITES: dict[str, tuple[float, list[Mm]]] = {
    "putamen": (0.36, [(28, 0, 0), (27, -4, 4)]),
    "thalamus": (0.17, [(14, -19, 7)]),
    "lobar": (0.34, [(30, 38, 22), (36, 8, 42), (40, -52, 32), (50, -22, -8), (26, -78, 12), (34, -28, 38)]),
    "cerebellum": (0.09, [(24, -64, -38)]),
    "pons": (0.04, [(2, -28, -34)]),
}
"""Site shares of spontaneous IPH (Qureshi et al., NEJM 2001; Flaherty et al., Neurology 2005) and template positions, right side."""

SMALL_SITES = {"pons": 6.0, "thalamus": 30.0, "cerebellum": 30.0}
"""Largest volume in mL that a small structure holds (reported maxima of surgical series)."""

IPH_HU = (55.0, 80.0)
"""Mean attenuation of fresh clot: 55-90 HU from a haematocrit of 40-45 % after clot retraction (New & Aronow, Radiology 1976)."""
CLOT_TEXTURE_HU = 4.0
"""Patchiness of fresh clot (density heterogeneity of growing bleeds; Barras et al., Stroke 2009)."""
OEDEMA_HU = -11.0
"""Perihaematomal oedema against white matter: 5-33 HU in total (Urday et al., Nat Rev Neurol 2015)."""
IVH_HU = (45.0, 70.0)
SAH_HU = (42.0, 65.0)
SDH_HU = (38.0, 68.0)
EDH_HU = (55.0, 75.0)
"""Blood diluted by fluid in the ventricles and cisterns, subacute to acute subdural, acute epidural (Osborn's Brain; Kucinski 2004)."""


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
        return np.float32(self.hu) + CLOT_TEXTURE_HU * self.texture.at(points - self.blob.centre)[0]


def draw_haematoma(rng: np.random.Generator, median_ml: float) -> Haematoma:
    """Draw an IPH: site by published shares, volume log-normal, larger ones with a wider halo."""
    names = list(SITES)
    shares = np.array([SITES[name][0] for name in names])
    site = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    spots = SITES[site][1]
    spot = np.array(spots[int(rng.integers(len(spots)))]) + rng.normal(0, [2, 4, 4] if site != "pons" else 1.0)
    side = 1.0 if rng.random() < 0.5 else -1.0
    volume = float(np.clip(median_ml * np.exp(rng.normal(0, 0.6)), 2.0, SMALL_SITES.get(site, 110.0)))
    blob = make_blob(
        rng,
        (float(spot[0] * side), float(spot[1]), float(spot[2])),
        volume,
        rough=float(rng.uniform(0.12, 0.24)),
        mass=float(rng.uniform(0.35, 0.65)),
        lobes=int(rng.integers(1, 5)),
        along_y=float(rng.uniform(1.2, 1.6)) if site == "putamen" else 1.0,
    )
    box = (-48.0, -48.0, -48.0), (48.0, 48.0, 48.0)
    halo = float(np.clip(rng.normal(5.0, 2.0) + 0.03 * volume, 2, 11))
    return Haematoma(blob, float(rng.uniform(*IPH_HU)), halo, noise(rng, 7.0, *box))


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
        """mm of blood under the skull at each point."""
        away = norm((points - self.centre) * np.float32((1, 1, 1.15 if self.lens else 1.0))) / np.float32(
            self.spread_mm
        )
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
        outward = points - np.float32((0, -18, 0))
        outward /= np.maximum(norm(outward), 1.0)[..., None]
        near = points - outward * np.minimum(wall_mm, 0)[..., None]
        return outward * (0.8 * self.thickness(near) * np.exp(np.minimum(wall_mm, 0) / 30))[..., None]


def draw_crescent(rng: np.random.Generator, lens: bool) -> Crescent:
    """Draw an SDH (spread over the convexity, 5-12 mm) or an EDH (temporoparietal lens, 8-18 mm); thickness as in surgical series."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    spot = (62, -15, 8) if lens else (56, float(rng.uniform(-30, 15)), float(rng.uniform(12, 38)))
    centre = np.float32((side * spot[0], spot[1] + rng.normal(0, 10), spot[2] + rng.normal(0, 6)))
    spread = float(rng.uniform(16, 22) if lens else rng.uniform(48, 68))
    thickness = float(rng.uniform(8, 14) if lens else rng.uniform(4.5, 10))
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
            near = np.maximum(near, ramp(norm(tissue.moved - np.float32(centre)), radius, radius * 0.55))
        if self.where == "ventricles":
            settled = ramp(tissue.moved[..., 1], self.level_y + 2, self.level_y - 2) * (
                np.abs(tissue.moved[..., 0]) > 8
            )
            return tissue.ventricle * np.maximum(near, settled)
        patchy = ramp(self.texture.at(tissue.moved)[0], -0.9, 0.1)
        sulcal = np.clip(tissue.fluid * 1.6, 0, 1) * (1 - tissue.ventricle) * edge(-tissue.wall_mm - 0.5)
        return sulcal * near * patchy


def draw_ivh(rng: np.random.Generator, source: Haematoma | None) -> CsfBlood:
    """IVH: blood settles in the occipital horns of a supine patient, and fills what lies next to the bleed that broke through."""
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
    if rng.random() < 0.5:
        spots: list[tuple[Mm, float]] = [
            ((0.0, -8.0, -22.0), float(rng.uniform(20, 30))),
            ((side * 40.0, 8.0, -6.0), float(rng.uniform(22, 32))),
        ]
    else:
        centre = (side * float(rng.uniform(20, 52)), float(rng.uniform(-60, 40)), float(rng.uniform(15, 52)))
        spots = [(centre, float(rng.uniform(24, 38)))]
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
        local = norm((tissue.moved - np.float32(self.centre)) / np.float32(self.radii))
        return edge((1 - local) * np.float32(min(self.radii)), 1.2)


def draw_calcifications(rng: np.random.Generator, age: float) -> list[Calcification]:
    """Physiologic calcium: pineal in two thirds of adults, choroid plexus in over half, falx in 10-20 %, basal ganglia in 1-10 %
    (Daghighi et al., Eur Radiol 2007; Yalcin et al., 2016), each more with age."""
    found = []
    more = 0.6 + 0.8 * age
    if rng.random() < 0.62 * more:
        r = float(rng.uniform(1.5, 3.5))
        found.append(
            Calcification((float(rng.normal(0, 0.7)), -30.0, 0.5), (r, r * 1.2, r), float(rng.uniform(120, 420)))
        )
    for side in (-1.0, 1.0):
        if rng.random() < 0.62 * more:
            r = float(rng.uniform(2.0, 4.5))
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
