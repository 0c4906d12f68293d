"""All bleeds of one patient: what a patient shows, how many parts of which size, which shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctseg.phantom.anatomy import Subject
from ctseg.phantom.bhsd import BHSD
from ctseg.phantom.bleed_statistics import PartSize, Turn, draw_parts
from ctseg.phantom.contusion import draw_contusion
from ctseg.phantom.csf_blood import FluidBlood, draw_ivh, draw_sah
from ctseg.phantom.distractors import Distractors, draw_distractors
from ctseg.phantom.extra_axial import MASS_ML, draw_epidural, draw_subdural
from ctseg.phantom.fields import Mm
from ctseg.phantom.haematoma import Haematoma, draw_haematoma
from ctseg.phantom.microbleed import SMALL_ML, draw_microbleed
from ctseg.phantom.parts import Part
from ctseg.phantom.template import HeadTemplate

CONTUSION_ML = 25.0
"""Largest contusion; a larger bleed after trauma is a haematoma (Alahmadi et al., J Neurotrauma 2010)."""
AXONAL_SHARE = 0.3
"""Small bleeds after trauma that are axonal injury and not a contusion (Gentry et al., AJR 1988)."""
BOTH_SIDES_SHARE = 0.35
"""Contusions on the other side of the head (contrecoup)."""
WIDENING_MM = 4.5
"""Ventricles widen with the blood in them, by this much from 30 mL on (Diringer et al., Stroke 1998)."""
KINDS = tuple(BHSD)

Sizes = dict[str, list[PartSize]]


@dataclass(frozen=True)
class Findings:
    """What a patient shows."""

    iph: bool = False
    ivh: bool = False
    sah: bool = False
    sdh: bool = False
    edh: bool = False
    trauma: bool = False
    """Contusions, axonal injury and convexity SAH instead of spontaneous bleeds."""
    severe: bool = False
    """Larger IPH with more parts, see `ctseg.phantom.bleed_statistics.SEVERE_SIZE`."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of bleed present, as keys of `BHSD`."""
        flags = (self.iph, self.ivh, self.sah, self.sdh, self.edh)
        return tuple(kind for kind, present in zip(KINDS, flags, strict=True) if present)

    @property
    def any(self) -> bool:
        """Whether there is any blood."""
        return bool(self.kinds)


@dataclass
class Pathology:
    """All that one CT patient has, ready to be scanned."""

    parts: list[Part]
    """In the order in which they take their place."""
    fluids: list[FluidBlood]
    distractors: Distractors

    def settle(self, subject: Subject) -> None:
        """Let everything with mass effect displace the patient's brain."""
        subject.add_lesions([part.shape for part in self.parts if part.size.ml >= MASS_ML])


def draw_sizes(findings: Findings, turns: dict[str, Turn], calibration: float) -> Sizes:
    """Draw mL and HU of every part of every kind that a patient shows.

    Args:
        findings: the kinds.
        turns: the patient's turn among those with each kind.
        calibration: offset of the scanner in SD.
    """
    return {kind: draw_parts(kind, turns[kind], calibration) for kind in findings.kinds}


def widening_mm(sizes: Sizes) -> float:
    """How much wider the ventricles are for the blood in them."""
    ml = sum(size.ml for size in sizes.get("intraventricular", []))
    widening: float = WIDENING_MM * min(ml / 30.0, 1.0) ** 0.5
    return widening


def draw_pathology(
    rng: np.random.Generator, template: HeadTemplate, findings: Findings, sizes: Sizes, age: float
) -> Pathology:
    """Draw shape and place of every part, and the distractors."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    parts = [draw_epidural(rng, template, size, side) for size in sizes.get("epidural", [])]
    for n, size in enumerate(sizes.get("subdural", [])):
        opposite = bool(n) and rng.random() < BOTH_SIDES_SHARE
        parts.append(draw_subdural(rng, template, size, -side if opposite else side))
    iph = _intraparenchymal(rng, template, sizes.get("intraparenchymal", []), findings.trauma, side)
    fluids = []
    if findings.ivh:
        fluids.append(draw_ivh(rng, sizes["intraventricular"], _centre(iph[0]) if iph else None))
    if findings.sah:
        fluids.append(draw_sah(rng, sizes["subarachnoid"], findings.trauma))
    return Pathology(parts + iph, fluids, draw_distractors(rng, template, age))


def _intraparenchymal(
    rng: np.random.Generator, template: HeadTemplate, sizes: list[PartSize], trauma: bool, side: float
) -> list[Part]:
    """The largest part first; small ones are microbleeds, after trauma mostly contusions."""
    parts: list[Part] = []
    for size in sizes:
        small = size.ml < SMALL_ML
        if trauma and _is_contusion(rng, size.ml, small):
            other = bool(parts) and rng.random() < BOTH_SIDES_SHARE
            parts.append(draw_contusion(rng, template, size, -side if other else side))
        elif small:
            near = (_centre(parts[0]), _radius_mm(parts[0])) if parts and not trauma else None
            parts.append(draw_microbleed(rng, size, trauma=trauma, near=near))
        else:
            parts.append(draw_haematoma(rng, size))
    return parts


def _is_contusion(rng: np.random.Generator, ml: float, small: bool) -> bool:
    """Whether a bleed after trauma is a contusion: a small one may be axonal injury instead."""
    return ml <= CONTUSION_ML and not (small and rng.random() < AXONAL_SHARE)


def _centre(part: Part) -> Mm:
    x, y, z = (float(value) for value in part.shape.centre)
    return x, y, z


def _radius_mm(part: Part) -> float:
    return part.shape.blob.radius_mm if isinstance(part.shape, Haematoma) else 5.0
