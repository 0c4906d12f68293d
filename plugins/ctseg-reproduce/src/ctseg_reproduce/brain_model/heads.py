"""Heads for the brain network: slices of 2 mm pixels with the share of brain in each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.files import write_with
from ctseg.io.volume import Volume
from ctseg.preprocess.brain import CANAL_MM2
from ctseg.preprocess.brain_slices import brain_slices

SOFT_HU = (-9, 90)


@dataclass(frozen=True)
class HeadSlices:
    """What the network is trained on, of one head."""

    hu: NDArray[np.int16]
    """(G, H, W) at 2 mm, as `brain_slices` gives them."""
    brain: NDArray[np.uint8]
    """(G, H, W) share of brain, 0..255."""
    z_mm: NDArray[np.float64]
    """(G,)."""
    counted: NDArray[np.bool_] | None = None
    """(G, H, W) where the share is known; None: everywhere."""

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all."""
        arrays = {"hu": self.hu, "brain": self.brain, "z_mm": self.z_mm}
        if self.counted is not None:
            arrays["counted"] = self.counted
        write_with(path, lambda temporary: np.savez_compressed(temporary, **arrays))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> HeadSlices:
        """Read one back."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["hu"], file["brain"], file["z_mm"], file.get("counted"))


def head_slices(volume: Volume, brain: NDArray[np.float32]) -> HeadSlices:
    """A scan and its share of brain on pixels of 2 mm; the spinal canal at the lower end is no brain."""
    slices = brain_slices(volume)
    starts = np.searchsorted(volume.z_mm, slices.z_mm, side="right") - 1
    share = slices.frame.to_model(np.ascontiguousarray(brain[starts]))
    share[: _first_of_head(share)] = 0
    return HeadSlices(rounded(slices.hu), kept_share(share), slices.z_mm)


def rounded(hu: NDArray[np.float32]) -> NDArray[np.int16]:
    """HU between -200 and 450 in steps of 3 near brain, 12 below and 15 above: a kept head is a fifth as large.

    That is less than the noise, which is added again when a slice is shown.
    """
    below, above = SOFT_HU
    steps = np.where(
        hu < below,
        below + 12 * np.rint((hu - below) / 12),
        np.where(hu > above, above + 15 * np.rint((hu - above) / 15), 3 * np.rint(hu / 3)),
    )
    return np.clip(steps, -200, 450).astype(np.int16)


def kept_share(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A share of brain in 0..1 as 0..255, in steps of a fifteenth."""
    return (17 * np.rint(15 * np.clip(share, 0, 1))).astype(np.uint8)


def above_canal(brain: NDArray[np.float32], pixel_mm2: float) -> NDArray[np.float32]:
    """The share of brain (K, h, w) without the slices at the lower end that show the spinal canal alone."""
    kept = brain.copy()
    kept[: _first_of_head(brain, pixel_mm2)] = 0
    return kept


def _first_of_head(share: NDArray[np.float32], pixel_mm2: float = 4.0) -> int:
    large = np.flatnonzero((share > 0.5).sum(axis=(1, 2)) * pixel_mm2 >= CANAL_MM2)
    return int(large[0]) if len(large) else len(share)


def filled(brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each slice (K, H, W) with its holes filled."""
    return np.stack([ndimage.binary_fill_holes(picture) for picture in brain])
