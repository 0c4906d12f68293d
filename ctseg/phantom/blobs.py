"""Irregular, multi-lobed bodies in template space with mass effect: the shape shared by haematomas and gliomas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.phantom.fields import Field, Floats, Mm, f32, noise, norm, ramp

WALL_SOFT_MM = 14.0
"""Distance to the skull over which mass effect fades, since the skull is rigid."""


@dataclass(frozen=True)
class Lobe:
    """An ellipsoid: centre in template mm, rotation and half axes."""

    centre: NDArray[np.float32]
    turn: NDArray[np.float32]
    radii: NDArray[np.float32]

    def depth(self, points: Floats) -> Floats:
        """Approximate mm inside the surface, negative outside."""
        local = ((points - self.centre) @ self.turn) / self.radii
        return (1 - norm(local)) * f32(np.cbrt(self.radii.prod()))


@dataclass(frozen=True)
class Blob:
    """Lobes joined smoothly, their surface roughened by noise."""

    lobes: tuple[Lobe, ...]
    rough: Field
    rough_mm: float
    mass: float
    """Share of its volume that pushes tissue away instead of replacing it."""
    side: float
    """-1 left, 1 right: it does not cross the falx; 0 for midline structures."""

    @property
    def centre(self) -> NDArray[np.float32]:
        """Centre of the main lobe, template mm."""
        return self.lobes[0].centre

    @property
    def radius_mm(self) -> float:
        """Radius of the ball of the main lobe's volume."""
        return float(np.cbrt(self.lobes[0].radii.prod()))

    def reach_mm(self, margin: float) -> float:
        """No point further than this from the centre is within `margin` of the surface."""
        far = max(float(norm(lobe.centre - self.centre)) + float(lobe.radii.max()) for lobe in self.lobes)
        return far + 4 * self.rough_mm + margin

    def depth(self, points: Floats, margin_mm: float = 30.0) -> Floats:
        """(D, H, W) mm inside the rough surface, negative outside, ignoring anatomy; -1000 where nothing is near."""
        if float(norm(points - self.centre).min()) > self.reach_mm(margin_mm):
            return np.full(points.shape[:-1], -1000, dtype=np.float32)
        depths = [lobe.depth(points) for lobe in self.lobes]
        joined = depths[0]
        for other in depths[1:]:
            joined = _smooth_max(joined, other, 3.0)
        wobble = self.rough.at(points - self.centre)
        joined = joined + f32(self.rough_mm) * (0.75 * wobble[0] + 0.35 * _fine(self.rough, points - self.centre))
        if self.side:
            joined = np.minimum(joined, points[..., 0] * f32(self.side) - 1)
        depth: Floats = joined.astype(np.float32)
        return depth

    def push(self, points: Floats, wall_mm: Floats) -> Floats:
        """Displacement to where the tissue came from: volume-preserving near, fading with distance and at the skull."""
        away = points - self.centre
        distance = np.maximum(norm(away), 1e-3)
        pressed = self.mass * self.radius_mm**3 * np.exp(-((distance / (3.2 * self.radius_mm + 10)) ** 2))
        came = np.cbrt(np.maximum(distance**3 - pressed, 0.02 * distance**3))
        give = ramp(-wall_mm, 0, WALL_SOFT_MM)
        if self.side:
            give = give * (0.25 + 0.75 * ramp(points[..., 0] * f32(self.side), -14, 6))
        return (away * ((came / distance - 1) * give)[..., None]).astype(np.float32)


def _fine(rough: Field, points: Floats) -> Floats:
    """The same noise at 2.3 times the frequency."""
    fine: Floats = rough.at(points * f32(2.3) % f32(80.0) - f32(40.0))[1]
    return fine


def _smooth_max(a: Floats, b: Floats, width: float) -> Floats:
    """Maximum with a rounded corner of `width` mm."""
    gap = np.clip(0.5 + 0.5 * (a - b) / width, 0, 1)
    return b + (a - b) * gap + f32(width) * gap * (1 - gap)


def random_turn(rng: np.random.Generator) -> NDArray[np.float32]:
    """A random rotation matrix."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def make_blob(
    rng: np.random.Generator,
    centre: Mm,
    volume_ml: float,
    *,
    rough: float = 0.16,
    mass: float = 0.5,
    lobes: int = 3,
    long: Mm | None = None,
) -> Blob:
    """Draw a blob of about `volume_ml` around `centre` (template mm).

    Args:
        rng: generator of the patient.
        centre: template position, RAS mm.
        volume_ml: volume wanted; anatomy may clip some of it.
        rough: surface noise relative to the radius.
        mass: share of the volume that displaces tissue.
        lobes: number of daughter lobes.
        long: relative lengths along x, y, z; random ones in a random direction where None.
    """
    radius = float(np.cbrt(volume_ml * 1000 * 3 / (4 * np.pi))) * (0.90 if lobes else 1.0)
    stretch, turn = np.exp(rng.normal(0, 0.16, 3)), random_turn(rng)
    if long is not None:
        stretch, turn = np.array(long) * np.exp(rng.normal(0, 0.06, 3)), np.eye(3, dtype=np.float32)
    stretch /= np.cbrt(stretch.prod())
    main = Lobe(f32(centre), turn, f32(radius * stretch))
    daughters = [_daughter(rng, main, radius) for _ in range(lobes)]
    reach = (-48.0, -48.0, -48.0), (48.0, 48.0, 48.0)
    side = float(np.sign(centre[0])) if abs(centre[0]) > 4 else 0.0
    scale = float(np.clip(radius * 0.75, 6, 14))
    return Blob((main, *daughters), noise(rng, scale, *reach, channels=2), rough * radius, mass, side)


def _daughter(rng: np.random.Generator, main: Lobe, radius: float) -> Lobe:
    """A smaller lobe that sticks out of the main one."""
    way = rng.normal(size=3)
    way /= np.linalg.norm(way)
    centre = main.centre + main.turn @ (way * main.radii) * f32(rng.uniform(0.55, 0.95))
    size = radius * rng.uniform(0.35, 0.65) * np.exp(rng.normal(0, 0.15, 3))
    return Lobe(centre.astype(np.float32), random_turn(rng), f32(size))
