"""Where a haematoma of a kind and size may lie in a head: inside brain, away from other blood."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ctseg.implant.head import Head
from ctseg.implant.wanted import Wanted
from ctseg.io.stack import Mask
from ctseg.phantom.contusion import DEPTH_MM
from ctseg.phantom.fields import Floats

Place = tuple[int, int, int]
"""Slice, row and column of a `Head`'s maps."""

DEEP_FROM = 0.5
"""Share of the largest distance to the brain's surface from which on a place is deep."""
LOBAR = (0.12, 0.5)
"""The same for lobar places."""
OFF_MIDLINE_MM = 8.0
"""Blood in the midline would lie in the falx, the third ventricle or the corpus callosum."""
ROOM = 0.62
"""Least share of brain without ventricles in a Gaussian as wide as the haematoma."""
GAP_MM = 10.0
"""Between two haematomas, and to what is segmented already, from mask to mask."""
CONTUSION_ELSEWHERE = 0.1
"""Chance of a place that is no frontal or temporal pole, against one that is."""


def radius_mm(ml: float) -> float:
    """Of the ball of a volume."""
    return float(np.cbrt(1000 * ml * 3 / (4 * np.pi)))


@dataclass
class Places:
    """Draws places in one head and remembers what is taken."""

    head: Head
    taken: Mask = field(init=False)
    """(K, H, W) of the maps."""

    def __post_init__(self) -> None:
        self.taken = np.zeros(self.head.wall_mm.shape, dtype=bool)

    def take(self, mask: Mask) -> None:
        """Keep away from a mask (K, h, w) on the scan's grid."""
        self.taken = self.taken | self._mapped(mask)

    def is_free(self, mask: Mask) -> bool:
        """Whether a mask (K, h, w) keeps the gap from all that is taken."""
        if not self.taken.any():
            return True
        away = ndimage.distance_transform_edt(~self.taken, self.head.step_mm)
        return bool((away[self._mapped(mask)] >= GAP_MM).all())

    def _mapped(self, mask: Mask) -> Mask:
        """The pixels of the maps that a mask on the scan's grid touches."""
        row, column = self.head.corner
        block = self.head.block
        rows, columns = self.taken.shape[1] * block, self.taken.shape[2] * block
        part = mask[:, row : row + rows, column : column + columns]
        padded = np.zeros((len(part), rows, columns), dtype=bool)
        padded[:, : part.shape[1], : part.shape[2]] = part
        blocks = padded.reshape(len(part), rows // block, block, columns // block, block)
        return np.asarray(np.any(blocks, axis=(2, 4)))

    def draw(self, rng: np.random.Generator, wanted: Wanted) -> Place | None:
        """Draw a place for the centre; None where the head has none that is left."""
        chances = self.chances(wanted)
        total = chances.cumsum(dtype=np.float64)
        if total[-1] <= 0:
            return None
        at = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        k, row, column = np.unravel_index(min(at, len(total) - 1), chances.shape)
        return int(k), int(row), int(column)

    def chances(self, wanted: Wanted) -> Floats:
        """(K, H, W) chance of each pixel, not normed."""
        head, radius = self.head, radius_mm(wanted.ml)
        depth = -head.wall_mm
        open_to = (depth > 0) & (head.ventricle < 0.5)
        if self.taken.any():
            away = ndimage.distance_transform_edt(~self.taken, head.step_mm)
            open_to &= away > radius + GAP_MM
        if wanted.kind == "contusion":
            low, high = (at + 1.2 * wanted.ml ** (1 / 3) for at in DEPTH_MM)
            chances = ((depth >= low) & (depth <= max(high, low + head.step_mm[1]))) * self._poles()
        else:
            chances = open_to * self._depth_of(wanted.kind, depth)
            chances = chances * (self._lateral() > OFF_MIDLINE_MM)
        chances = chances * open_to
        wide = self._room(0.6 * radius)
        enough = ROOM if wanted.kind != "contusion" else 0.5 * ROOM
        roomy = chances * (wide > enough)
        found = roomy if roomy.any() else chances * (wide >= 0.8 * (wide * (chances > 0)).max(initial=0.0))
        return np.asarray(found, dtype=np.float32)

    def _depth_of(self, kind: str, depth: Floats) -> Mask:
        share = depth / max(float(depth.max()), 1e-3)
        if kind == "deep":
            return np.asarray(share > DEEP_FROM)
        low = LOBAR[0] if kind == "lobar" else 0.05
        return np.asarray((share > low) & ((share < LOBAR[1]) | (kind == "microbleed")))

    def _room(self, sigma_mm: float) -> Floats:
        """Share of brain that is no ventricle around each pixel."""
        room = ((self.head.wall_mm < 0) & ~self.taken) * (1 - self.head.ventricle)
        smooth: Floats = ndimage.gaussian_filter(room.astype(np.float32), [sigma_mm / mm for mm in self.head.step_mm])
        return smooth

    def _points(self) -> Floats:
        """(K, H, W, 3) RAS mm of the maps' pixels."""
        head = self.head
        rows, columns = (
            (np.arange(size, dtype=np.float32) + 0.5) * head.block - 0.5 + first
            for size, first in zip(self.taken.shape[1:], head.corner, strict=True)
        )
        return head.points(slice(0, len(self.taken)), rows, columns, np.zeros((1, 3)))[:, 0]

    def _lateral(self) -> Floats:
        """(K, H, W) mm from the midline."""
        lateral: Floats = np.abs(self._points()[..., 0])
        return lateral

    def _poles(self) -> Floats:
        """Chance of each pixel for contusions: frontal and temporal poles and bases (see the phantom's contusions)."""
        points, inside = self._points(), self.head.wall_mm < 0
        front, up = (_share_of(points[..., axis], inside) for axis in (1, 2))
        pole = (front > 0.78) & (up < 0.75)
        temporal = (up < 0.5) & (front > 0.42) & (np.abs(points[..., 0]) > 20)
        chances: Floats = np.where(pole | temporal, 1.0, CONTUSION_ELSEWHERE).astype(np.float32)
        return chances


def _share_of(values: Floats, inside: Mask) -> Floats:
    """Where values lie between the smallest and largest of the brain, 0..1."""
    low, high = float(values[inside].min()), float(values[inside].max())
    share: Floats = (values - low) / max(high - low, 1e-3)
    return share
