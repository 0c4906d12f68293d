"""The whole head in place of the brain, for the paper's DAS "on CT images (with the skull)" (4.3.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.volume import Volume

WHOLE_HEAD = "whole-head"
"""Name of the extractor."""
TISSUE_HU = -200.0
"""Skin, fat and everything denser; air and most of the head holder's foam are not."""


class WholeHeadExtractor:
    """CT volume in HU -> mask of the head: the largest connected part of what is denser than air, without the table."""

    def __call__(self, volume: Volume) -> NDArray[np.bool_]:
        """(K, h, w) bool on the volume's own grid; all False where there is nothing but air.

        Air inside the head (sinuses, airways) stays outside the mask.
        """
        parts, count = ndimage.label(np.asarray(volume.voxels) > TISSUE_HU)
        if not count:
            return np.zeros(volume.voxels.shape, bool)
        largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
        mask: NDArray[np.bool_] = parts == largest
        return mask
