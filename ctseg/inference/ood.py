"""A profile of a model's training scans, kept in its header, and out-of-distribution flags for a scan to segment.

A flag, not a test: it says in which plain respect a scan lies outside what the model has seen, never that a mask is
right or wrong. The margins around the training's ranges are what normal scans of other scanners may differ by, each
with its source, so that a profile of phantoms does not flag every real scan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import InputError
from ctseg.inference.scan_traits import BINS, TITLES, Floats, ScanTraits, scan_traits
from ctseg.io.slice_table import scan_numbers
from ctseg.io.slices import SliceSet, intensity_of
from ctseg.preprocess.prepared import Prepared

if TYPE_CHECKING:
    import pandas as pd

PROFILE = 2
"""Of a profile's form; one of another form says nothing but the field of view."""
MOST_SCANS = 200
"""Scans a profile is made of, spread evenly over the set: enough for its ranges, and seconds even for 20,000."""
FEWEST_SCANS = 5
"""A range over fewer scans says nothing."""
ENDS = (0.005, 0.995)
"""Quantiles of the training scans that are a range's ends: with under 200 scans the smallest and the largest."""
CUT_SHARE = 0.02
"""Of the brain's volume, beyond the model's field of view."""
MARGINS = {
    "slice_step_mm": (1.0, 1.5),  # the network sees single slices: the step matters through noise and partial volume
    "brain_cm2": (0.1, 0.0),
    "median_hu": (0.0, 4.0),  # water may lie 5 HU off (ACR CT accreditation), brains vary beside
    "spread_hu": (0.35, 1.0),
    "bright_share": (0.5, 0.02),
    "dark_share": (0.5, 0.05),
    "noise_hu": (0.5, 0.5),  # kernels and doses of routine heads differ by half (AAPM protocols)
    "thin_share": (0.2, 0.0),
    "top_share": (0.0, 0.15),
    "base_share": (0.0, 0.15),
    "jitter_mm": (0.5, 0.5),
}
"""How far beyond a range's ends a scan may lie: as a share of the end, and in its unit."""
UNENHANCED = {"thin_share": 0.030}
"""Largest value without contrast medium, of traits that no profile has: that of 96 of the default model's training
scans, phantoms with calcified spots and up to four bleeds (median 0.013). A real GE head has 0.015."""
WHOLE_HEADS = {"top_share": 0.219, "base_share": 0.496}
"""Largest values of whole heads: of the default model's 192 training scans. Training sets often hold chosen slices, all
with much brain, beside which every whole scan would look odd and a head that is cut off would not."""
DISTANCE_MARGIN = 0.5, 2.0
"""How much farther than the farthest training scan a histogram may lie from the training scans' mean: share and HU."""
HISTOGRAM = "histogram_hu"


def training_profile(slices: SliceSet) -> dict[str, Any]:
    """The ranges of a CT slice set's scans, for the header of a model trained on it; empty for under five scans.

    Ranges (`ENDS`) over scans of all traits; the mean histogram of the brain's grey values, and how far in HU the
    scans' own histograms lie from it (first Wasserstein distance).
    """
    scans = [_of_rows(slices, rows) for rows in _groups(slices.table)]
    if len(scans) < FEWEST_SCANS:
        return {}
    mean = np.mean([scan.histogram for scan in scans], axis=0)
    hu_per_bin = 256 / BINS / intensity_of(slices, np.arange(1))[0]
    distances = [distance_hu(scan.histogram, mean, hu_per_bin) for scan in scans]
    return {
        "form": PROFILE,
        "scans": len(scans),
        "ranges": {name: _ends([scan.values[name] for scan in scans]) for name in TITLES if name not in UNENHANCED},
        "histogram": [round(float(share), 6) for share in mean],
        "hu_per_bin": hu_per_bin,
        HISTOGRAM: _ends(distances),
    }


def check_profile(profile: Any) -> None:
    """Refuse a profile that `ood_flags` could not look at; an empty one is none.

    Raises:
        InputError: naming the part at fault.
    """
    if not profile:
        return
    if not isinstance(profile, Mapping):
        raise InputError(_BROKEN.format("all of it"))
    if profile.get("form") != PROFILE:
        return
    ranges, histogram = profile.get("ranges"), profile.get("histogram")
    sound = {
        "ranges": isinstance(ranges, Mapping) and all(map(_is_pair, ranges.values())),
        "histogram": isinstance(histogram, list) and len(histogram) == BINS and all(map(_is_number, histogram)),
        "hu_per_bin": _is_number(profile.get("hu_per_bin")),
        HISTOGRAM: _is_pair(profile.get(HISTOGRAM)),
    }
    wrong = [name for name, is_sound in sound.items() if not is_sound]
    if wrong:
        raise InputError(_BROKEN.format(wrong[0]))


_BROKEN = "the profile of training scans in the model's header is broken ({}); copy the model again, or train it again"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _is_pair(value: Any) -> bool:
    """Two ends of a range, or None twice."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return value == [None, None] or all(map(_is_number, value))


def ood_flags(profile: Mapping[str, Any], prepared: Prepared, z_mm: Floats, pixel_mm: float) -> list[str]:
    """In which respects a prepared scan lies outside the training scans; empty where there is nothing to say.

    Args:
        profile: of `training_profile`; with an empty one only the model's field of view is looked at.
        prepared: the scan's slices, made by the model's own preprocessing settings.
        z_mm: (K,) slice positions along the normal.
        pixel_mm: width of a model pixel.

    Returns:
        Short texts such as 'slice step 12.0 mm (training 2.5 to 5.0)'.
    """
    found = _cut_off(prepared)
    if profile.get("form") != PROFILE:
        return found
    traits = prepared_traits(prepared, z_mm, pixel_mm)
    scores = trait_scores(profile, traits)
    for name, (title, unit, digits) in TITLES.items():
        if scores.get(name, 0.0) > 1:
            factor = 100 if unit.startswith("%") else 1
            usual = _usual(profile, name, lambda number: f"{factor * number:.{digits}f}")  # noqa: B023 - used at once
            found.append(f"{title} {factor * traits.values[name]:.{digits}f} {unit} ({usual})")
    if scores.get(HISTOGRAM, 0.0) > 1:
        distance = _from_training(profile, traits)
        found.append(
            f"HU histogram {distance:.1f} HU from the training mean (training up to {profile[HISTOGRAM][1]:.1f})"
        )
    return found


def _usual(profile: Mapping[str, Any], name: str, printed: Callable[[float], str]) -> str:
    """What values of a trait are usual, and where."""
    if name in UNENHANCED:
        return f"without contrast medium up to {printed(UNENHANCED[name])}"
    low, high = _range(profile, name) or [0.0, 0.0]
    if [low, high] != profile["ranges"].get(name):
        return f"whole heads up to {printed(high)}"
    return f"training {printed(low)} to {printed(high)}"


def _range(profile: Mapping[str, Any], name: str) -> list[float] | None:
    """Both ends of a trait's range in the training; of those of `WHOLE_HEADS` no more than whole heads have.

    The latter have no lower end that a scan could lie below.
    """
    low, high = profile["ranges"].get(name) or (None, None)
    if name in WHOLE_HEADS:
        most = WHOLE_HEADS[name]
        return [min(low or 0.0, MARGINS[name][1]), min(high or most, most)]
    return None if low is None or high is None else [low, high]


def prepared_traits(prepared: Prepared, z_mm: Floats, pixel_mm: float) -> ScanTraits:
    """The traits of a prepared scan, without the slices below and above its brain."""
    areas = np.count_nonzero(prepared.brain, axis=(1, 2)) * pixel_mm**2
    kept = np.flatnonzero(areas)
    part = slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) else slice(None)
    return scan_traits(
        prepared.images[part], areas[part], z_mm[part], np.arange(len(areas))[part],
        pixel_mm=pixel_mm, intensity=prepared.intensity,
    )  # fmt: skip


def trait_scores(profile: Mapping[str, Any], traits: ScanTraits) -> dict[str, float]:
    """How far each trait lies from the middle of its range, in units of half the range with its margin.

    Those of `UNENHANCED` have an upper end alone, and are given in units of it. A scan is flagged above 1. Traits that
    either side does not know are left out.
    """
    scores = {}
    for name, (share, unit) in MARGINS.items():
        value = traits.values[name]
        if name in UNENHANCED and np.isfinite(value):
            scores[name] = value / (UNENHANCED[name] * (1 + share) + unit)
        ends = None if name in UNENHANCED else _range(profile, name)
        if ends is None or not np.isfinite(value):
            continue
        low, high = ends[0] * (1 - share) - unit, ends[1] * (1 + share) + unit
        scores[name] = abs(value - (low + high) / 2) / ((high - low) / 2)
    farthest = profile[HISTOGRAM][1]
    if farthest is not None:
        share, unit = DISTANCE_MARGIN
        scores[HISTOGRAM] = _from_training(profile, traits) / (farthest * (1 + share) + unit)
    return scores


def _from_training(profile: Mapping[str, Any], traits: ScanTraits) -> float:
    """How far in HU a scan's histogram lies from the training scans' mean."""
    return distance_hu(traits.histogram, np.array(profile["histogram"]), profile["hu_per_bin"])


def distance_hu(one: Floats, other: Floats, hu_per_bin: float) -> float:
    """First Wasserstein distance of two histograms that sum to 1: the mean distance in HU between them."""
    return float(np.abs(np.cumsum(one - other)).sum() * hu_per_bin)


def _groups(table: pd.DataFrame) -> list[NDArray[np.int64]]:
    """Array rows of up to `MOST_SCANS` scans, each from feet to head."""
    rows = table.assign(row=np.arange(len(table)), scan=scan_numbers(table)).sort_values("index", kind="stable")
    groups = [group["row"].to_numpy(np.int64) for _, group in rows.groupby(["series_id", "scan"], sort=True)]
    chosen = np.unique(np.linspace(0, len(groups) - 1, min(MOST_SCANS, len(groups))).round().astype(int))
    return [groups[place] for place in chosen]


def _of_rows(slices: SliceSet, rows: NDArray[np.int64]) -> ScanTraits:
    import pandas as pd

    table = slices.table.iloc[rows]
    spacing = table[["spacing_row_mm", "spacing_col_mm"]].astype(float)
    areas = np.asarray(table["brain_px"].astype(float) * spacing.prod(axis=1), dtype=np.float64)
    z_mm = np.asarray(pd.to_numeric(table["z_mm"], errors="coerce"), dtype=np.float64)
    return scan_traits(
        np.asarray(slices.images[rows]), areas, z_mm, table["index"].to_numpy(np.int64),
        pixel_mm=float(spacing.iloc[0].mean()), intensity=intensity_of(slices, rows),
    )  # fmt: skip


def _ends(values: list[float]) -> list[float | None]:
    """Low and high end; None where too few scans have a value (of single slices no step is known)."""
    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) < FEWEST_SCANS:
        return [None, None]
    low, high = np.quantile(known, ENDS[0], method="lower"), np.quantile(known, ENDS[1], method="higher")
    return [round(float(low), 3), round(float(high), 3)]


def _cut_off(prepared: Prepared) -> list[str]:
    """The share of the brain that the model cannot see because it lies beyond its field of view."""
    brain, frame = prepared.native_brain, prepared.frame
    rows = _within(frame.native[0], frame.size[0], frame.row_start, frame.row_step)
    cols = _within(frame.native[1], frame.size[1], frame.col_start, frame.col_step)
    seen, total = int(np.count_nonzero(brain[:, rows, cols])), int(np.count_nonzero(brain))
    share = 1 - seen / max(total, 1)
    return [f"{share:.0%} of the brain beyond the model's field of view"] if share > CUT_SHARE else []


def _within(native: int, size: int, start: float, step: float) -> slice:
    """The native rows or columns that lie on model pixels."""
    place = (np.arange(native) - start) / step
    on = np.flatnonzero((place >= -0.5) & (place <= size - 0.5))
    return slice(int(on[0]), int(on[-1]) + 1) if len(on) else slice(0)
