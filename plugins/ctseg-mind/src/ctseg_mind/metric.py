"""MIND-SSC in two dimensions.

A slice is described by how alike the patches around each pixel are to one another, not by its grey values, so an MR
and a CT slice of the same anatomy get like descriptors. In 2-D the self-similarity context compares the four pairs of
neighbours that stand at a right angle to each other: (up, right), (right, down), (down, left), (left, up).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter, zoom

Descriptors = Mapping[str, NDArray[Any]]
NEIGHBOURS = ((-1, 0), (0, 1), (1, 0), (0, -1))
REFERENCE_PX = 240
"""The lesion term counts pixels at 240 x 240 (AMD-DAS, equation 16)."""


class MindMetric:
    """RMS difference of the descriptors (0..1) + lambda_les * difference of the lesion areas."""

    def __init__(
        self, size: int = 40, radius: int = 1, dilation: int = 2, lambda_les: float = 1e-4, threshold: int = 120
    ) -> None:
        self.size, self.radius, self.dilation = size, radius, dilation
        self.lambda_les, self.threshold = lambda_les, threshold

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> Descriptors:
        """(N, H, W) -> `mind` (N, 4 size size) float32 of norm at most 1, `lesion_px` (N,)."""
        scale = (REFERENCE_PX / images.shape[1]) * (REFERENCE_PX / images.shape[2])
        marked = [mask > 0 for mask in masks] if masks is not None else [image > self.threshold for image in images]
        minds = [self._mind(image) for image in images]
        return {
            "mind": np.stack(minds) if minds else np.zeros((0, 4 * self.size**2), np.float32),
            "lesion_px": np.array([np.count_nonzero(mask) for mask in marked], dtype=np.float64) * scale,
        }

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        """(n, m) distances."""
        parts = self.parts(source, target)
        return parts["structure"] + self.lambda_les * parts["lesion_difference"]

    def parts(self, source: Descriptors, target: Descriptors) -> dict[str, NDArray[np.float64]]:
        """Both terms, unweighted, (n, m) each."""
        first, second = source["mind"].astype(np.float64), target["mind"].astype(np.float64)
        squared = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
        lesion = np.abs(source["lesion_px"][:, None] - target["lesion_px"][None])
        return {"structure": np.sqrt(np.maximum(squared, 0)), "lesion_difference": lesion}

    def _mind(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One slice's descriptor, scaled so that the L2 distance of two is the root mean square difference."""
        small = zoom(image.astype(np.float32), [self.size / side for side in image.shape], order=1)
        shifted = [np.roll(small, [step * self.dilation for step in move], (0, 1)) for move in NEIGHBOURS]
        width = 2 * self.radius + 1
        energy = np.stack(
            [uniform_filter((shifted[row] - shifted[(row + 1) % 4]) ** 2, width, mode="nearest") for row in range(4)]
        )  # (4, size, size)
        energy = energy - energy.min(0)
        mean = energy.mean(0)
        variance = np.clip(mean, mean.mean() * 1e-3 + 1e-6, mean.mean() * 1e3 + 1e-6)
        descriptor = np.exp(-energy / variance)  # (4, size, size) in 0..1
        return (descriptor / np.sqrt(descriptor.size)).astype(np.float32).ravel()
