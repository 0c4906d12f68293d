"""HU of every tissue of a head, and which finding fills how much of each voxel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctseg.phantom.anatomy import Subject, Tissue
from ctseg.phantom.bleeds import Pathology
from ctseg.phantom.fields import Field, Floats, edge, f32, noise, norm, ramp
from ctseg.phantom.haematoma import OEDEMA_HU
from ctseg.phantom.skull import CANCELLOUS, CORTICAL

GREY_HU, WHITE_HU, CSF_HU = 37.0, 28.5, 6.0
"""Normal adult means: grey 34-41, white 25-32, fluid 0-12 HU (Arimitsu et al., 1977; Torbey et al., Stroke 2000)."""
TISSUE_SD_HU = 0.8
"""Between patients: haematocrit and scanner calibration (Torbey et al., Stroke 2000)."""
LEUKOARAIOSIS_HU = -8.0
"""White matter disease against normal white matter (van Swieten et al., JNNP 1990, reads it on CT from 4-8 HU)."""
DURA_HU, SINUS_HU, ARTERY_HU = 48.0, 54.0, 44.0
"""Falx and dura; venous sinus 50-60 HU and arteries 40-50 HU at normal haematocrit (Black et al., AJNR 2011)."""
DURA_MM = 1.0
"""The truth of the intracranial space begins inside the dura, 0.5-1 mm thick (Fam et al., World Neurosurg 2018)."""
TABLE_MM = 1.7
"""Thickness of the inner and outer table (Lynnerup 2005: 1.2-2 mm)."""
PARENCHYMAL_TEXTURE_HU = 0.7
"""Slow variation of parenchymal attenuation."""


@dataclass
class HeadCt:
    """A patient ready for the scanner."""

    subject: Subject
    pathology: Pathology
    grey_hu: float
    white_hu: float
    csf_hu: float
    texture: Field = field(repr=False)

    def slab(self, points: Floats) -> tuple[Floats, dict[str, Floats]]:
        """HU at patient points (D, H, W) and the coverage of each finding there, intracranial space included."""
        tissue = self.subject.tissue(points)
        texture = self.texture.at(tissue.moved)
        inside, covers = self._brain(tissue, texture)
        covers["brain"] = edge(-tissue.wall_mm - DURA_MM)
        return self._with_skull(tissue, inside, texture[1]), covers

    def _brain(self, tissue: Tissue, texture: Floats) -> tuple[Floats, dict[str, Floats]]:
        """HU inside the cavity."""
        hu = self.grey_hu * tissue.grey + self.white_hu * tissue.white + self.csf_hu * tissue.fluid
        sick = np.clip(self.subject.traits.leukoaraiosis * (1 + 0.35 * texture[0]), 0, 1)
        hu += LEUKOARAIOSIS_HU * ramp(tissue.periventricular + 0.8 * (sick - 1), 0, 0.5) * tissue.white * (sick > 0)
        hu += PARENCHYMAL_TEXTURE_HU * texture[0]
        _paint(hu, _dura(tissue), DURA_HU)
        _paint(hu, _sinuses(tissue), SINUS_HU)
        _paint(hu, _arteries(tissue), ARTERY_HU)
        covers = self._bleeds(hu, tissue)
        for calcification in self.pathology.calcifications:
            _paint(hu, calcification.cover(tissue), calcification.hu)
        return hu, covers

    def _bleeds(self, hu: Floats, tissue: Tissue) -> dict[str, Floats]:
        """Paint every bleed onto `hu`; coverage by name."""
        covers: dict[str, Floats] = {}
        clots = np.zeros_like(hu)
        for haematoma in self.pathology.haematomas:
            depth = haematoma.blob.depth(tissue.template, haematoma.halo_mm + 5)
            if float(depth.max()) < -2 * haematoma.halo_mm - 5:
                continue
            clot = haematoma.clot(tissue, depth)
            hu += OEDEMA_HU * haematoma.halo(tissue, depth) * (1 - clot)
            _paint(hu, clot, haematoma.clot_hu(tissue.template))
            clots = np.maximum(clots, clot)
        covers["intraparenchymal"] = clots
        for name, fluid in self.pathology.fluids.items():
            covers[name] = fluid.cover(tissue) * (1 - clots)
            _paint(hu, covers[name], fluid.hu)
        for name, crescent in self.pathology.crescents.items():
            covers[name] = crescent.cover(tissue)
            _paint(hu, covers[name], f32(crescent.hu) + 3 * crescent.texture.at(tissue.template)[0])
            covers["intraparenchymal"] = covers["intraparenchymal"] * (1 - covers[name])
        return covers

    def _with_skull(self, tissue: Tissue, inside: Floats, rough: Floats) -> Floats:
        """Lay skull, scalp and air around the brain."""
        hu = inside
        wall, shell = tissue.wall_mm, tissue.shell_mm * (1 + 0.06 * rough)
        deep = np.minimum(wall, shell - wall)
        bone = CORTICAL + edge(deep - TABLE_MM) * (CANCELLOUS + 130 * rough - CORTICAL)
        _paint(hu, edge(wall), bone)
        _paint(hu, edge(wall - shell), tissue.outside_hu)
        return hu


def make_head(rng: np.random.Generator, subject: Subject, pathology: Pathology) -> HeadCt:
    """Draw a patient's tissue HU."""
    grey, white, csf = (
        np.array([GREY_HU, WHITE_HU, CSF_HU]) + rng.normal(0, TISSUE_SD_HU, 3) + rng.normal(0, TISSUE_SD_HU)
    ).tolist()
    texture = noise(rng, 9.0, (-110, -150, -115), (110, 120, 120), channels=2)
    return HeadCt(subject, pathology, grey, white, csf, texture)


def _paint(hu: Floats, cover: Floats, value: Floats | float) -> None:
    """Replace a share `cover` of every voxel, in place."""
    hu += cover * (value - hu)


def _dura(tissue: Tissue) -> Floats:
    """Falx between the hemispheres, above the corpus callosum and behind."""
    x, y, z = (tissue.moved[..., d] for d in range(3))
    middle = edge(0.6 - np.abs(x), 1.0)
    away = np.sqrt((y + 18) ** 2 + (1.25 * (z - 2)) ** 2)
    return middle * ramp(away, 44, 52) * ramp(z, -12, -2)


def _sinuses(tissue: Tissue) -> Floats:
    """Superior sagittal sinus along the midline of the vault, transverse sinuses along the occiput."""
    x, y, z = (tissue.template[..., d] for d in range(3))
    depth = -tissue.wall_mm
    sagittal = edge(4.5 - np.abs(x) - 0.65 * depth, 1.2) * ramp(z - 0.35 * y, 5, 30)
    transverse = edge(4.0 - norm(np.stack([depth - 2.5, z + 14 + 0.08 * np.abs(x)], axis=-1)), 1.2) * ramp(y, -52, -62)
    return np.maximum(sagittal, transverse) * edge(depth)


def _arteries(tissue: Tissue) -> Floats:
    """Basilar, internal carotid and middle cerebral arteries in the basal cisterns."""
    cover = np.zeros_like(tissue.fluid)
    if float(np.abs(tissue.moved[..., 2] + 24).min()) > 30:
        return cover
    for start, end, radius in _VESSELS:
        a, axis = f32(start), f32(end) - f32(start)
        along = np.clip(((tissue.moved - a) @ axis) / f32(axis @ axis), 0, 1)
        cover = np.maximum(cover, edge(f32(radius) - norm(tissue.moved - a - along[..., None] * axis), 1.2))
    return cover * np.clip(tissue.fluid * 1.5, 0, 1)


_VESSELS = [
    ((0.0, -17.0, -48.0), (0.0, -11.0, -20.0), 1.9),
    *(((side * 9.0, 2.0, -26.0), (side * 11.0, 2.0, -16.0), 2.0) for side in (-1, 1)),
    *(((side * 11.0, 2.0, -16.0), (side * 38.0, 6.0, -14.0), 1.4) for side in (-1, 1)),
]
