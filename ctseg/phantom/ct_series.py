"""A CT series: how it is scanned, where its slices lie, how they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.phantom.anatomy import Subject
from ctseg.phantom.ct_physics import KERNEL_LP_CM, NOISE_HU, RESIDUAL
from ctseg.phantom.fields import Floats

SUBSLICE_MM = 1.6
"""Finest step through a slice; thicker slices average several of these."""
FAN_HU = -2000
"""Stored value outside the reconstruction circle of some scanners (GE), as in RSNA."""
LOW_HU, HIGH_HU = -1024, 3071
"""Range of a 12-bit CT scale."""


@dataclass(frozen=True)
class Protocol:
    """How a series is scanned and stored."""

    tilt_deg: float
    pixel_mm: float
    step_mm: float
    """Table step and slice thickness of the upper part."""
    base_step_mm: float
    """The same below the skull base; smaller where steps are uneven."""
    signed: bool
    intercept: int
    padded: bool
    """Whether the corners outside the reconstruction circle hold a padding value."""
    wrapped: bool
    """The fault of some RSNA series: 12 bit unsigned with a lost intercept, values modulo 4096."""
    noise_hu: float
    residual: float
    kernel_lp_cm: float
    """Roll-off of the reconstruction kernel."""

    @property
    def uneven(self) -> bool:
        """Whether the slice step changes at the skull base."""
        return self.base_step_mm != self.step_mm


@dataclass(frozen=True)
class Geometry:
    """Slice positions in RAS mm."""

    origins: NDArray[np.float64]
    """(K, 3) centre of pixel [0, 0]."""
    thickness: NDArray[np.float64]
    """(K,) mm."""
    right_to_left: NDArray[np.float64]
    down: NDArray[np.float64]
    pixel_mm: float
    matrix: int

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal towards the head."""
        return np.cross(self.right_to_left, self.down)


def draw_protocol(rng: np.random.Generator, index: int, step_mm: float, matrix: int) -> Protocol:
    """Draw how patient `index` is scanned; the kinds of series cycle with the index so every cohort has them.

    Two in five series are tilted by 8-22 degrees, as sequential head CT along the orbitomeatal line is, to spare the
    lens (Yeoman et al., AJR 1992); one in five has thinner slices at the skull base; one in twelve has the RSNA fault.
    """
    tilted, thin = index % 5 in (1, 3), index % 9 == 7
    uneven = index % 5 == 2 and not thin
    storage = ("signed-1024", "unsigned-1024", "signed0", "signed-1024")[index % 4]
    step = max(step_mm, 3.0) if not thin else max(step_mm * 0.7, 3.0)
    pixel = float(rng.uniform(0.448, 0.492)) * 512 / matrix
    return Protocol(
        tilt_deg=float(rng.uniform(8, 22)) if tilted else 0.0,
        pixel_mm=round(pixel, 6),
        step_mm=step,
        base_step_mm=step / 2 if uneven else step,
        signed=storage.startswith("signed"),
        intercept=0 if storage.endswith("0") else -1024,
        padded=storage.startswith("signed") and index % 4 != 3,
        wrapped=index % 12 == 5,
        noise_hu=float(rng.uniform(*NOISE_HU)),
        residual=float(rng.uniform(*RESIDUAL)),
        kernel_lp_cm=float(rng.uniform(*KERNEL_LP_CM)),
    )


def plan_slices(subject: Subject, protocol: Protocol, matrix: int) -> Geometry:
    """Slices from just below the foramen magnum to just above the vertex, tilted with the front up."""
    angle = np.radians(protocol.tilt_deg)
    down = np.array([0.0, -np.cos(angle), -np.sin(angle)])
    across = np.array([-1.0, 0.0, 0.0])
    normal = np.cross(across, down)
    points = subject.warp.points()
    template = subject.to_template(points)
    wall = subject.template.surface.at(template)[0]
    level = (points @ normal.astype(np.float32)) / normal[2]
    top = float(level[wall < 7].max())
    foramen = (
        (template[..., 2] > -72)
        & (template[..., 2] < -64)
        & (np.abs(template[..., 0]) < 10)
        & (np.abs(template[..., 1] + 42) < 10)
    )
    bottom = float(np.median(level[foramen]))
    heights, thickness = _table_positions(bottom, top, protocol)
    middle = _middle_of_head(points, wall)
    centre = np.stack(
        [np.full_like(heights, middle[0]), np.full_like(heights, middle[1]), heights + middle[1] * np.tan(angle)],
        axis=1,
    )
    half = (matrix - 1) / 2 * protocol.pixel_mm
    return Geometry(centre - half * across - half * down, thickness, across, down, protocol.pixel_mm, matrix)


def _middle_of_head(points: Floats, wall: Floats) -> NDArray[np.float64]:
    inside = points[wall < 8]
    centre: NDArray[np.float64] = np.round(
        (inside.max(axis=0) + inside.min(axis=0)).astype(np.float64) / 2 + np.array([0, 6, 0]), 1
    )
    return centre


def _table_positions(bottom: float, top: float, protocol: Protocol) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Table heights of the slices where they cross the axis of the table, and slice thicknesses."""
    change = bottom + 40.0 if protocol.uneven else bottom
    low = np.arange(bottom, change, protocol.base_step_mm)
    start = low[-1] + (protocol.base_step_mm + protocol.step_mm) / 2 if len(low) else bottom
    high = np.arange(start, top, protocol.step_mm)
    heights = np.round(np.concatenate([low, high]), 2)
    return heights, np.concatenate([np.full(len(low), protocol.base_step_mm), np.full(len(high), protocol.step_mm)])


def slice_points(geometry: Geometry, k: int) -> Floats:
    """(S, h, w, 3) points of slice k through its thickness, at half the matrix in-plane."""
    size, pixel = geometry.matrix // 2, 2 * geometry.pixel_mm
    steps = max(3, round(float(geometry.thickness[k]) / SUBSLICE_MM))
    through = ((np.arange(steps) + 0.5) / steps - 0.5) * geometry.thickness[k]
    first = geometry.origins[k] + 0.5 * geometry.pixel_mm * (geometry.right_to_left + geometry.down)
    along = np.arange(size) * pixel
    rows = along[:, None, None] * geometry.down
    columns = along[None, :, None] * geometry.right_to_left
    plane = (first + rows + columns).astype(np.float32)
    points: Floats = plane[None] + (through[:, None] * geometry.normal).astype(np.float32)[:, None, None, :]
    return points


def stored(hu: Floats, protocol: Protocol) -> tuple[NDArray[Any], dict[str, Any]]:
    """Stored pixel values (K, H, W) and the header fields that explain them."""
    values = np.clip(np.rint(hu), LOW_HU, HIGH_HU).astype(np.int32)
    header: dict[str, Any] = {
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(protocol.signed),
    }
    if protocol.wrapped:
        header |= {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleIntercept": 0}
        return (values % 4096).astype(np.uint16), header
    header["RescaleIntercept"] = protocol.intercept
    raw = values - protocol.intercept
    if not protocol.signed:
        return np.maximum(raw, 0).astype(np.uint16), header | {"BitsStored": 12, "HighBit": 11}
    if protocol.padded:
        raw[:, _outside_circle(hu.shape[-1])] = FAN_HU
    return raw.astype(np.int16), header


def _outside_circle(size: int) -> NDArray[np.bool_]:
    axis = np.arange(size) - (size - 1) / 2
    return axis[:, None] ** 2 + axis[None] ** 2 > (size / 2) ** 2
