"""What the scanner adds: beam hardening by bone, quantum noise with the texture of a soft kernel, the head holder."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from ctseg.phantom.fields import Floats, edge, f32

KEV = np.array([40.0, 50.0, 60.0, 80.0, 100.0])
SPECTRUM = np.array([0.12, 0.22, 0.27, 0.25, 0.14])
"""Share of detected energy around each keV at 120 kVp behind 7 mm Al equivalent (shape after
Boone & Seibert, Med Phys 1997)."""
WATER = np.array([0.2683, 0.2269, 0.2059, 0.1837, 0.1707])
"""Mass attenuation of water in cm2/g (NIST XCOM)."""
BONE = np.array([0.6655, 0.4242, 0.3148, 0.2229, 0.1855])
"""Mass attenuation of cortical bone, ICRU-44, in cm2/g (NIST XCOM)."""
BONE_DENSITY = 1.92
"""g/cm3, ICRU-44 cortical bone."""
RESIDUAL = (0.25, 0.6)
"""Share of the bone error left by the scanner's own second-order correction; leaves the 5-20 HU of the Hounsfield bar
(Joseph & Spital, JCAT 1978; Rozeik et al., Neuroradiology 1991)."""
ANGLES = 96
ROWS = 8
"""Of pixels that are smeared at a time."""
NOISE_HU = (2.6, 4.2)
"""SD in a 5 mm slice of routine head CT (EU quality criteria; ACR: below about 5 HU)."""
KERNEL_LP_CM = (2.9, 4.6)
"""Gaussian roll-off; the noise power of soft to standard head kernels peaks at 2-3.5 lp/cm
(Solomon et al., Med Phys 2012)."""
HOLDER_HU = (120.0, 420.0)
"""Carbon-fibre shell of a head holder, as seen with partial volume."""


def water_excess(water_cm: Floats, bone_g: Floats) -> Floats:
    """Error of the log projection after a water correction, in units of water cm.

    Args:
        water_cm: path through water-like tissue in cm.
        bone_g: path through bone times its density, g/cm2.
    """
    seen = _polychromatic(water_cm, bone_g)
    table_cm = np.linspace(0, 60, 241)
    table = _polychromatic(table_cm, 0 * table_cm)
    as_water = np.interp(seen, table, table_cm)
    small = 0.2
    slope = np.interp(_polychromatic(np.array(15.0), np.array(small)), table, table_cm) - 15.0
    shift: Floats = (as_water - water_cm - bone_g * slope / small).astype(np.float32)
    return shift


def _polychromatic(water_cm: NDArray[Any], bone_g: NDArray[Any]) -> NDArray[Any]:
    """-log of the energy that reaches the detector."""
    total = sum(s * np.exp(-w * water_cm - b * bone_g) for s, w, b in zip(SPECTRUM, WATER, BONE, strict=True))
    attenuation: Floats = -np.log(total)
    return attenuation


def beam_hardening(hu: Floats, pixel_mm: float, residual: float) -> tuple[Floats, Floats]:
    """HU error (K, h, w) by filtered back-projection of the bone's beam-hardening error, and relative noise SD.

    Args:
        hu: (K, h, w) low-resolution slices, h = w.
        pixel_mm: their pixel size.
        residual: share of the error that the scanner leaves.
    """
    bone_share = np.clip((hu - 100) / 1700, 0, 1.3)
    water = np.clip(1 + np.minimum(hu, 100) / 1000, 0, None) * (1 - np.clip(bone_share, 0, 1))
    step_cm = pixel_mm / 10
    both = _BackProjection(2 * len(hu), hu.shape[-1], hu.dtype)
    ramp_filter = np.abs(np.fft.rfftfreq(2 * hu.shape[-1], d=step_cm)).astype(np.float32)[None]
    stacked = np.concatenate([water, bone_share * BONE_DENSITY]).astype(np.float32)
    outline = _outline(stacked)
    for angle in np.arange(ANGLES) * np.pi / ANGLES:
        paths = _project(torch.from_numpy(stacked), float(angle), outline) * step_cm
        water_cm, bone_g = np.split(paths, 2)
        excess = water_excess(water_cm, bone_g)
        spectrum = scipy.fft.rfft(excess, 2 * hu.shape[-1], axis=-1) * ramp_filter
        filtered = scipy.fft.irfft(spectrum, axis=-1)[:, : hu.shape[-1]]
        quanta = np.exp(0.19 * (water_cm + 1.6 * bone_g) - 4.0)
        both.add(np.concatenate([filtered.astype(np.float32), quanta.astype(np.float32)]), float(angle))
    error, spread = np.split(both.total(), 2)
    middle = np.sqrt(spread / ANGLES)
    return (error * f32(1000 * np.pi / ANGLES * residual)).astype(np.float32), middle.astype(np.float32)


def _turned(angle: float, count: int, size: int) -> torch.Tensor:
    theta = torch.tensor(
        [[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0]], dtype=torch.float32
    )
    return torch.nn.functional.affine_grid(theta[None], [1, count, size, size], align_corners=False)


def _outline(images: Floats) -> Floats:
    """(P, 2) row and column of the first and last pixel of each row that is not 0 in all images (K, w, w)."""
    filled: NDArray[np.bool_] = np.any(images, axis=0)
    rows = np.flatnonzero(np.any(filled, axis=1))
    last = filled.shape[1] - 1 - filled[rows, ::-1].argmax(axis=1)
    return np.stack([np.tile(rows, 2), np.concatenate([filled[rows].argmax(axis=1), last])], axis=1)


def _turned_box(outline: Floats, angle: float, size: int) -> tuple[slice, slice]:
    """Rows and columns of the turned images that can be other than 0: the turned outline and two pixels around it."""
    down, right = (outline - (size - 1) / 2).T
    found = []
    for at in (np.cos(angle) * down - np.sin(angle) * right, np.cos(angle) * right + np.sin(angle) * down):
        at = at + (size - 1) / 2
        ends = (int(np.floor(at.min())) - 2, int(np.ceil(at.max())) + 3) if len(at) else (0, 0)
        found.append(slice(*np.clip(ends, 0, size)))
    return found[0], found[1]


def _project(images: torch.Tensor, angle: float, outline: Floats) -> Floats:
    """Sums (K, w) along the rows of images (K, w, w) turned by `angle`; only what lies within the outline is turned."""
    grid = _turned(angle, images.shape[0], images.shape[-1])
    rows, columns = _turned_box(outline, angle, images.shape[-1])
    turned = torch.zeros_like(images)
    turned[:, rows, columns] = torch.nn.functional.grid_sample(
        images[None], grid[:, rows, columns], align_corners=False
    )[0]
    return turned.sum(1).numpy()


class _BackProjection:
    """The sum (K, w, w) over the angles of profiles (K, w) smeared along their rays: the transpose of `_project`.

    Slices are the last axis meanwhile, so that each pixel takes a whole row of the profiles, and a few rows of pixels
    at a time stay in the cache.
    """

    def __init__(self, count: int, size: int, kind: np.dtype[Any]) -> None:
        self.sums = np.zeros((size, size, count), dtype=kind)

    def add(self, profiles: Floats, angle: float) -> None:
        """Smear profiles (K, w) at one angle."""
        size = profiles.shape[-1]
        axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
        place = axis[None, :] * np.cos(angle) + axis[:, None] * np.sin(angle) + (size - 1) / 2
        low = np.clip(np.floor(place), 0, size - 2).astype(np.intp)
        share = np.clip(place - low, 0, 1).astype(np.float32)[..., None]
        by_place = np.ascontiguousarray(profiles.T)
        for start in range(0, size, ROWS):
            rows = slice(start, start + ROWS)
            near = by_place[low[rows]]
            near *= 1 - share[rows]
            far = by_place[low[rows] + 1]
            far *= share[rows]
            near += far
            self.sums[rows] += near

    def total(self) -> Floats:
        """The sum (K, w, w)."""
        return np.ascontiguousarray(self.sums.transpose(2, 0, 1))


def kernel_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float, kernel_lp_cm: float = 3.6
) -> Floats:
    """Noise (K, H, W) of unit variance with the spectrum of filtered back-projection: ramp times kernel roll-off."""
    white = rng.standard_normal(shape, dtype=np.float32)
    fy = np.fft.fftfreq(shape[1], pixel_mm / 10).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(shape[2], pixel_mm / 10).astype(np.float32)[None]
    radius = np.hypot(fy, fx)
    gain = np.sqrt(radius + 0.15) * np.exp(-((radius / kernel_lp_cm) ** 2) / 2)
    coloured = scipy.fft.irfft2(scipy.fft.rfft2(white) * gain, s=shape[1:])
    scaled: Floats = (coloured / max(float(coloured.std()), 1e-6)).astype(np.float32)
    return scaled


def holder(x_mm: Floats, y_mm: Floats, half_width: float, half_depth: float, hu: float) -> Floats:
    """HU of an open U-shaped head holder on the plane (posterior y positive), -1000 elsewhere."""
    across, along = x_mm / half_width, np.maximum(y_mm, 0) / half_depth
    radius = (np.abs(across) ** 3 + np.abs(along) ** 3) ** (1 / 3)
    depth = 1.3 - np.abs(radius - 1) * half_width
    gap = edge(np.abs(np.abs(across) - 0.72) * half_width - 4.0, 2.0)
    return (-1000 + edge(depth, 1.2) * gap * (y_mm > -15) * (hu + 1000)).astype(np.float32)


def sharpen_twice(slices: Floats) -> Floats:
    """(K, h, w) -> (K, 2h, 2w) by cubic (Catmull-Rom) interpolation at pixel centres."""
    for axis in (1, 2):
        slices = _double(slices, axis)
    return slices


def _double(values: Floats, axis: int) -> Floats:
    """(K, h, w) with twice the samples along one axis; a slice at a time, which stays in the cache."""
    width = [(0, 0), (0, 0)]
    width[axis - 1] = (2, 2)
    count, size = len(values), list(values.shape[1:])
    size[axis - 1] *= 2
    doubled = np.empty((count, *size), dtype=np.float32)
    for whole, picture in zip(doubled, values, strict=True):
        padded = np.pad(picture, width, mode="edge")
        if axis == 1:
            _between(padded, whole)
        else:
            _between(padded.T, whole.T)
    return doubled


def _between(padded: Floats, out: Floats) -> None:
    """Fill (2n, w) from (n + 4, w): the samples before and after the middle of each pixel, along the first axis."""
    taps = [padded[k : k + len(out) // 2] for k in range(5)]
    for start, (far, near, first) in enumerate(((3, 1, 0), (1, 3, 4))):
        sums = -0.0703125 * taps[far]
        sums += 0.2265625 * taps[near]
        sums += 0.8671875 * taps[2]
        sums -= 0.0234375 * taps[first]
        out[start::2] = sums
