"""A brain extractor: the largest connected piece of soft tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.volume import Volume


class BrainExtractor:
    """CT volume in HU -> (K, H, W) bool."""

    def __init__(self, hu: tuple[float, float] = (0.0, 100.0)) -> None:
        self.hu = hu

    def __call__(self, volume: Volume) -> NDArray[np.bool_]:
        """All False where there is no soft tissue."""
        tissue = (volume.voxels >= self.hu[0]) & (volume.voxels <= self.hu[1])
        labels, count = ndimage.label(tissue)
        if not count:
            return tissue
        sizes = np.bincount(labels.ravel())[1:]
        return np.asarray(labels == 1 + sizes.argmax())
