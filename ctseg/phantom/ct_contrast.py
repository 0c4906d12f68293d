"""HU of every tissue of a head, and where bleeds may lie in it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from ctseg.phantom.anatomy import Subject, Tissue
from ctseg.phantom.bleeds import Pathology
from ctseg.phantom.fields import Field, Floats, edge, f32, noise, norm, ramp
from ctseg.phantom.skull import CANCELLOUS, CORTICAL

WHITE_HU, CSF_HU = 29.5, 6.0
"""Means of adults: white 25-32, fluid 0-12 HU (Arimitsu et al., 1977; Torbey et al., Stroke 2000)."""
CONTRAST_HU, CONTRAST_SD_HU, CONTRAST_RANGE_HU = 6.5, 1.3, (4.0, 9.0)
"""Grey minus white matter (Arimitsu et al., 1977: 5-8 HU; Torbey et al., Stroke 2000; less at higher kV and in
thicker slices)."""
AGE_HU = 4.5
"""The brain of the oldest is this much darker than that of the youngest: water and myelin
(Cala et al., JCAT 1981)."""
TISSUE_SD_HU = 0.8
"""Between patients: haematocrit and water (Torbey et al., Stroke 2000)."""
CALIBRATION_SD_HU, CALIBRATION_MOST_HU = 2.5, 5.0
"""Between scanners: the HU of water is accepted within 5 HU (IEC 61223-3-5: 4; ACR CT accreditation: 5 to 7)."""
LEUKOARAIOSIS_HU = -8.0
"""White matter disease against normal white matter (van Swieten et al., JNNP 1990, reads it on CT from 4-8 HU)."""
DURA_MM = 1.0
"""The truth of the intracranial space begins inside the dura, 0.5-1 mm thick (Fam et al., World Neurosurg 2018)."""
TABLE_MM = 1.7
"""Thickness of the inner and outer table (Lynnerup 2005: 1.2-2 mm)."""
PARENCHYMAL_TEXTURE_HU = 0.7
"""Slow variation of parenchymal attenuation."""


@dataclass(frozen=True)
class BrainHu:
    """A patient's tissue on a patient's scanner."""

    grey: float
    white: float
    csf: float
    calibration: float
    """Offset of the scanner in SD."""

    def calibrated(self, hu: Floats) -> Floats:
        """HU (any shape) by a scanner whose attenuation of water is off: air stays, bone shifts most."""
        gain = f32(1 + self.calibration * CALIBRATION_SD_HU / 1000)
        scaled: Floats = (hu + f32(1000)) * gain - f32(1000)
        return scaled


@dataclass
class Slab:
    """A slice sampled at (S, h, w) points before blood is in it."""

    hu: Floats
    inside: Floats
    """HU of the cavity's content alone, without the skull."""
    brain: Floats
    """Coverage by the intracranial space."""
    bone: Floats
    """Coverage by skull and what lies around it."""
    rooms: dict[str, Floats]
    """Share that blood in ventricles and sulci may fill."""
    parts: list[tuple[int, slice, slice, Floats, Floats]]
    """Which part, rows, columns, score and room, of every part near the slice."""


@dataclass
class HeadCt:
    """A patient ready for the scanner."""

    subject: Subject
    pathology: Pathology
    brain: BrainHu
    texture: Field = field(repr=False)

    def slab(self, points: Floats) -> tuple[Slab, Tissue]:
        """Everything at patient points (S, h, w, 3)."""
        tissue = self.subject.tissue(points)
        texture = self.texture.at(tissue.moved)
        inside = self._brain(tissue, texture)
        self.pathology.distractors.paint(inside, tissue)
        parts = self._parts(inside, tissue)
        self.pathology.distractors.paint_calcium(inside, tissue)
        rooms = {}
        for fluid in self.pathology.fluids:
            rooms[fluid.kind] = tissue.ventricle if fluid.kind == "intraventricular" else _sulcal(tissue)
        hu = self._with_skull(tissue, inside.copy(), texture[1])
        return Slab(hu, inside, edge(-tissue.wall_mm - DURA_MM), edge(tissue.wall_mm), rooms, parts), tissue

    def _brain(self, tissue: Tissue, texture: Floats) -> Floats:
        """HU inside the cavity."""
        brain = self.brain
        hu: Floats = f32(brain.grey) * tissue.grey + f32(brain.white) * tissue.white + f32(brain.csf) * tissue.fluid
        sick = np.clip(self.subject.traits.leukoaraiosis * (1 + 0.35 * texture[0]), 0, 1)
        hu += LEUKOARAIOSIS_HU * ramp(tissue.periventricular + 0.8 * (sick - 1), 0, 0.5) * tissue.white * (sick > 0)
        hu += PARENCHYMAL_TEXTURE_HU * texture[0]
        return hu

    def _parts(self, inside: Floats, tissue: Tissue) -> list[tuple[int, slice, slice, Floats, Floats]]:
        """Samples of every part near the slice; its oedema goes onto `inside`."""
        found = []
        for number, part in enumerate(self.pathology.parts):
            box = _near(tissue.template, part.shape.centre, part.shape.reach_mm)
            if box is None:
                continue
            rows, columns = box
            here = _crop(tissue, rows, columns)
            score = part.shape.score(here)
            inside[:, rows, columns] += f32(part.oedema_hu) * part.shape.oedema(here, score)
            found.append((number, rows, columns, score, part.shape.room(here)))
        return found

    def _with_skull(self, tissue: Tissue, hu: Floats, rough: Floats) -> Floats:
        """Lay skull, scalp and air around the brain."""
        wall, shell = tissue.wall_mm, tissue.shell_mm * (1 + 0.06 * rough)
        deep = np.minimum(wall, shell - wall)
        bone = CORTICAL + edge(deep - TABLE_MM) * (CANCELLOUS + 130 * rough - CORTICAL)
        hu += edge(wall) * (bone - hu)
        hu += edge(wall - shell) * (tissue.outside_hu - hu)
        return hu


def draw_brain_hu(rng: np.random.Generator, age: float, calibration: float) -> BrainHu:
    """Draw a patient's tissue HU before calibration.

    Args:
        rng: the patient's own generator.
        age: 0 young .. 1 old.
        calibration: offset of the scanner in SD.
    """
    white = WHITE_HU + AGE_HU * (0.6 - age) + float(rng.normal(0, TISSUE_SD_HU))
    contrast = float(np.clip(rng.normal(CONTRAST_HU, CONTRAST_SD_HU), *CONTRAST_RANGE_HU))
    return BrainHu(white + contrast, white, CSF_HU + float(rng.normal(0, TISSUE_SD_HU)), calibration)


def draw_calibration(rng: np.random.Generator) -> float:
    """Draw the offset of a scanner in SD."""
    most = CALIBRATION_MOST_HU / CALIBRATION_SD_HU
    return float(np.clip(rng.normal(), -most, most))


def make_head(rng: np.random.Generator, subject: Subject, pathology: Pathology, calibration: float) -> HeadCt:
    """Draw what is left to draw of a patient."""
    brain = draw_brain_hu(rng, subject.traits.age, calibration)
    texture = noise(rng, 9.0, (-110, -150, -115), (110, 120, 120), channels=2)
    return HeadCt(subject, pathology, brain, texture)


def _sulcal(tissue: Tissue) -> Floats:
    """Share of sulci and cisterns."""
    room: Floats = np.clip(tissue.fluid * 1.6, 0, 1) * (1 - tissue.ventricle) * edge(-tissue.wall_mm - 0.5)
    return room


def _near(points: Floats, centre: Floats, reach_mm: float) -> tuple[slice, slice] | None:
    """Rows and columns of (S, h, w, 3) points that lie within reach of a centre, found on every fourth one."""
    close = norm(points[len(points) // 2, ::4, ::4] - centre) < f32(reach_mm + 6.0)
    if not close.any():
        return None
    rows, columns = (np.flatnonzero(close.any(axis=axis)) for axis in (1, 0))
    height, width = points.shape[1:3]
    return (
        slice(max(4 * int(rows[0]) - 4, 0), min(4 * int(rows[-1]) + 5, height)),
        slice(max(4 * int(columns[0]) - 4, 0), min(4 * int(columns[-1]) + 5, width)),
    )


def _crop(tissue: Tissue, rows: slice, columns: slice) -> Tissue:
    """The same tissue on some rows and columns."""
    return replace(tissue, **{item.name: getattr(tissue, item.name)[:, rows, columns] for item in fields(tissue)})
