"""Are these numbers HU? Air, water and soft tissue must lie where physics puts them; two known faults are corrected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.intercept import AIR_HU, BRAIN_HU, NEAR_HU, has_lost_intercept, lost_intercept
from ctseg.io.volume import Volume

WRAP = 4096
WRAPPED_AIR = (WRAP - 1100, WRAP - 900)
"""Where air lies when signed 12-bit values were written as unsigned ones."""
WRAP_FROM = 3000
"""Values from here are wrapped negatives; the published correction keeps HU up to 3095 the same way."""
WRAPPED_16_BIT = (60_000.0, 65_536.0)
"""Where negative values lie when signed 16-bit values were written as unsigned ones."""
NARROW_HU = 40.0
"""Voxels that span less than this are scaled values (0 to 1, z-scores), not HU: brain and CSF alone span more."""
TISSUE = (0.0, 60.0)
"""Water to clotted blood and cortex: where head tissue peaks."""
TISSUE_MARGIN = 50.0
"""A peak this far outside `TISSUE` is no HU scale; nearer ones are said."""
TISSUE_MARGIN_NO_AIR = 10.0
"""The same where there is no air to confirm the scale."""
FAT_HU = (-130.0, -60.0)
"""Where fat peaks: the most of a slice through scalp, orbit or neck."""
FAT_AIR_HU = 60.0
"""Air this near to -1000 confirms the scale of a scan that is mostly fat."""
BRAIN_FROM = 16.0
"""Below this the brain's peak is said: intercepts of -1000 and -1024 taken for each other make 24 HU."""
AIR_BELOW = -300.0
AIR_PEAK = (-1100.0, -850.0)
NO_SHARE = 1e-4
"""Faulty scans hold nothing between padding and -100; this leaves room for a few odd pixels."""
ENOUGH = 0.005
"""Share of the voxels that makes a peak count."""
BACKGROUND = 0.1
"""One single value that fills more than this share is background or clipping, not tissue."""
COARSE_HU = 2.5
"""Steps between two values that are too coarse to tell brain from blood. There, one value can be much of the tissue."""
RISES = 5.0
"""A value with so many times the voxels of the values beside it is background all the same."""
MAX_VOXELS = 2_000_000
BONE_HU, MOST_BONE = 500.0, 0.5
"""No scan of a head is half bone."""
SOFT_HU = (0.0, 100.0)
"""Where brain and blood lie."""
PADDING_HU = -1024.0
"""The lowest value that CT keeps; faulty scans hold nothing between it and -100."""
LARGEST = 1e30
"""Values beyond this are as good as infinite: no sum of two overflows."""
MOST_BINS = 1_000_000
"""Values of a broken file can lie so far apart that a histogram would not fit in memory."""


@dataclass(frozen=True)
class Histogram:
    """A sample of the voxels by its distinct values, so that no question about it goes through the voxels again."""

    values: NDArray[np.float32]
    """(D,) distinct values, ascending."""
    counts: NDArray[np.int64]
    """(D,) how many voxels have each."""

    @classmethod
    def of(cls, sample: NDArray[np.float32]) -> Histogram:
        """Of some voxels; whole numbers, as nearly all scans hold, are counted without sorting them.

        What is not finite is left out: a slope that no scanner writes makes such values.
        """
        sample = np.ascontiguousarray(sample)
        low, high = (float(sample.min()), float(sample.max())) if len(sample) else (0.0, 0.0)
        if not np.isfinite(high - low):
            return cls.of(sample[np.isfinite(sample) & (np.abs(sample) < LARGEST)])
        if -MOST_BINS < low <= high < MOST_BINS:
            whole = sample.astype(np.int32)
            if (whole == sample).all():
                counts = np.bincount(whole - np.int32(low))
                there = np.flatnonzero(counts)
                return cls((there + int(low)).astype(np.float32), counts[there])
        return cls(*np.unique(sample, return_counts=True))

    @cached_property
    def before(self) -> NDArray[np.int64]:
        """(D + 1,) how many voxels have a lower value than each, then all."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def share(self, low: float, high: float) -> float:
        """Share of the voxels in [low, high)."""
        inside = self._span(low, high)
        total = int(self.before[-1])
        return int(self.before[inside.stop] - self.before[inside.start]) / total if total else float("nan")

    def peak(self, low: float, high: float, width: float = 4.0) -> float | None:
        """Centre of the highest bin in [low, high), smoothed over three bins; None where too few voxels lie there.

        Single values that fill much of the scan (background, clipping) are left out.
        """
        inside, total = self._span(low, high), int(self.before[-1])
        kept = ~self._alone[inside]
        values, counts = self.values[inside][kept], self.counts[inside][kept]
        if counts.sum() < ENOUGH * total or counts.sum() < 2:
            return None
        bins = min(max(int((high - low) / width), 1), MOST_BINS)
        found, edges = np.histogram(values, bins=bins, range=(low, high), weights=counts)
        best = int(np.argmax(np.convolve(found, np.ones(3), mode="same")))
        return float(edges[best] + edges[best + 1]) / 2

    @cached_property
    def _alone(self) -> NDArray[np.bool_]:
        """(D,) which values fill much of the scan by themselves."""
        counts, steps = np.pad(self.counts, 1), np.pad(np.diff(self.values), 1, constant_values=np.inf)
        is_spread = (np.minimum(steps[:-1], steps[1:]) >= COARSE_HU) & (
            self.counts <= RISES * np.maximum(counts[:-2], counts[2:])
        )
        return (self.counts > BACKGROUND * int(self.before[-1])) & ~is_spread

    def flat(self, low: float, high: float) -> float | None:
        """The value in [low, high) that fills much of the scan; None where none does."""
        inside = self._span(low, high)
        if inside.stop == inside.start:
            return None
        best = inside.start + int(np.argmax(self.counts[inside]))
        return float(self.values[best]) if self.counts[best] > BACKGROUND * int(self.before[-1]) else None

    def median(self, above: float, below: float) -> float | None:
        """Median of the voxels between two values, both left out; None where there is none."""
        span = self._span(above, below, "right")
        first, last = int(self.before[span.start]), int(self.before[span.stop])
        if last <= first:
            return None
        middle = np.searchsorted(self.before, [(first + last - 1) // 2, (first + last) // 2], "right") - 1
        return float(self.values[middle].mean())

    def percentiles(self, *percents: float) -> tuple[float, ...]:
        """As `numpy.percentile` has them."""
        return tuple(float(value) for value in np.percentile(np.repeat(self.values, self.counts), percents))

    def _span(self, low: float, high: float, side: Literal["left", "right"] = "left") -> slice:
        """Where the values from `low` (behind it with side 'right') to below `high` are."""
        first, last = np.searchsorted(self.values, low, side), np.searchsorted(self.values, high)
        return slice(int(first), max(int(first), int(last)))


def check_hu(volume: Volume) -> Volume:
    """A CT volume whose values are HU, with notes on what was found and corrected.

    Corrected are two faults known from public head CT: negative values that were wrapped by 4096 (RSNA 2019, as in
    Jeremy Howard's `fix_pxrepr`: add 1000, take 4096 off what reaches it, intercept -1000), and a lost intercept
    (`ctseg.io.intercept`).

    Raises:
        CaseError: if soft tissue does not lie near 0 to 60, so the values are no HU, or a fault cannot be corrected.
    """
    histogram = Histogram.of(_sample(volume.voxels))
    voxels, note = _correct(volume.voxels, histogram, volume.case_id)
    notes = [note] if note else []
    histogram = Histogram.of(_sample(voxels)) if note else histogram
    notes += [*_check(histogram, volume.case_id), *_about_steps(histogram)]
    return replace(volume, voxels=voxels, notes=(*volume.notes, *notes))


def _sample(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    step = max(voxels.size // MAX_VOXELS, 1)
    return voxels.ravel()[::step]


def _correct(voxels: NDArray[np.float32], histogram: Histogram, case_id: str) -> tuple[NDArray[np.float32], str]:
    """The voxels in HU where a known fault explains them, and a note on it.

    Raises:
        CaseError: if a fault is found but not what to add.
    """
    if histogram.share(*WRAPPED_16_BIT) > ENOUGH:
        raise CaseError(
            f"{case_id}: not HU: negative values are wrapped by 65536 (signed values written as unsigned ones); "
            "convert the scan again"
        )
    if histogram.share(PADDING_HU + 1, -100) > NO_SHARE:
        return voxels, ""
    if histogram.share(*WRAPPED_AIR) > ENOUGH and _tissue_peaks_at(histogram, *TISSUE):
        return _unwrap(voxels), "negative values were wrapped by 4096 (a known fault of RSNA scans); corrected"
    if has_lost_intercept(voxels):
        intercept = lost_intercept(_sample(voxels), case_id)
        note = f"the intercept of {intercept:.0f} is missing from the header; corrected"
        return np.maximum(voxels + np.float32(intercept), np.float32(PADDING_HU)), note
    return voxels, ""


def _tissue_peaks_at(histogram: Histogram, low: float, high: float) -> bool:
    """Whether the range holds a peak: clearly more voxels than the same width to its left."""
    width = high - low
    return histogram.share(low, high) > max(ENOUGH, 1.5 * histogram.share(low - 2 * width, low - width))


def _unwrap(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the wrap off; the flat value outside the field of view (-2000 wrapped to 2096) becomes air."""
    outside = voxels == WRAP - 2000
    unwrapped = np.where(voxels >= WRAP_FROM, voxels - WRAP, voxels)
    if outside.mean() > 0.02:
        unwrapped[outside] = PADDING_HU
    return np.maximum(unwrapped, np.float32(PADDING_HU)).astype(np.float32)


def _check(histogram: Histogram, case_id: str) -> list[str]:
    """What to say about plausible values.

    Raises:
        CaseError: if they are not plausible.
    """
    values = histogram.values
    if len(values) < 2:
        return ["all voxels have the same value"]
    if _is_narrow(histogram):
        raise CaseError(
            f"{case_id}: not HU: values from {values[0]:g} to {values[-1]:g}, so scaled; give the scan in HU"
        )
    air = histogram.share(-np.inf, AIR_BELOW) > ENOUGH
    if air and _is_fat(histogram):
        return [*_about_air(histogram, air), f"mostly fat: soft tissue peaks at {histogram.peak(-200, 200):.0f} HU"]
    if histogram.share(BONE_HU, np.inf) > MOST_BONE:
        raise CaseError(f"{case_id}: not HU: most values are those of bone; are they inverted? give the scan in HU")
    tissue = histogram.peak(-200, 200) if air else histogram.peak(float(values[0]), float(values[-1]))
    about_air = _about_air(histogram, air)
    if tissue is None and air and about_air:
        raise CaseError(
            f"{case_id}: not HU: values from {values[0]:g} to {values[-1]:g}, no air near -1000 and hardly any soft "
            "tissue; give the scan in HU"
        )
    return about_air + _about_tissue(tissue, air, case_id, values)


def _about_steps(histogram: Histogram) -> list[str]:
    """A note where brain and blood have few values between them: eight bits for all HU, a slope of many HU."""
    values = histogram.values[(histogram.values >= SOFT_HU[0]) & (histogram.values <= SOFT_HU[1])]
    step = float(np.diff(values).min()) if len(values) > 1 else 0.0
    return [f"HU come in steps of {step:.3g}: faint blood may look like brain"] if step > COARSE_HU else []


def _is_fat(histogram: Histogram) -> bool:
    """Whether the highest peak is that of fat, and air lies where it does when that is so."""
    peak, air = histogram.peak(-200, 200), histogram.median(-1200, AIR_BELOW)
    if peak is None or not FAT_HU[0] <= peak <= FAT_HU[1] or air is None:
        return False
    return abs(air + 1000) <= FAT_AIR_HU


def _is_narrow(histogram: Histogram) -> bool:
    """Whether nearly all voxels span less than `NARROW_HU`; where there is air and tissue no sorting is needed."""
    if min(histogram.share(-np.inf, AIR_BELOW), histogram.share(AIR_BELOW + NARROW_HU, np.inf)) > ENOUGH:
        return False
    low, high = histogram.percentiles(0.1, 99.9)
    return high - low < NARROW_HU


def _about_air(histogram: Histogram, air: bool) -> list[str]:
    if not air:
        low, high = float(histogram.values[0]), float(histogram.values[-1])
        return [f"no air: values from {low:g} to {high:g}, so clipped, windowed or skull-stripped"]
    peak = histogram.flat(AIR_HU, AIR_PEAK[1]) or histogram.peak(*AIR_PEAK, 2.0)
    if peak is not None and abs(peak - AIR_HU) > NEAR_HU:
        return [f"air peaks at {peak:.0f} HU, not at -1000: HU may be {abs(peak - AIR_HU):.0f} too {_way(peak)}"]
    middle = histogram.median(-np.inf, AIR_BELOW)
    if middle is not None and not AIR_PEAK[0] <= middle <= AIR_PEAK[1]:
        return [f"air lies at {middle:.0f} HU, not near -1000"]
    return []


def _way(peak: float) -> str:
    return "high" if peak > AIR_HU else "low"


def _about_tissue(tissue: float | None, air: bool, case_id: str, values: NDArray[np.float32]) -> list[str]:
    if tissue is None:
        return ["hardly any soft tissue"]
    margin = TISSUE_MARGIN if air else TISSUE_MARGIN_NO_AIR
    if not TISSUE[0] - margin <= tissue <= TISSUE[1] + margin:
        raise CaseError(
            f"{case_id}: not HU: values from {values[0]:g} to {values[-1]:g}, tissue peaks at {tissue:.0f} where "
            f"CT has 0 to 60{'' if air else ', and there is no air'}; is it MR? give the scan in HU"
        )
    if not TISSUE[0] <= tissue <= TISSUE[1]:
        return [f"soft tissue peaks at {tissue:.0f} HU, not at 0 to 60"]
    if tissue < BRAIN_FROM:
        return [
            f"soft tissue peaks at {tissue:.0f} HU, where brain has {BRAIN_HU[0]:.0f} or more: are these HU too low?"
        ]
    return []
