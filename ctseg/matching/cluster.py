"""A similarity metric whose search is spread over a cluster: the same pairs, since each slice is searched for alone."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.matching.search import Nearest, length, nearest, take
from ctseg.parallel import Failure, ordered_map
from ctseg.plugins.protocols import Descriptors, SimilarityMetric
from ctseg.progress import ProgressCallback
from ctseg.scheduler import width

PARTS = 4
"""Parts for each worker, so that a slow or lost one costs little."""


class SpreadMetric:
    """Another metric, with `nearest` on an executor; everything else is that metric's own."""

    def __init__(self, metric: SimilarityMetric, executor: Executor) -> None:
        self._metric, self._executor = metric, executor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metric, name)

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> Descriptors:
        """As the metric does it, here."""
        return self._metric.describe(images, masks)

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        """As the metric does it, here."""
        return self._metric.distance(source, target)

    def nearest(
        self, source: Descriptors, target: Descriptors, k: int, progress: ProgressCallback | None = None
    ) -> Nearest:
        """`ctseg.matching.search.nearest`, the source slices in parts on the executor's workers.

        Raises:
            CaseError: if a part cannot be searched.
        """
        count = length(source)
        step = max(1, -(-count // (PARTS * width(self._executor))))
        parts = [take(source, slice(start, start + step)) for start in range(0, count, step)]
        work = partial(_search, self._metric, target, k)
        found: list[Nearest] = []
        with closing(ordered_map(work, parts, workers=1, executor=self._executor)) as outcomes:
            for _, outcome in outcomes:
                if isinstance(outcome, Failure):
                    raise CaseError(f"match: a part of the slices could not be searched ({outcome.error})")
                found.append(outcome)
                if progress is not None:
                    progress(min(len(found) * step, count), count, "")
        if not found:
            return nearest(self._metric, source, target, k)
        indices, distances = zip(*found, strict=True)
        return np.concatenate(indices), np.concatenate(distances)


def spread(metric: SimilarityMetric, executor: Executor | None) -> SimilarityMetric:
    """The metric, searching on an executor where there is one."""
    return metric if executor is None else SpreadMetric(metric, executor)


def _search(metric: SimilarityMetric, target: Descriptors, k: int, source: Descriptors) -> Nearest:
    return nearest(metric, source, target, k)
