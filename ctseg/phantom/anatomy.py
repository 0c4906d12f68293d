"""One patient's head: the template, turned, scaled and warped, with its own ventricles, sulci, skull and scalp."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ctseg.phantom.fields import Field, Floats, Mm, f32, grid_points, noise, ramp
from ctseg.phantom.template import HeadTemplate, head_template

BOX_LOW: Mm = (-128.0, -136.0, -132.0)
BOX_HIGH: Mm = (128.0, 136.0, 132.0)
COARSE_MM = 4.0
CENTRE: Mm = (0.0, -18.0, 5.0)
"""Template point that lies at the origin of patient space (middle of the head)."""

SIZE_MEAN = 0.94
"""Linear size against MNI152, which is larger than people are: its cavity holds 1.9 L, adults' 1.2-1.8 L
(Lancaster et al., Hum Brain Mapp 2007; Buckner et al., NeuroImage 2004)."""
SIZE_SD = 0.035
"""SD of the linear head size, on each axis 0.03 more: intracranial volume varies by 10-13 %
(Buckner et al., NeuroImage 2004)."""
WARP_MM = ((70.0, 4.0), (30.0, 2.2), (14.0, 1.1))
"""(scale, SD) of the smooth deformation: residual anatomical variability after affine registration is 2-6 mm
(Klein et al., NeuroImage 2009; Hellier et al., IEEE TMI 2003). The skull follows the longest scale, the others fade
towards it."""
TURN_SD_DEG: Mm = (7.0, 3.0, 4.0)
"""SD of pitch, roll and yaw of a head in the holder."""


class Pusher(Protocol):
    """Something that displaces brain tissue: a lesion with mass effect."""

    def push(self, points: Floats, wall_mm: Floats, /) -> Floats:
        """Displacement (..., 3) in mm to the tissue that came to lie at template points; `wall_mm`: cavity distance."""
        ...


@dataclass(frozen=True)
class Traits:
    """What makes a head somebody's own."""

    age: float
    """0 young .. 1 old: drives ventricles, sulci, white matter disease and calcification."""
    ventricle_mm: float
    """Distance of the ventricle walls from the template's."""
    sulcus: float
    """Fluid fraction above which a voxel counts as fluid; smaller means wider sulci."""
    skull: float
    """Skull thickness, relative."""
    leukoaraiosis: float
    """Extent of periventricular white matter disease, 0..1."""


@dataclass(frozen=True)
class Tissue:
    """What lies at a set of points, each (D, H, W); fractions of a voxel."""

    template: Floats
    """(D, H, W, 3) points in the skull's own space (before mass effect)."""
    moved: Floats
    """(D, H, W, 3) points in the brain's own space (after undoing mass effect)."""
    wall_mm: Floats
    outside_hu: Floats
    shell_mm: Floats
    grey: Floats
    white: Floats
    fluid: Floats
    ventricle: Floats
    deep_white: Floats
    periventricular: Floats


@dataclass
class Subject:
    """A patient's anatomy; patient space is RAS mm around the middle of the head."""

    traits: Traits
    linear: NDArray[np.float32]
    """(3, 3) patient mm -> template mm, turning and size."""
    warp: Field
    """Template mm to add, on patient points."""
    sulcal_noise: Field
    template: HeadTemplate = field(repr=False)
    shove: Field | None = None
    """Displacement by lesions: template mm to add for brain tissue."""

    def to_template(self, points: Floats) -> Floats:
        """Skull-space template positions of patient points (D, H, W, 3)."""
        base = points @ self.linear.T + f32(CENTRE)
        return base + np.moveaxis(self.warp.at(points), 0, -1)

    def add_lesions(self, lesions: list[Pusher]) -> None:
        """Displace the brain by the lesions' mass effect, all at once."""
        if not lesions:
            return
        points = self.warp.points()
        template = self.to_template(points)
        wall = self.template.surface.at(template)[0]
        shove = np.zeros_like(template)
        for lesion in lesions:
            shove += lesion.push(template + shove, wall)
        self.shove = Field.of(np.moveaxis(shove, -1, 0), self.warp.origin_mm, self.warp.step_mm)

    def tissue(self, points: Floats) -> Tissue:
        """Everything that lies at patient points (D, H, W, 3)."""
        template = self.to_template(points)
        wall, outside, shell = self.template.surface.at(template)
        moved = template if self.shove is None else template + np.moveaxis(self.shove.at(points), 0, -1)
        grey, white, ventricle, deep, periventricular = self.template.brain.at(moved)
        grey, white, fluid = _sharpen(grey, white, wall, self.traits.sulcus + 0.07 * self.sulcal_noise.at(moved)[0])
        return Tissue(
            template,
            moved,
            wall,
            outside,
            shell * f32(self.traits.skull),
            grey,
            white,
            fluid,
            np.minimum(ventricle * 1.5, fluid),
            deep,
            periventricular,
        )


def _sharpen(grey: Floats, white: Floats, wall: Floats, threshold: Floats) -> tuple[Floats, Floats, Floats]:
    """Fractions of one brain from probabilities averaged over 152: edges become as steep as a single subject's."""
    loose = 1 - grey - white
    t = np.clip((loose - threshold) / 0.30 + 0.5, 0, 1)
    fluid = (t * t * (3 - 2 * t)) * (wall < 1)
    share = white / np.maximum(grey + white, 1e-3)
    share = np.clip((share - 0.5) * 1.5 + 0.5, 0, 1)
    solid = 1 - fluid
    return (solid * (1 - share)).astype(np.float32), (solid * share).astype(np.float32), fluid.astype(np.float32)


def draw_traits(rng: np.random.Generator) -> Traits:
    """Age-linked traits: fluid spaces and white matter disease grow with age (Resnick et al., J Neurosci 2003)."""
    age = float(rng.beta(2.4, 1.6))
    return Traits(
        age=age,
        ventricle_mm=float(-1.5 + 6.5 * age**1.5 + rng.normal(0, 1.2)),
        sulcus=float(np.clip(0.44 - 0.24 * age + rng.normal(0, 0.06), 0.14, 0.5)),
        skull=float(np.clip(rng.normal(1.0, 0.13), 0.72, 1.35)),
        leukoaraiosis=float(np.clip(rng.normal(age - 0.45, 0.25), 0, 1)),
    )


def rotation(pitch: float, roll: float, yaw: float) -> NDArray[np.float64]:
    """Rotation matrix about x, then y, then z; angles in degrees."""
    a, b, c = np.radians([pitch, roll, yaw])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix: NDArray[np.float64] = z @ y @ x
    return matrix


def make_subject(rng: np.random.Generator, turned: float = 1.0, widening_mm: float = 0.0) -> Subject:
    """Draw a patient.

    Args:
        rng: the patient's own generator.
        turned: how freely the head lies, 1 as in a CT head holder, near 0 as after registration to an atlas.
        widening_mm: how much further blood in the ventricles drives their walls apart.
    """
    template = head_template()
    traits = draw_traits(rng)
    size = np.clip(rng.normal(SIZE_MEAN, SIZE_SD) * rng.normal(1.0, 0.03, 3), 0.82, 1.07)
    angles = rng.normal(0, 1, 3) * np.array(TURN_SD_DEG) * turned
    linear = (rotation(*angles) / size[:, None]).astype(np.float32)
    points = grid_points(BOX_LOW, COARSE_MM, _coarse_sizes())
    head = points @ linear.T + f32(CENTRE)
    warp = _bend(rng, points, *WARP_MM[0])
    wall = template.surface.at(head + warp)[0]
    fine = sum(_bend(rng, points, scale, spread) for scale, spread in WARP_MM[1:])
    warp += fine * (0.2 + 0.8 * ramp(-wall, -2, 14))[..., None]
    warp += _widen(template, head + warp, traits.ventricle_mm + widening_mm)
    return Subject(
        traits,
        linear,
        Field.of(np.moveaxis(warp, -1, 0), BOX_LOW, COARSE_MM),
        noise(rng, 12.0, BOX_LOW, BOX_HIGH),
        template,
    )


def _bend(rng: np.random.Generator, points: Floats, scale: float, spread: float) -> Floats:
    """Random smooth displacement (..., 3) at points."""
    return f32(spread) * np.moveaxis(noise(rng, scale, BOX_LOW, BOX_HIGH, 3).at(points), 0, -1)


def _coarse_sizes() -> tuple[int, ...]:
    return tuple(int((high - low) / COARSE_MM) + 1 for low, high in zip(BOX_LOW, BOX_HIGH, strict=True))


def _widen(template: HeadTemplate, points: Floats, amount_mm: float) -> Floats:
    """Displacement that draws ventricle tissue outwards by `amount_mm` at the wall, nothing at the skull."""
    wall = template.surface.at(points)[0]
    pull = np.moveaxis(template.ventricle_push.at(points), 0, -1)
    return f32(amount_mm) * pull * ramp(-wall, 2, 20)[..., None]
