"""Skull-stripped MR -> slices: brain from the zero background, robust grey range, field of view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.volume import Volume
from ctseg.preprocess.frame import centred_frame
from ctseg.preprocess.prepared import Prepared, to_images
from ctseg.preprocess.settings import PreprocessSettings

MIN_BACKGROUND = 0.15
"""A stripped axial field of view is 70-85 % background (MSD, BraTS); a whole head has noise, not zeros, in the air."""


def prepare_mr(volume: Volume, settings: PreprocessSettings) -> Prepared:
    """Scale the brain of a skull-stripped MR to 0..255 and lay the slices on the model's field of view.

    Raises:
        CaseError: if the background is not exactly zero (not stripped), or the brain is empty or flat.
    """
    brain = nonzero_brain(volume)
    intensity = percentile_map(volume.voxels[brain], settings.percentiles, volume.case_id)
    frame = centred_frame(brain, volume.spacing_mm, settings.size, settings.fov_mm)
    images, inside = to_images(volume.voxels, brain, frame, intensity)
    return Prepared(images, inside, brain, frame, intensity)


def nonzero_brain(volume: Volume) -> NDArray[np.bool_]:
    """(K, h, w): the voxels that are not exactly zero.

    Raises:
        CaseError: if nearly nothing is zero, so that the scan cannot be skull-stripped, or everything is.
    """
    brain: NDArray[np.bool_] = volume.voxels != 0
    if not brain.any():
        raise CaseError(f"{volume.case_id}: every voxel is zero; leave this case out")
    if brain.mean() > 1 - MIN_BACKGROUND:
        raise CaseError(
            f"{volume.case_id}: the MR is not skull-stripped (its background is not zero); strip it first, "
            "e.g. with HD-BET or SynthStrip"
        )
    return brain


def percentile_map(values: NDArray[np.float32], percentiles: tuple[float, float], case_id: str) -> tuple[float, float]:
    """(a, b) of uint8 = a * x + b that takes the two percentiles of the brain to 0 and 255.

    Raises:
        CaseError: if both percentiles are equal or not finite.
    """
    low, high = (float(edge) for edge in np.percentile(values, percentiles))
    if not np.isfinite([low, high]).all() or high <= low:
        raise CaseError(f"{case_id}: the brain has one grey value only, or values that are no numbers; leave it out")
    slope = 255.0 / (high - low)
    return slope, -slope * low
