"""MR signal of every tissue in the four BraTS modalities, from relaxation times, and what the receiver adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ctseg.phantom.fields import Floats, f32, grid_points, noise

RELAXATION_MS: dict[str, tuple[float, float, float]] = {
    "grey": (0.82, 1350.0, 95.0),
    "white": (0.70, 850.0, 76.0),
    "fluid": (1.00, 4200.0, 1900.0),
    "oedema": (0.84, 1550.0, 150.0),
    "necrosis": (0.95, 2900.0, 380.0),
    "tumour": (0.86, 1750.0, 160.0),
    "rim": (0.82, 1500.0, 115.0),
    "disease": (0.78, 1300.0, 125.0),
}
"""(proton density, T1, T2) at 3 T: normal tissue (Wansapura et al., JMRI 1999; Stanisz et al., MRM 2005), glioma and
oedema (Hattingen et al., 2013; Badve et al., AJNR 2017), white matter disease (Papadaki et al., 2019)."""
ENHANCED_T1_MS = 480.0
"""T1 of the enhancing rim after gadolinium (Kleesiek et al., 2019: relaxivity 4 /mM/s at about 0.4 mM)."""
SEQUENCES: dict[str, tuple[float, float, float]] = {
    "FLAIR": (9000.0, 2450.0, 110.0),
    "T1w": (650.0, 0.0, 10.0),
    "t1gd": (650.0, 0.0, 10.0),
    "T2w": (4500.0, 0.0, 95.0),
}
"""TR, TI, TE in ms of routine brain protocols at 3 T (BraTS sites: Menze et al., IEEE TMI 2015); the order is MSD's."""
BIAS = 0.12
"""Half range of the receive field: 10-40 % in all at 3 T (Sled et al., IEEE TMI 1998; BrainWeb uses 20 and 40 %)."""
NOISE = (0.025, 0.055)
"""Rician SD against white matter signal before averaging through the slice (BrainWeb's 3-5 % levels)."""
TEXTURE = 0.025
"""SD of the slow variation of tissue signal: T2 differs by 2-4 % between regions of a tissue (Wansapura 1999)."""
SCALE = (350.0, 900.0)
"""Scanner units of white matter; BraTS volumes range from about 100 to 2000."""


@dataclass(frozen=True)
class MrTissue:
    """Fractions of each tissue on the MR grid, each (Z, Y, X); they sum to one inside the brain."""

    fractions: dict[str, Floats]
    inside: Floats
    """Brain mask 0/1."""
    texture: Floats
    """Relative signal, around 1: the same regions differ in every modality."""


def signal(sequence: str, tissue: str) -> float:
    """Spin-echo signal of a tissue, with inversion where the sequence has one (standard steady-state equations)."""
    density, t1, t2 = RELAXATION_MS[tissue]
    if sequence == "t1gd" and tissue == "rim":
        t1 = ENHANCED_T1_MS
    tr, ti, te = SEQUENCES[sequence]
    recovered = 1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1) if ti else 1 - np.exp(-tr / t1)
    return float(density * abs(recovered) * np.exp(-te / t2))


def acquire(rng: np.random.Generator, sequence: str, tissue: MrTissue, voxel_mm: float) -> Floats:
    """One modality (Z, Y, X) in scanner units, 0 outside the brain.

    Two-dimensional acquisitions of 3-5 mm are as common in BraTS as three-dimensional ones: most volumes are blurred
    along the slices and were resampled to 1 mm afterwards.
    """
    image = np.zeros_like(tissue.inside)
    unit = signal(sequence, "white")
    for name, fraction in tissue.fractions.items():
        image += fraction * f32(signal(sequence, name) / unit * (1 + rng.normal(0, 0.025)))
    thick = rng.choice([1.0, 3.0, 5.0], p=[0.35, 0.3, 0.35]) / voxel_mm
    through = max(round(float(thick)), 1)
    spread = float(rng.uniform(*NOISE))
    image *= tissue.texture
    image = _rician(rng, ndimage.uniform_filter1d(image, through, axis=0) if through > 1 else image, spread)
    if through > 1:
        image = _resampled(image, through)
    image = ndimage.gaussian_filter(image, (0, 0.4 / voxel_mm, 0.4 / voxel_mm)) * _bias(rng, image.shape, voxel_mm)
    scaled: Floats = image * tissue.inside * f32(rng.uniform(*SCALE))
    return scaled


def _rician(rng: np.random.Generator, image: Floats, spread: float) -> Floats:
    """Magnitude of the signal with complex Gaussian noise (Gudbjartsson & Patz, MRM 1995)."""
    real = image + f32(spread) * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = f32(spread) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.sqrt(real * real + imaginary * imaginary)


def _resampled(image: Floats, factor: int) -> Floats:
    """Slices every `factor` voxels, linearly interpolated back, as registration to 1 mm does."""
    place = np.arange(len(image)) / factor
    low = np.minimum(place.astype(int), (len(image) - 1) // factor)
    high = np.minimum((low + 1) * factor, len(image) - 1)
    share = np.clip(place - low, 0, 1).astype(np.float32)[:, None, None]
    rows: Floats = image[low * factor] * (1 - share) + image[high] * share
    return rows


def texture(rng: np.random.Generator, shape: tuple[int, ...], voxel_mm: float) -> Floats:
    """Slow variation of tissue signal (Z, Y, X), around 1."""
    return (1 + TEXTURE * _smooth(rng, shape, voxel_mm, 6.0)).astype(np.float32)


def _bias(rng: np.random.Generator, shape: tuple[int, ...], voxel_mm: float) -> Floats:
    """Smooth multiplicative receive field."""
    return np.exp(BIAS * np.clip(_smooth(rng, shape, voxel_mm, 90.0), -2, 2)).astype(np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], voxel_mm: float, scale_mm: float) -> Floats:
    """Random field (Z, Y, X) of unit variance on the voxels."""
    x, y, z = (float(n) * voxel_mm for n in shape[::-1])
    oversample = 4 if scale_mm > 50 else 2
    field = noise(rng, scale_mm, (-20.0, -20.0, -20.0), (x + 20, y + 20, z + 20), oversample=oversample)
    values: Floats = field.at(grid_points((0.0, 0.0, 0.0), voxel_mm, shape[::-1]))[0]
    return values
