"""What the parts of all bleeds have in common: a place, a size, a shape on the scan, a texture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.bleed_statistics import PartSize
from ctseg.phantom.fields import Field, Floats, f32, ramp


class Shape(Protocol):
    """Geometry of a part in template space."""

    @property
    def centre(self) -> Floats:
        """(3,) template mm."""
        ...

    @property
    def reach_mm(self) -> float:
        """No blood and no oedema lies further from the centre."""
        ...

    def score(self, tissue: Tissue) -> Floats:
        """(D, H, W) mm inside the surface."""
        ...

    def room(self, tissue: Tissue) -> Floats:
        """(D, H, W) share of each voxel that blood may fill."""
        ...

    def oedema(self, tissue: Tissue, score: Floats, /) -> Floats:
        """(D, H, W) weight 0..1 of the oedema around it."""
        ...

    def push(self, points: Floats, wall_mm: Floats, /) -> Floats:
        """Mass effect, see `ctseg.phantom.anatomy.Pusher`."""
        ...


@dataclass
class Texture:
    """How HU varies inside a part, around its mean.

    Fresh clot is patchy by about 4 HU; a growing or mixed-age one holds darker swirls (Barras et al., Stroke 2009;
    Boulouis et al., JAMA Neurol 2016); in anticoagulated patients cells settle behind a level (Pfleger et al., AJNR
    1994: fluid levels in 5 % of bleeds, mostly coagulopathic); contusions mix blood and oedema like salt and pepper
    (Kim & Gean, Neurotherapeutics 2011).
    """

    noise: Field = field(repr=False)
    """Two channels, in mm from the centre."""
    patchy_hu: float = 4.0
    swirl_hu: float = 0.0
    level_hu: float = 0.0
    level_mm: float = 0.0

    def at(self, points: Floats, centre: Floats) -> Floats:
        """(D, H, W) HU at template points."""
        local = points - centre
        fine, broad = self.noise.at(local * f32(2.0))[0], self.noise.at(local)[1]
        hu: Floats = self.patchy_hu * fine
        if self.swirl_hu:
            hu = hu - self.swirl_hu * ramp(broad, 0.1, 0.7)
        if self.level_hu:
            hu = hu + self.level_hu * (ramp(local[..., 1], self.level_mm + 0.8, self.level_mm - 0.8) - 0.5)
        rounded: Floats = hu.astype(np.float32)
        return rounded


@dataclass
class Part:
    """One connected part of a bleed that takes its place in template space (IPH, SDH, EDH)."""

    kind: str
    size: PartSize
    shape: Shape
    texture: Texture
    soft_mm: float = 1.4
    oedema_hu: float = 0.0
    """Of the oedema around it, against the tissue there."""
