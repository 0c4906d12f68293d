"""A profile of a model's training scans, kept in its header, and out-of-distribution flags for a scan to segment.

A flag, not a test: it says in which plain respect a scan lies outside what the model has seen, never that a mask is
right or wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.io.slices import SliceSet, intensity_of
from ctseg.preprocess.prepared import Prepared

MOST_SCANS = 200
"""Scans a profile is made of, spread evenly over the set: enough for its ranges, and seconds even for 20,000."""
FEWEST_SCANS = 5
"""A range over fewer scans says nothing."""
BINS = 32
"""Of the grey values 0 to 255."""
MAIN_SHARE = 0.5
"""Grey values are taken from slices with at least this share of the scan's largest brain area: training sets hold
chosen slices, whole scans also hold skull base and vertex."""
ENDS = (0.005, 0.995)
"""Quantiles of the training scans that are a range's ends: with under 200 scans the smallest and the largest."""
CUT_SHARE = 0.02
"""Of the brain's volume, beyond the model's field of view."""
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
LABELS = {
    "slice_step_mm": ("slice step", "mm", 1),
    "brain_cm2": ("largest brain area", "cm2", 0),
    "median_hu": ("median of the brain", "HU", 1),
}
"""What a range is called, its unit and decimals."""
MARGINS = {"slice_step_mm": (0.1, 0.0), "brain_cm2": (0.1, 0.0), "median_hu": (0.0, 2.0)}
"""How far beyond a range's ends a scan may lie: as a share of the end, and in its unit."""
DISTANCE_MARGIN = 0.25
"""How much farther than the farthest training scan a histogram may lie from the training scans' mean."""


def training_profile(slices: SliceSet) -> dict[str, Any]:
    """The ranges of a CT slice set's scans, for the header of a model trained on it; empty for under five scans.

    Ranges (`ENDS`) over scans of: slice step (mm), largest brain area (cm2), median HU of the brain; the mean histogram
    of the brain's grey values, and how far in HU the scans' own histograms lie from it (first Wasserstein distance).
    """
    scans = [_of_rows(slices, rows, *intensity_of(slices, rows)) for rows in _groups(slices.table)]
    if len(scans) < FEWEST_SCANS:
        return {}
    mean = np.mean([scan["histogram"] for scan in scans], axis=0)
    hu_per_bin = 256 / BINS / intensity_of(slices, np.arange(1))[0]
    distances = [distance_hu(scan["histogram"], mean, hu_per_bin) for scan in scans]
    return {
        "scans": len(scans),
        "ranges": {name: _ends([scan[name] for scan in scans]) for name in LABELS},
        "histogram": [round(float(share), 6) for share in mean],
        "hu_per_bin": hu_per_bin,
        "histogram_hu": _ends(distances),
    }


def ood_flags(profile: Mapping[str, Any], prepared: Prepared, z_mm: Floats, pixel_mm: float) -> list[str]:
    """In which respects a prepared scan lies outside the training scans; empty where there is nothing to say.

    Args:
        profile: of `training_profile`; with an empty one only the model's field of view is looked at.
        prepared: the scan's slices, made by the model's own preprocessing settings.
        z_mm: (K,) slice positions along the normal.
        pixel_mm: width of a model pixel.

    Returns:
        Short texts such as 'slice step 1.0 mm (training 2.5 to 5.0)'.
    """
    found = _cut_off(prepared)
    if not profile:
        return found
    scan = _describe(prepared.images, prepared.brain.sum(axis=(1, 2)) * pixel_mm**2, z_mm, *prepared.intensity)
    for name, (low, high) in profile["ranges"].items():
        if name in LABELS and low is not None and _outside(name, scan[name], low, high):
            title, unit, digits = LABELS[name]
            found.append(f"{title} {scan[name]:.{digits}f} {unit} (training {low:.{digits}f} to {high:.{digits}f})")
    farthest = profile["histogram_hu"][1]
    distance = distance_hu(scan["histogram"], np.array(profile["histogram"]), profile["hu_per_bin"])
    if farthest is not None and distance > farthest * (1 + DISTANCE_MARGIN):
        found.append(f"HU histogram {distance:.1f} HU from the training mean (training up to {farthest:.1f})")
    return found


def distance_hu(one: Floats, other: Floats, hu_per_bin: float) -> float:
    """First Wasserstein distance of two histograms that sum to 1: the mean distance in HU between them."""
    return float(np.abs(np.cumsum(one - other)).sum() * hu_per_bin)


def _describe(images: Bytes, brain_mm2: Floats, z_mm: Floats, slope: float, offset: float) -> dict[str, Any]:
    """Slice step, largest brain area, median HU and histogram of one scan's (K, H, W) slices."""
    main = images[brain_mm2 >= MAIN_SHARE * brain_mm2.max()]
    counts = np.bincount(main.ravel(), minlength=256).astype(np.float64)
    counts[0] = 0.0  # the background; brain at the window's lower end looks the same
    total = max(counts.sum(), 1.0)
    median = int(np.searchsorted(np.cumsum(counts), total / 2))
    return {
        "slice_step_mm": float(np.median(np.abs(np.diff(z_mm)))) if len(z_mm) > 1 else float("nan"),
        "brain_cm2": float(brain_mm2.max()) / 100,
        "median_hu": (median - offset) / slope,
        "histogram": counts.reshape(BINS, -1).sum(axis=1) / total,
    }


def _groups(table: pd.DataFrame) -> list[NDArray[np.int64]]:
    """Array rows of up to `MOST_SCANS` scans, each from feet to head."""
    rows = table.assign(row=np.arange(len(table))).sort_values("index", kind="stable")
    groups = [group["row"].to_numpy(np.int64) for _, group in rows.groupby("series_id", sort=True)]
    chosen = np.unique(np.linspace(0, len(groups) - 1, min(MOST_SCANS, len(groups))).round().astype(int))
    return [groups[place] for place in chosen]


def _of_rows(slices: SliceSet, rows: NDArray[np.int64], slope: float, offset: float) -> dict[str, Any]:
    table = slices.table.iloc[rows]
    pixel_mm2 = table["spacing_row_mm"].astype(float) * table["spacing_col_mm"].astype(float)
    areas = np.asarray(table["brain_px"].astype(float) * pixel_mm2, dtype=np.float64)
    z_mm = np.asarray(pd.to_numeric(table["z_mm"], errors="coerce"), dtype=np.float64)
    scan = _describe(slices.images[rows], areas, z_mm, slope, offset)
    gaps = np.maximum(np.diff(table["index"].to_numpy(np.float64)), 1)  # slices in between may have been left out
    scan["slice_step_mm"] = float(np.median(np.abs(np.diff(z_mm)) / gaps)) if len(rows) > 1 else float("nan")
    return scan


def _ends(values: list[float]) -> list[float | None]:
    """Low and high end; None where too few scans have a value (of single slices no step is known)."""
    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) < FEWEST_SCANS:
        return [None, None]
    low, high = np.quantile(known, ENDS[0], method="lower"), np.quantile(known, ENDS[1], method="higher")
    return [round(float(low), 3), round(float(high), 3)]


def _outside(name: str, value: float, low: float, high: float) -> bool:
    share, unit = MARGINS[name]
    return value < low * (1 - share) - unit or value > high * (1 + share) + unit


def _cut_off(prepared: Prepared) -> list[str]:
    """The share of the brain that the model cannot see because it lies beyond its field of view."""
    brain, frame = prepared.native_brain, prepared.frame
    rows = _within(frame.native[0], frame.size[0], frame.row_start, frame.row_step)
    cols = _within(frame.native[1], frame.size[1], frame.col_start, frame.col_step)
    seen, total = int(np.count_nonzero(brain[:, rows][:, :, cols])), int(np.count_nonzero(brain))
    share = 1 - seen / max(total, 1)
    return [f"{share:.0%} of the brain beyond the model's field of view"] if share > CUT_SHARE else []


def _within(native: int, size: int, start: float, step: float) -> NDArray[np.bool_]:
    """Which native rows or columns lie on model pixels."""
    place = (np.arange(native) - start) / step
    return (place >= -0.5) & (place <= size - 0.5)
