"""Exact nearest slices in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import PluginError
from ctseg.plugins.called import name_of
from ctseg.plugins.protocols import Descriptors, SimilarityMetric
from ctseg.progress import ProgressCallback

BLOCK = 1_000_000
"""Distances in memory at a time: 8 MB, and a few times that while a metric works."""
Distance = Callable[[Descriptors, Descriptors], NDArray[np.float64]]
Nearest = tuple[NDArray[np.int64], NDArray[np.float64]]


def nearest(
    metric: SimilarityMetric,
    source: Descriptors,
    target: Descriptors,
    k: int,
    progress: ProgressCallback | None = None,
) -> Nearest:
    """For each source slice the `k` nearest target slices.

    Exact, and unique: equal distances are ordered by target index. Uses the metric's own `nearest` where it has one.

    Args:
        metric: gives the distances.
        source: descriptors of n slices.
        target: descriptors of m slices.
        k: how many; at most m are given.
        progress: called with (done, total, ""), in source slices.

    Returns:
        Indices (n, min(k, m)) int64 into the target, distances (n, min(k, m)) float64, nearest first.
    """
    own = getattr(metric, "nearest", None)
    if callable(own):
        more = {"progress": progress} if "progress" in signature(own).parameters else {}
        return _checked_nearest(own(source, target, min(k, length(target)), **more), source, target, k, metric)
    return nearest_by_distance(_checked_distance(metric), source, target, k, progress)


def nearest_sources(
    metric: SimilarityMetric,
    source: Descriptors,
    target: Descriptors,
    k: int,
    progress: ProgressCallback | None = None,
) -> Nearest:
    """For each target slice the `k` nearest source slices, ties by source index: (m, min(k, n)) each.

    A metric whose `symmetric` is true serves it with its own `nearest`, the two swapped.
    """
    if getattr(metric, "symmetric", False):
        return nearest(metric, target, source, k, progress)
    distance = _checked_distance(metric)
    return nearest_by_distance(lambda block, whole: distance(whole, block).T, target, source, k, progress)


def _checked_distance(metric: SimilarityMetric) -> Distance:
    """`metric.distance`, which raises PluginError for what is no (n, m) array of numbers."""

    def distance(source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        found = np.asarray(metric.distance(source, target))
        wanted = (length(source), length(target))
        if found.shape != wanted:
            raise PluginError(
                f"{_name(metric)}: gives distances of shape {found.shape} for {wanted[0]} and {wanted[1]} slices"
            )
        return _numbers(found, metric)

    return distance


def _checked_nearest(
    found: Nearest, source: Descriptors, target: Descriptors, k: int, metric: SimilarityMetric
) -> Nearest:
    """What a metric's own search gave.

    Raises:
        PluginError: if it is not of the shape that was asked for, names slices that are not there or one twice, or is
            not sorted: the first is taken for the nearest.
    """
    rows, distances = np.asarray(found[0]), np.asarray(found[1])
    count = length(target)
    wanted = (length(source), min(k, count))
    if rows.shape != wanted or distances.shape != wanted or rows.dtype.kind not in "iu":
        raise PluginError(f"{_name(metric)}: its search gives {rows.dtype} of shape {rows.shape}, not int64 {wanted}")
    if rows.size and not (rows.min() >= 0 and rows.max() < count):
        raise PluginError(f"{_name(metric)}: its search gives rows {rows.min()} to {rows.max()} of {count} slices")
    if (np.diff(np.sort(rows, axis=1), axis=1) == 0).any():
        raise PluginError(f"{_name(metric)}: its search gives a slice twice")
    if (np.diff(_numbers(distances, metric), axis=1) < 0).any():
        raise PluginError(f"{_name(metric)}: its search gives slices that are not sorted, nearest first")
    return rows, distances


def _numbers(distances: NDArray[Any], metric: SimilarityMetric) -> NDArray[np.float64]:
    """Distances. None may be NaN, which is neither nearer nor farther than any other."""
    if distances.dtype.kind not in "biuf" or np.isnan(distances).any():
        raise PluginError(f"{_name(metric)}: gives distances that are no numbers ({distances.dtype})")
    return distances


def _name(metric: SimilarityMetric) -> str:
    return f"similarity metric {name_of(metric)}"


def nearest_by_distance(
    distance: Distance,
    source: Descriptors,
    target: Descriptors,
    k: int,
    progress: ProgressCallback | None = None,
) -> Nearest:
    """As `nearest`, from the distances of a block of source slices to all targets."""
    n, m = length(source), length(target)
    k = min(k, m)
    indices, distances = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    step = max(BLOCK // max(m, 1), 1)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        indices[rows], distances[rows] = smallest(distance(take(source, rows), target), k)
        if progress is not None:
            progress(rows.stop, n, "")
    return indices, distances


def smallest(distances: NDArray[np.float64], k: int) -> Nearest:
    """The `k` smallest of each row of (n, m), ordered by (distance, column)."""
    if not k:
        return np.empty((len(distances), 0), dtype=np.int64), np.empty((len(distances), 0))
    bound = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]  # (n, 1): the k-th smallest, ties and all
    indices = np.empty((len(distances), k), dtype=np.int64)
    for row, near in enumerate(distances <= bound):
        columns = np.flatnonzero(near)
        indices[row] = columns[np.argsort(distances[row, columns], kind="stable")[:k]]
    return indices, np.take_along_axis(distances, indices, axis=1)


def length(descriptors: Descriptors) -> int:
    """How many slices descriptors describe."""
    return len(next(iter(descriptors.values())))


def take(descriptors: Descriptors, rows: Any) -> dict[str, NDArray[Any]]:
    """The descriptors of some slices."""
    return {name: values[rows] for name, values in descriptors.items()}
