"""What the brain network sees of a scan: pixels of 2 mm, two windows, the slices about 6 mm below and above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.io.volume import Volume
from ctseg.preprocess.frame import Frame

PIXEL_MM = 2.0
LOW_HU, HIGH_HU = -200.0, 450.0
"""HU are clipped to this range before pixels are averaged: a voxel of bone must not outweigh all brain beside it."""
SOFT_HU, WIDE_HU = (0.0, 80.0), (-200.0, 400.0)
"""The two windows, each 0..1."""
BESIDE_MM = 6.0
"""Distance of the two further slices that a slice is shown with."""
CHUNK = 16
"""Groups that are averaged at once."""
GROUP_MM = 2.5
"""Slices nearer to each other than this are averaged in groups of at most this height: thin slices are noisy."""


@dataclass(frozen=True)
class BrainSlices:
    """A scan as the network takes it."""

    hu: NDArray[np.float32]
    """(G, H, W) HU, clipped and averaged."""
    z_mm: NDArray[np.float64]
    """(G,) where each of them lies."""
    frame: Frame
    """From the scan's pixels to these."""

    def images(self, number: int) -> NDArray[np.float32]:
        """(IMAGES, H, W) what the network is shown of slice `number`."""
        return windows(self.beside(number, BESIDE_MM))

    def beside(self, number: int, distance_mm: float) -> NDArray[np.float32]:
        """(3, H, W) HU of slice `number` and of what lies `distance_mm` below and above it."""
        places = self.z_mm[number] + np.array([-distance_mm, 0.0, distance_mm])
        return np.stack([self._at(number, place) for place in places])

    def _at(self, number: int, z_mm: float) -> NDArray[np.float32]:
        """The slice at a height, interpolated; the first and last slice go on without end."""
        if z_mm == self.z_mm[number] or len(self.hu) == 1:
            own: NDArray[np.float32] = self.hu[number]
            return own
        above = int(np.clip(np.searchsorted(self.z_mm, z_mm), 1, len(self.z_mm) - 1))
        low, high = self.z_mm[above - 1 : above + 1]
        share = np.float32(np.clip((z_mm - low) / (high - low), 0, 1))
        picture: NDArray[np.float32] = self.hu[above - 1] * (1 - share) + self.hu[above] * share
        return picture


def windows(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S, H, W) HU -> (2 S, H, W) in 0..1, air 0 in both windows."""
    return np.concatenate([np.clip((hu - low) / (high - low), 0, 1) for low, high in (SOFT_HU, WIDE_HU)])


def brain_slices(volume: Volume) -> BrainSlices:
    """Average a scan's slices and pixels."""
    starts = _groups(volume.z_mm)
    counts = np.diff([*starts, len(volume.z_mm)])
    height, width = volume.voxels.shape[1:]
    frame = two_mm_frame((height, width), volume.spacing_mm)
    low = float(np.clip(volume.voxels.min(), LOW_HU, HIGH_HU))
    hu = np.empty((len(starts), *frame.size), dtype=np.float32)
    for first in range(0, len(starts), CHUNK):
        some = slice(first, first + CHUNK)
        pictures = np.stack([_mean(volume.voxels[k : k + n]) for k, n in zip(starts[some], counts[some], strict=True)])
        np.clip(pictures, low, HIGH_HU, out=pictures)
        hu[some] = frame.to_model(np.subtract(pictures, low, out=pictures)) + low
    return BrainSlices(hu, np.add.reduceat(volume.z_mm, starts) / counts, frame)


def _mean(slices: NDArray[np.float32]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = slices[0] if len(slices) == 1 else slices.mean(axis=0, dtype=np.float32)
    return mean


def two_mm_frame(native: tuple[int, int], spacing_mm: tuple[float, float]) -> Frame:
    """A frame over the whole picture with pixels of 2 mm."""
    steps = [PIXEL_MM / spacing for spacing in spacing_mm]
    size = [max(1, round(length / step)) for length, step in zip(native, steps, strict=True)]
    starts = [(length - 1 - (n - 1) * step) / 2 for length, n, step in zip(native, size, steps, strict=True)]
    return Frame((size[0], size[1]), native, starts[0], steps[0], starts[1], steps[1])


def _groups(z_mm: NDArray[np.float64]) -> list[int]:
    """The first slice of every group."""
    starts = [0]
    step = np.diff(z_mm, append=z_mm[-1] + np.inf)
    for k in range(1, len(z_mm)):
        if z_mm[k] - z_mm[starts[-1]] + min(step[k - 1], step[k]) > GROUP_MM:
            starts.append(k)
    return starts
