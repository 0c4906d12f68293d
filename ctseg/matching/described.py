"""Slice sets as a similarity metric remembers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import PluginError
from ctseg.io.pages import blocks
from ctseg.io.slices import SliceSet
from ctseg.plugins.called import name_of
from ctseg.plugins.protocols import Descriptors, SimilarityMetric
from ctseg.progress import ProgressCallback

DESCRIBED = 256
"""Slices that a metric describes in one go."""


@dataclass(frozen=True)
class DescribedSet:
    """Slices of a set as a metric remembers them."""

    names: NDArray[np.object_]
    """(n,) slice IDs."""
    descriptors: Descriptors

    def __len__(self) -> int:
        return len(self.names)


def describe_set(
    slices: SliceSet,
    metric: SimilarityMetric,
    split: str | None = None,
    *,
    masked: bool,
    progress: ProgressCallback | None = None,
) -> DescribedSet:
    """Describe the slices of a set, in blocks unless the metric's `whole_set` is true.

    Args:
        slices: the set.
        metric: describes them.
        split: only this split, or all.
        masked: whether the metric may see the set's masks.
        progress: called with (done, total, ""), in slices.

    Raises:
        InputError: if the set has no slice in `split`.
    """
    rows = slices.rows(split)
    masks = slices.masks if masked else None
    if not getattr(metric, "whole_set", False):
        found = list(_block_descriptors(slices.images, masks, rows, metric, progress))
        descriptors = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    else:
        chosen = slice(None) if len(rows) == len(slices) else rows
        given = metric.describe(slices.images[chosen], None if masks is None else masks[chosen])
        descriptors = _checked(given, len(rows), metric)
        if progress is not None:
            progress(len(rows), len(rows), "")
    return DescribedSet(slices.table["slice_id"].astype(str).to_numpy(dtype=object)[rows], descriptors)


def _block_descriptors(
    images: NDArray[np.uint8],
    masks: NDArray[np.uint8] | None,
    rows: NDArray[np.int64],
    metric: SimilarityMetric,
    progress: ProgressCallback | None,
) -> Iterator[Descriptors]:
    """Descriptors of `rows`, which ascend, block by block of the arrays."""
    done = 0
    labels = repeat(None) if masks is None else blocks(masks, DESCRIBED)
    for number, (block, mask) in enumerate(zip(blocks(images, DESCRIBED), labels)):  # noqa: B905 - repeat has no end
        first, last = np.searchsorted(rows, (number * DESCRIBED, number * DESCRIBED + len(block)))
        if first == last:
            continue
        here = rows[first:last] - number * DESCRIBED
        chosen = slice(None) if len(here) == len(block) else here
        yield _checked(metric.describe(block[chosen], None if mask is None else mask[chosen]), len(here), metric)
        done += len(here)
        if progress is not None:
            progress(done, len(rows), "")


def _checked(given: Descriptors, count: int, metric: SimilarityMetric) -> dict[str, NDArray[Any]]:
    """Descriptors of so many slices.

    Raises:
        PluginError: if they are of another number: pairs would name other slices than were compared.
    """
    lengths = {name: len(values) for name, values in given.items()} if isinstance(given, Mapping) else {}
    if not lengths or set(lengths.values()) != {count}:
        shown = ", ".join(f"{name} of {length}" for name, length in lengths.items()) or "none"
        raise PluginError(f"similarity metric {name_of(metric)}: describes {count} slices by {shown}")
    return dict(given)
