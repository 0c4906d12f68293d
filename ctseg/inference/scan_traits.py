"""What a prepared scan is like, in numbers that hold no opinion on its lesion: size, HU, noise, completeness, motion.

They are computed from the slices that a network sees, so that a slice set and a scan to segment are measured alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BINS = 32
"""Of the grey values 0 to 255."""
MAIN_SHARE = 0.5
"""Grey values are taken from slices with at least this share of the scan's largest brain area: training sets hold
chosen slices, whole scans also hold skull base and vertex."""
BRIGHT_HU, DARK_HU = 35.0, 20.0
"""Above the brain's median lie blood, calcium and contrast medium; below it fluid, fat, air and old infarcts."""
THIN_PIXEL_MM, THIN_PX, EDGE_PX, BLEED_PX = 1.5, 5, 3, 2
"""Thin structures are looked for on pixels of 1.5 mm, whatever the model's are. Vessels and calcified specks are
thinner than 5 of them; nearer than 3 to the skull bone shines in; nearer than 2 to a bleed nothing is looked for."""
THIN_HU, THIN_NOISE = 12.0, 5.0
"""Thin structures are at least this much brighter than what is around them, in HU and in deviations of the noise."""
BLEED_HU = 10.0
"""What is this much above the brain's median and not thin is a bleed or bone."""
LAPLACIAN = np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=np.float32)
LAPLACIAN_GAIN = np.sqrt(20.0)
"""What the Laplacian does to the deviation of white noise."""
MAD_TO_SD = 1.4826
FEWEST_SLICES = 5
"""Completeness and motion are not asked of fewer slices."""
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class ScanTraits:
    """Numbers of one scan, and the histogram of its brain's grey values."""

    values: dict[str, float]
    """By the names of `TITLES`; NaN where the scan does not tell."""
    histogram: Floats
    """(32,) shares of the grey values, which sum to 1."""


TITLES = {
    "slice_step_mm": ("slice step", "mm", 1),
    "brain_cm2": ("largest brain area", "cm2", 0),
    "median_hu": ("median of the brain", "HU", 1),
    "spread_hu": ("spread of the brain (quartiles)", "HU", 1),
    "bright_share": ("brain far brighter than its median", "%", 1),
    "dark_share": ("brain far darker than its median", "%", 1),
    "noise_hu": ("noise", "HU", 1),
    "thin_share": ("thin bright structures in the brain", "%", 1),
    "top_share": ("brain in the highest slice", "% of the largest", 0),
    "base_share": ("brain in the lowest slice", "% of the largest", 0),
    "jitter_mm": ("sideways movement between slices", "mm", 1),
}
"""What a trait is called, its unit and decimals; shares are printed as percentages."""


def scan_traits(
    images: Bytes, brain_mm2: Floats, z_mm: Floats, index: NDArray[np.int64], *, pixel_mm: float,
    intensity: tuple[float, float],
) -> ScanTraits:  # fmt: skip
    """Measure one scan.

    Args:
        images: (K, H, W) from feet to head, 0 outside the brain.
        brain_mm2: (K,) area of the brain in each slice.
        z_mm: (K,) positions along the normal; NaN where they are not known.
        index: (K,) numbers of the slices within their scan; gaps are slices that were left out.
        pixel_mm: width of a pixel.
        intensity: (a, b) of uint8 = a * HU + b.
    """
    slope, offset = intensity
    main = images[brain_mm2 >= MAIN_SHARE * brain_mm2.max()]
    counts = np.bincount(main.ravel(), minlength=256).astype(np.float64)
    counts[0] = 0.0  # the background; brain at the window's lower end looks the same
    shares = counts / max(counts.sum(), 1.0)
    low, median, high = (float(np.searchsorted(np.cumsum(shares), share)) for share in (0.25, 0.5, 0.75))
    grey = np.arange(256)
    values = {
        "slice_step_mm": _step_mm(z_mm, index),
        "brain_cm2": float(brain_mm2.max()) / 100,
        "median_hu": (median - offset) / slope,
        "spread_hu": (high - low) / slope,
        "bright_share": float(shares[grey > median + BRIGHT_HU * slope].sum()),
        "dark_share": float(shares[grey < median - DARK_HU * slope].sum()),
        "noise_hu": (noise := _noise(main) / slope),
        "thin_share": _thin_share(main / np.float32(slope), median / slope, noise, pixel_mm),
        **_of_whole_scan(images, brain_mm2, index, pixel_mm),
    }
    return ScanTraits(values, shares.reshape(BINS, -1).sum(axis=1))


def _step_mm(z_mm: Floats, index: NDArray[np.int64]) -> float:
    if len(z_mm) < 2:
        return float("nan")
    return float(np.median(np.abs(np.diff(z_mm)) / np.maximum(np.diff(index), 1)))


def _noise(images: Bytes) -> float:
    """Deviation of what is finer than anatomy in the middle of the brain, in grey values (Immerkaer 1996, by MAD)."""
    found = []
    for image in images:
        inner = ndimage.binary_erosion(image > 0, iterations=3)
        if inner.any():
            rough = ndimage.convolve(image.astype(np.float32), LAPLACIAN)[inner]
            found.append(float(np.median(np.abs(rough - np.median(rough)))))
    return MAD_TO_SD * float(np.median(found)) / float(LAPLACIAN_GAIN) if found else float("nan")


def _thin_share(images: NDArray[np.float32], median: float, noise: float, pixel_mm: float) -> float:
    """Share of the inner brain that is thin and bright: blood in vessels with contrast medium, hardly without.

    A white top-hat: what a square of `THIN_PX` does not fit into. Bleeds stay out of it, with what is near them.

    Args:
        images: (K, H, W) HU, up to a constant, 0 outside the brain.
        median: of the brain.
        noise: its deviation, HU.
        pixel_mm: width of a pixel.
    """
    least, thin, total = max(THIN_HU, THIN_NOISE * noise if np.isfinite(noise) else 0.0), 0, 0
    for image in images:
        same = _at_pixel(image, pixel_mm)
        inner = ndimage.binary_erosion(ndimage.binary_fill_holes(same > 0), iterations=EDGE_PX)
        opened = ndimage.grey_opening(same, size=(THIN_PX, THIN_PX))
        bleed = ndimage.binary_dilation(opened > median + BLEED_HU, iterations=BLEED_PX)
        thin += int(np.count_nonzero(inner & ~bleed & (same - opened > least)))
        total += int(np.count_nonzero(inner))
    return thin / total if total else float("nan")


def _at_pixel(image: NDArray[np.float32], pixel_mm: float) -> NDArray[np.float32]:
    """(H, W) on pixels of `THIN_PIXEL_MM`: finer ones are averaged, coarser ones interpolated."""
    share = pixel_mm / THIN_PIXEL_MM
    if abs(share - 1) < 0.05:
        return image
    sigma = 0.8 * np.sqrt(max(share**-2 - 1, 0.0))
    smooth = ndimage.gaussian_filter(image, sigma) if sigma else image
    return np.asarray(ndimage.zoom(smooth, share, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def _of_whole_scan(images: Bytes, brain_mm2: Floats, index: NDArray[np.int64], pixel_mm: float) -> dict[str, float]:
    """How much brain the ends hold, and how far slices lie beside the line through their neighbours.

    Sideways only: front to back, tilted and paired slices of a still head jump, too (5 mm in a real GE series).
    """
    whole = len(images) >= FEWEST_SLICES and bool((np.diff(index) == 1).all())
    if not whole:
        return dict.fromkeys(("top_share", "base_share", "jitter_mm"), float("nan"))
    areas = brain_mm2 / max(float(brain_mm2.max()), 1e-6)
    large = np.flatnonzero(areas >= MAIN_SHARE)
    centres = np.array([ndimage.center_of_mass(images[k] > 0)[1] for k in range(large[0], large[-1] + 1)])
    bend = np.abs(centres[:-2] - 2 * centres[1:-1] + centres[2:])
    jitter = float(np.median(bend)) * pixel_mm if len(bend) else float("nan")
    return {"top_share": float(areas[-1]), "base_share": float(areas[0]), "jitter_mm": jitter}
