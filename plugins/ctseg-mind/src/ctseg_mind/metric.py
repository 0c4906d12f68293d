"""MIND-SSC in two dimensions.

A slice is described by how alike the patches around each pixel are to one another, not by its grey values, so an MR
and a CT slice of the same anatomy get like descriptors. In 2-D the self-similarity context compares the four pairs of
neighbours at a right angle to each other: (up, right), (right, down), (down, left), (left, up).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter, zoom

from ctseg_mind.exact import nearest_rows, squared_distances

Descriptors = Mapping[str, NDArray[Any]]
NEIGHBOURS = ((-1, 0), (0, 1), (1, 0), (0, -1))
REFERENCE_PX = 240
"""The lesion term counts pixels at 240 x 240 (AMD-DAS, equation 16)."""
LEVELS, MIDDLE = 255, 128
"""A similarity of 0..1 is kept as one of 256 levels, so that distances are sums of whole numbers and exact."""


class MindMetric:
    """RMS difference of the descriptors (0..1) + lambda_les * difference of the lesion areas.

    Args:
        size: side of the shrunken slice.
        radius: half width of the patches.
        dilation: distance of the neighbours.
        lambda_les: weight of a pixel of lesion at 240 x 240.
        threshold: above it a pixel of an unlabelled slice counts as lesion.
    """

    symmetric = True

    def __init__(
        self, size: int = 40, radius: int = 1, dilation: int = 2, lambda_les: float = 1e-4, threshold: int = 120
    ) -> None:
        self.size, self.radius, self.dilation = size, radius, dilation
        self.lambda_les, self.threshold = lambda_les, threshold

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> Descriptors:
        """(N, H, W) -> `mind` (N, 4 size size) int8, -128 for a similarity of 0 and 127 for 1, `lesion_px` (N,)."""
        scale = (REFERENCE_PX / images.shape[1]) * (REFERENCE_PX / images.shape[2])
        marked = (mask > 0 for mask in masks) if masks is not None else (image > self.threshold for image in images)
        minds = np.empty((len(images), 4 * self.size**2), np.int8)
        for row, image in enumerate(images):
            minds[row] = self._mind(image)
        areas = np.fromiter((np.count_nonzero(lesion) for lesion in marked), np.float64, len(images)) * scale
        return {"mind": minds, "lesion_px": areas}

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        """(n, m) distances."""
        return self._combine(squared_distances(source["mind"], target["mind"]), source, target)

    def nearest(
        self, source: Descriptors, target: Descriptors, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k nearest target slices of each source slice, ties by target index: (n, k) indices and distances.

        Gives what sorting `distance` gives, to the last bit, without ever holding more than a block of distances.
        """

        def combine(squared: NDArray[np.float64], rows: slice, columns: slice) -> NDArray[np.float64]:
            near = {name: values[rows] for name, values in source.items()}
            return self._combine(squared, near, {name: values[columns] for name, values in target.items()})

        return nearest_rows(source["mind"], target["mind"], k, combine)

    def parts(self, source: Descriptors, target: Descriptors) -> dict[str, NDArray[np.float64]]:
        """Both terms, unweighted, (n, m) each."""
        squared = squared_distances(source["mind"], target["mind"])
        return {"structure": self._structure(squared), "lesion_difference": _lesion_difference(source, target)}

    def _combine(self, squared: NDArray[np.float64], source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        return self._structure(squared) + self.lambda_les * _lesion_difference(source, target)

    def _structure(self, squared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared distances in levels -> root mean square difference of similarities."""
        return np.asarray(np.sqrt(squared / (4 * self.size**2)) / LEVELS)

    def _mind(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One slice (H, W) -> (4 size size,) levels."""
        small = zoom(image.astype(np.float32), [self.size / side for side in image.shape], order=1)
        shifted = [np.roll(small, [step * self.dilation for step in move], (0, 1)) for move in NEIGHBOURS]
        width = 2 * self.radius + 1
        energy = np.stack(
            [uniform_filter((shifted[row] - shifted[(row + 1) % 4]) ** 2, width, mode="nearest") for row in range(4)]
        )  # (4, size, size)
        energy = energy - energy.min(0)
        mean = energy.mean(0)
        variance = np.clip(mean, mean.mean() * 1e-3 + 1e-6, mean.mean() * 1e3 + 1e-6)
        return np.asarray(np.round(np.exp(-energy / variance) * LEVELS) - MIDDLE, np.float32).ravel()


def _lesion_difference(source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
    return np.asarray(np.abs(source["lesion_px"][:, None] - target["lesion_px"][None]))
