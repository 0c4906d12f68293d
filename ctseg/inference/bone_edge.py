"""How wide the edge of bone is: a smoothed scan, or one of coarse pixels, spreads bone over the brain beside it.

Without bone, how wide pixels are and how soft the rim of a stripped brain is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ctseg.io.volume import Volume

WIDEST_MM = 3.0
"""A phantom's edge has up to 1.7 mm, a tilted real head's 2.1. Two pixels of 1.5 mm, as the default model has, are the
finest that a network tells apart; in a real head smoothed beyond this it takes bone for blood."""
NETWORK_PIXELS = 2.0
"""The same for networks with wider pixels."""
COARSER = 1.1
SOFT_SHARE = 0.6
"""The real head and three phantoms have up to 0.3 where they were stripped, 0.5 after linear or nearest resampling
without a filter, 0.7 to 0.95 after smoothing or splines; the average of many stripped heads has 0.98."""
BONE_HU, BRAIN_HU = 400.0, 30.0
"""A line that meets no brighter bone is left out; and where the edge begins."""
REACH_MM = 15.0
"""The skull is looked for so far outside the brain."""
SLICES, MAIN_SHARE = 9, 0.5
"""So many slices are looked at, of those with this share of the largest brain area."""
FEWEST = 100
"""Fewer lines say nothing."""
Floats = NDArray[np.float32]


def smoothed_flags(volume: Volume, brain: NDArray[np.bool_], pixel_mm: float) -> list[str]:
    """One text where bone's edge is wider than a network with pixels of `pixel_mm` can bear; else none.

    Where no bone tells, there is one for pixels that are wider than the network's, and one for a soft rim.

    Args:
        volume: CT in HU.
        brain: (K, h, w) mask on the volume's own grid.
        pixel_mm: width of the network's pixels.
    """
    width, most = bone_edge_mm(volume, brain), max(WIDEST_MM, NETWORK_PIXELS * pixel_mm)
    if np.isnan(width):
        return [*_coarse_flags(max(volume.spacing_mm), pixel_mm), *_soft_flags(volume, brain)]
    if round(width, 1) <= most:
        return []
    return [f"edge of bone {width:.1f} mm wide (sharp scans up to {most:.1f}): bone may be taken for blood"]


def _coarse_flags(scan_mm: float, pixel_mm: float) -> list[str]:
    """One text where a scan's pixels are wider than the network's; a tenth is passed over."""
    if scan_mm <= COARSER * pixel_mm:
        return []
    return [f"pixels of {scan_mm:.2f} mm (the network's {pixel_mm:.2f}): the rim of the brain may be taken for blood"]


def _soft_flags(volume: Volume, brain: NDArray[np.bool_]) -> list[str]:
    """One text where the rim of a stripped brain fades into the background: it was resampled after it was stripped."""
    if not soft_share(volume, brain) > SOFT_SHARE:  # nor where it is not known
        return []
    return ["soft rim: resampled after the skull was removed, so bone may be taken for blood"]


def soft_share(volume: Volume, brain: NDArray[np.bool_]) -> float:
    """Share of the lines on which the brain's last pixel is nearer to the background than to the last but two.

    NaN where there is more than one value around the brain, so that it is not stripped.
    """
    ends = [lines[:, :4] for lines, _ in _lines(volume, brain) if lines.shape[1] > 3]
    inner, _, last, background = np.concatenate(ends).T if ends else np.empty((4, 0))
    if len(last) < FEWEST or np.ptp(background) >= 1:
        return float("nan")
    return float(np.mean(last - background < (inner - background) / 2))


def bone_edge_mm(volume: Volume, brain: NDArray[np.bool_]) -> float:
    """Median width of the skull's inner edge in mm: its HU above the brain, by the steepest rise in HU per mm.

    A Gaussian of standard deviation s makes an edge of 2.5 s. NaN where no bone is near the brain: in stripped scans
    and in such as were clipped to a window.
    """
    found = [width for lines, pixel_mm in _lines(volume, brain) for width in _widths(lines, pixel_mm)]
    return float(np.median(found)) if len(found) >= FEWEST else float("nan")


def _lines(volume: Volume, brain: NDArray[np.bool_]) -> Iterator[tuple[Floats, float]]:
    """(L, N) HU from the brain outwards along rows and columns, both ways, and the distance of two values in mm."""
    areas = brain.sum(axis=(1, 2))
    main = np.flatnonzero(areas >= MAIN_SHARE * areas.max())
    for k in main[np.unique(np.linspace(0, len(main) - 1, SLICES).astype(int))]:
        for across in (False, True):
            inside, hu = (brain[k].T, volume.voxels[k].T) if across else (brain[k], volume.voxels[k])
            pixel_mm = volume.spacing_mm[0 if across else 1]
            for step in (1, -1):
                yield _outwards(inside[:, ::step], hu[:, ::step], round(REACH_MM / pixel_mm)), pixel_mm


def _outwards(inside: NDArray[np.bool_], hu: Floats, count: int) -> Floats:
    """(L, N) the values from the last pixel of the brain on, in the middle half of the rows that have any.

    Bone lies about square to those rows; further out it is cut at a slant.
    """
    rows = np.flatnonzero(inside.any(axis=1))
    rows = rows[len(rows) // 4 : (3 * len(rows) + 3) // 4]
    last = inside.shape[1] - 1 - inside[rows][:, ::-1].argmax(axis=1)
    places = np.clip(last[:, None] + np.arange(-2, count), 0, inside.shape[1] - 1)
    return np.take_along_axis(hu[rows], places, axis=1)


def _widths(lines: Floats, pixel_mm: float) -> Floats:
    """(M,) mm for each of the lines (L, N) that meets bone."""
    top = lines.argmax(axis=1)
    peak = lines.max(axis=1, initial=-np.inf)
    rise = np.diff(lines, axis=1) / np.float32(pixel_mm)
    rise[np.arange(rise.shape[1]) >= top[:, None]] = 0
    steepest = rise.max(axis=1, initial=0)
    known = (peak > BONE_HU) & (steepest > 0)
    widths: Floats = (peak[known] - np.float32(BRAIN_HU)) / steepest[known]
    return widths
