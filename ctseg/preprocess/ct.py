"""Head CT -> slices: brain extraction, window, field of view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.volume import Volume
from ctseg.preprocess.brain import bone_from, enclosed
from ctseg.preprocess.frame import centred_frame
from ctseg.preprocess.prepared import Prepared, to_images
from ctseg.preprocess.settings import PreprocessSettings

NO_BRAIN = "no brain found"
"""`ctseg preprocess` adds how to choose another extractor; `ctseg segment` has that of its model."""

STRIPPED = "the skull was already removed"
NO_BONE = "no bone on one side (skull missing, faint or outside the picture), so scalp may count as brain"
OPEN_SKULL = 0.05
"""A larger share of the brain without bone on a side is said."""
BONE_HU = 100.0
"""Skull is brighter; so are metal and calcium, of which little lies beside the brain."""
BONE_MM = 1.0
"""Bone is looked for on pixels of about this size."""


def window_map(window: tuple[float, float]) -> tuple[float, float]:
    """(a, b) of uint8 = a * HU + b for a window of HU: 0..100 HU gives 2.55 and 0."""
    low, high = window
    slope = 255.0 / (high - low)
    return slope, 0.0 - slope * low


def scan_map(hu: NDArray[np.float32], settings: PreprocessSettings) -> tuple[float, float]:
    """(a, b) of uint8 = a * HU + b for one scan, from the HU of its brain: the window, moved to the brain's median.

    Brains of patients differ by up to 16 HU in their median (age, water content, calibration of the scanner). With
    `brain_hu`, a grey value says how much a voxel differs from its own brain.
    """
    slope, offset = window_map(settings.window)
    if settings.brain_hu is None:
        return slope, offset
    return slope, offset + slope * (settings.brain_hu - float(np.median(hu)))


def prepare_ct(volume: Volume, settings: PreprocessSettings, brain: NDArray[np.bool_]) -> Prepared:
    """Strip the skull, window the HU and resample the slices to the model's field of view.

    Args:
        volume: CT in HU, canonical axes.
        settings: size, field of view and window.
        brain: (K, h, w) mask on the volume's own grid.

    Raises:
        CaseError: if the mask is empty.
    """
    if not brain.any():
        raise CaseError(f"{volume.case_id}: {NO_BRAIN}; is it a head CT in HU? look at it")
    frame = centred_frame(brain, volume.spacing_mm, settings.size, settings.fov_mm)
    intensity = scan_map(volume.voxels[brain], settings)
    images, inside = to_images(volume.voxels, brain, frame, intensity)
    return Prepared(images, inside, brain, frame, intensity, _notes(volume, brain))


def _notes(volume: Volume, brain: NDArray[np.bool_]) -> tuple[str, ...]:
    """What the reader of a mask has to know about the skull."""
    if _is_stripped(volume, brain):
        return (STRIPPED,)
    open_share = without_bone(volume, brain)
    return (f"{100 * open_share:.0f} % of the brain: {NO_BONE}",) if open_share > OPEN_SKULL else ()


def _is_stripped(volume: Volume, brain: NDArray[np.bool_]) -> bool:
    """Whether there is nothing but one background value outside the brain, to a rounding."""
    known: np.float32 | None = None
    for picture, inside in zip(volume.voxels, brain, strict=True):  # a head with its skull is known by its first slice
        outside = picture[~inside]
        known = outside[0] if known is None and len(outside) else known
        if known is not None and bool((np.abs(outside - known) >= 1).any()):
            return False
    return True


def without_bone(volume: Volume, brain: NDArray[np.bool_]) -> float:
    """Share of a mask (K, h, w) that has no bone in front, behind, left or right of it in its slice.

    A whole head has up to 0.01.
    """
    rows, cols = (slice(None, None, max(1, round(BONE_MM / mm))) for mm in volume.spacing_mm)
    hard = volume.voxels[:, rows, cols] > bone_from(volume.voxels, BONE_HU)
    some = brain[:, rows, cols]
    return 1.0 - float(enclosed(hard)[some].mean()) if some.any() else 0.0
