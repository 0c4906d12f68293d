"""The head that every patient is a deformation of: MNI152 brain maps inside a procedural skull, face and scalp.

Brain: grey and white matter probabilities of the ICBM 152 2009a template (Fonov et al., NeuroImage 2011). Positions are
RAS mm of MNI space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.phantom.fields import Field, Floats, edge, grid_points, ramp
from ctseg.phantom.icbm152 import FIRST_MM, template_maps
from ctseg.phantom.skull import HIGH, LOW, head_depth, muscularity, outside_hu, rod, shell_mm

CORD = ((0.0, -44.0, -66.0), (0.0, -49.0, -112.0), 6.0)
"""Spinal cord below the template's brain stem: axis and radius in mm (12 mm across at C1; Sherman et al., 1990)."""


@dataclass(frozen=True)
class HeadTemplate:
    """Maps in template space, at 1 mm but for the push."""

    surface: Field
    """Channels: signed distance to the cavity in mm (negative inside), HU outside it and its shell, shell mm."""
    brain: Field
    """Channels: grey, white, ventricle weight, white smoothed over 4 mm, nearness to the ventricles 0..1."""
    ventricle_push: Field
    """(3 channels) mm by which template points move towards the ventricles when these widen by about one mm."""


def _sizes(step: float) -> tuple[int, ...]:
    return tuple(round((high - low) / step) + 1 for low, high in zip(LOW, HIGH, strict=True))


def _paste(image: NDArray[np.float32], first_mm: tuple[float, float, float]) -> Floats:
    """An (x, y, z) 1 mm template image on our (z, y, x) grid, cut to it."""
    out = np.zeros(_sizes(1.0)[::-1], dtype=np.float32)
    start = [round(first_mm[d] - LOW[d]) for d in (2, 1, 0)]
    stop = [min(s + n, size) for s, n, size in zip(start, image.shape[::-1], out.shape, strict=True)]
    box = tuple(slice(s, e) for s, e in zip(start, stop, strict=True))
    out[box] = image.T[tuple(slice(0, e - s) for s, e in zip(start, stop, strict=True))]
    return out


def _closed(mask: NDArray[np.bool_], radius_mm: float, step: float) -> NDArray[np.bool_]:
    """Morphological closing by a ball, by distance maps."""
    grown = ndimage.distance_transform_edt(~mask) * step <= radius_mm
    closed: NDArray[np.bool_] = ndimage.distance_transform_edt(grown) * step > radius_mm
    return closed


def cavity_distance(brain: NDArray[np.bool_], points: Floats, step: float) -> Floats:
    """Signed distance in mm to the cranial cavity, negative inside.

    The cavity is the brain with its fissures and basal cisterns closed and a thin layer of fluid around it. Fissures
    are closed widely above the skull base only, so that the petrous ridges and the sphenoid wings stay outside.
    """
    x, y, z = (points[..., d] for d in range(3))
    solid = _closed(brain, 4.0, step) | (_closed(brain, 22.0, step) & (z > -12 + 0.22 * np.abs(y + 20)))
    solid |= (x / 17) ** 2 + ((y + 12) / 20) ** 2 + ((z + 22) / 11) ** 2 < 1
    solid |= ((x / 14) ** 2 + ((y + 14) / 8) ** 2 < 1) & (z < -20) & (z > -60)
    solid |= (x**2 + (y + 44 - 0.15 * (z + 70)) ** 2 < 12**2) & (z < -50)
    distance = (ndimage.distance_transform_edt(~solid) - ndimage.distance_transform_edt(solid)) * step - 1.5
    sharp = ndimage.gaussian_filter(distance.astype(np.float32), 1.6 / step)
    smooth = ndimage.gaussian_filter(sharp, 4.0 / step)
    blended: Floats = sharp + ramp(z, -5, 25) * (smooth - sharp)
    return blended


def _ventricle(grey: Floats, white: Floats) -> Floats:
    """Weight 0..1 of the ventricles: deep fluid near the midline of the template."""
    low, high = (-40, -82, -48), (40, 36, 37)
    box = tuple(slice(int(low[d] - LOW[d]), int(high[d] - LOW[d])) for d in (2, 1, 0))
    points = grid_points(low, 1.0, tuple(b - a for a, b in zip(low, high, strict=True)))
    fluid = ramp(1 - grey[box] - white[box], 0.15, 0.5)
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    deep = (z < 36 - 0.004 * y**2) & ((z > -16) | ((x < 14) & (y < -32) & (y > -60)))
    deep &= (x < 12 + np.clip(-y, 0, 45) * 0.55) | ((x < 22) & (y > 5) & (z > -6))
    deep &= ~((x < 14) & (y < -36) & (z > -20)) & ~((x < 5) & (y > 20))
    labels, _ = ndimage.label((fluid > 0.3) & deep)
    kept = np.isin(labels, np.flatnonzero(np.bincount(labels.ravel())[1:] > 150) + 1)
    whole = np.zeros_like(grey)
    whole[box] = fluid * ndimage.binary_dilation(kept)
    return whole


def _push_field(ventricle: Floats) -> Field:
    """Gradient of the smoothed ventricles on the 2 mm grid, unit length where it is steepest."""
    gradient = np.stack(np.gradient(ndimage.gaussian_filter(ventricle, 2.0))[::-1])
    return Field.of(gradient / max(float(np.abs(gradient).max()), 1e-6), LOW, 2.0)


def _fine(coarse: Field) -> Floats:
    """A 2 mm map (C, Z, Y, X) on the 1 mm grid, slab by slab."""
    sizes = _sizes(1.0)
    slabs = [(start, min(start + 8, sizes[2])) for start in range(0, sizes[2], 8)]
    return np.concatenate(
        [coarse.at(grid_points((LOW[0], LOW[1], LOW[2] + a), 1.0, (*sizes[:2], b - a))) for a, b in slabs], axis=1
    )


@lru_cache(maxsize=1)
def head_template() -> HeadTemplate:
    """Build the template head, once a process (seconds). What is smooth is computed at 2 mm."""
    maps = template_maps()
    grey, white, brain = (_paste(image, FIRST_MM) for image in (maps.grey, maps.white, maps.brain))
    ventricle = _ventricle(grey, white)
    points = grid_points(LOW, 2.0, _sizes(2.0))
    cavity = cavity_distance(brain[::2, ::2, ::2] > 0.5, points, 2.0)
    depth = head_depth(points, cavity)
    cord = edge(rod(points, *CORD), 2.0)
    small = ventricle[::2, ::2, ::2]
    near = np.clip(5 * ndimage.gaussian_filter(small, 2.5), 0, 1)
    smooth_white = ndimage.gaussian_filter(white[::2, ::2, ::2], 2.0)
    coarse = np.stack([cavity, shell_mm(points), smooth_white, near, cord, depth, muscularity(points)])
    wall, shell, smooth_white, near, cord, depth, muscle = _fine(Field.of(coarse, LOW, 2.0))
    surface = np.stack([wall, outside_hu(depth, muscle), shell])
    brain_maps = np.stack([np.maximum(grey, 0.3 * cord), np.maximum(white, 0.7 * cord), ventricle, smooth_white, near])
    return HeadTemplate(Field.of(surface, LOW, 1.0), Field.of(brain_maps, LOW, 1.0), _push_field(small))
