"""A similarity metric: how different two slices' grey value histograms are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SimilarityMetric:
    """Half the summed difference of two histograms: 0 for equal ones, 1 for disjoint ones."""

    symmetric = True

    def __init__(self, bins: int = 32) -> None:
        self.bins = bins

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> dict[str, NDArray[Any]]:
        """(N, H, W) -> `histogram` (N, bins), each summing to 1; masks are not looked at."""
        del masks
        rows = [np.histogram(image, self.bins, (0, 256))[0] / image.size for image in images]
        return {"histogram": np.array(rows).reshape(len(images), self.bins)}

    def distance(self, source: Mapping[str, Any], target: Mapping[str, Any]) -> NDArray[np.float64]:
        """(n, m) distances."""
        difference = np.abs(source["histogram"][:, None] - target["histogram"][None]).sum(axis=2) / 2
        return np.asarray(difference, dtype=np.float64)
