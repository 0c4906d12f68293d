"""Landmarks of the template head that bleeds and distractors share: inner table, falx, tentorium."""

from __future__ import annotations

import numpy as np

from ctseg.phantom.fields import Floats, Mm, f32, norm, ramp
from ctseg.phantom.template import HeadTemplate


def surface_spot(template: HeadTemplate, start: Mm, towards: Mm, depth_mm: float) -> Floats:
    """Point (3,) on the ray from `start` through `towards` that lies `depth_mm` inside the skull."""
    way = f32(towards) - f32(start)
    way /= max(float(norm(way)), 1e-6)
    ray = f32(start) + way * np.arange(0, 110, 0.5, dtype=np.float32)[:, None]
    wall = template.surface.at(ray[None, None])[0, 0, 0]
    outside = np.flatnonzero(wall > -depth_mm)
    found: Floats = ray[int(outside[0]) if len(outside) else -1]
    return found


def falx_region(points: Floats) -> Floats:
    """Weight 0..1 of where the falx hangs: above the corpus callosum and behind."""
    y, z = points[..., 1], points[..., 2]
    away = np.sqrt((y + 18) ** 2 + (1.25 * (z - 2)) ** 2)
    return ramp(away, 44, 52) * ramp(z, -12, -2)


def tentorium_height(points: Floats) -> Floats:
    """Template z in mm of the tentorium above each point: a tent from the straight sinus to the petrous ridges."""
    x, y = points[..., 0], points[..., 1]
    height: Floats = f32(-1.0) - f32(0.36) * np.abs(x) + f32(0.10) * (y + 60)
    return height
