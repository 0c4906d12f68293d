"""Checks of similarity metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ctseg.conformance.subject import NotApplicable, Subject, require
from ctseg.conformance.toys import toy_set, toy_slices
from ctseg.matching.pairs import match
from ctseg.matching.search import length, smallest, take
from ctseg.plugins.protocols import Descriptors

COUNT = 6
CLOSE = 1e-9
"""Relative and absolute."""


def described(metric: Any, domain: str = "mr", seed: int = 0, *, masked: bool = False) -> Descriptors:
    """Descriptors of toy slices, without masks so that both domains are described alike unless `masked`."""
    images, masks = toy_slices(domain, COUNT, seed=seed)
    result: Descriptors = metric.describe(images, masks if masked else None)
    return result


def _equal(first: Descriptors, second: Descriptors) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def describes_slices(subject: Subject, _folder: Path) -> None:
    """`describe` takes read-only slices of any size, with masks or None, and gives arrays of their number."""
    metric = subject.build()
    for count, size in ((COUNT, (64, 64)), (COUNT, (37, 53)), (1, (48, 33))):
        images, masks = toy_slices("mr", count, size)
        for given in (masks, None):
            found = metric.describe(images, given)
            require(found and hasattr(found, "keys"), "describe must give a mapping of arrays")
            for name, values in found.items():
                require(isinstance(values, np.ndarray), f"descriptor {name!r} is no numpy array")
                require(len(values) == count, f"descriptor {name!r} has length {len(values)} for {count} slices")


def describes_each_slice_by_itself(subject: Subject, _folder: Path) -> None:
    """A slice's descriptor does not depend on which others are described with it, unless `whole_set` is true."""
    metric = subject.build()
    if getattr(metric, "whole_set", False):
        raise NotApplicable("says whole_set = True")
    images, masks = toy_slices("mr", COUNT)
    whole = metric.describe(images, masks)
    for row in range(COUNT):
        alone = metric.describe(images[row : row + 1], masks[row : row + 1])
        same = _equal(alone, take(whole, slice(row, row + 1)))
        require(same, f"slice {row} alone is described differently; if that is meant, set whole_set = True")


def describes_slices_in_any_order(subject: Subject, _folder: Path) -> None:
    """The order in which slices are described does not matter."""
    metric = subject.build()
    images, masks = toy_slices("mr", COUNT)
    turned = np.roll(np.arange(COUNT)[::-1], 2)
    for given in (masks, None):
        whole = metric.describe(images, given)
        found = metric.describe(images[turned], None if given is None else given[turned])
        require(_equal(found, take(whole, turned)), "slices are described differently in another order")


def describing_is_repeatable(subject: Subject, _folder: Path) -> None:
    """Two metrics with the same settings describe alike, bit for bit."""
    require(
        _equal(described(subject.build()), described(subject.build())),
        "the same slices are described differently twice",
    )


def distances_are_finite_and_not_negative(subject: Subject, _folder: Path) -> None:
    """`distance` gives (n, m) float64, finite and not negative, MR with masks against CT without."""
    metric = subject.build()
    source, target = described(metric, masked=True), described(metric, "ct")
    found = metric.distance(take(source, slice(0, 4)), target)
    require(found.shape == (4, COUNT), f"distance of 4 and {COUNT} slices has shape {found.shape}")
    require(found.dtype == np.float64, f"distance is {found.dtype}, expected float64")
    for values in (found, metric.distance(source, source)):
        require(np.isfinite(values).all(), "a distance is not finite")
        require((values >= 0).all(), f"a distance is negative: {values.min()}")


def distances_do_not_depend_on_the_block(subject: Subject, _folder: Path) -> None:
    """Distances are the same however the slices are cut into blocks."""
    metric = subject.build()
    source, target = described(metric), described(metric, "ct")
    whole = metric.distance(source, target)
    part = metric.distance(take(source, slice(1, 3)), take(target, slice(2, 5)))
    require(np.allclose(part, whole[1:3, 2:5], CLOSE, CLOSE), "distances of a block differ from those of the whole")


def is_nearest_to_itself(subject: Subject, _folder: Path) -> None:
    """No slice is nearer to a slice than the slice itself."""
    metric = subject.build()
    source = described(metric)
    found = metric.distance(source, source)
    worse = np.flatnonzero(np.diag(found) > found.min(axis=1) + 1e-6)
    require(not len(worse), f"slice {worse[:1]} is farther from itself than from another; smaller must be more similar")


def is_symmetric(subject: Subject, _folder: Path) -> None:
    """`distance(a, b)` is `distance(b, a)` transposed, unless the metric says `symmetric = False`."""
    metric = subject.build()
    if getattr(metric, "symmetric", None) is False:
        raise NotApplicable("says symmetric = False")
    source, target = described(metric), described(metric, "ct")
    same = np.allclose(metric.distance(source, target), metric.distance(target, source).T, CLOSE, CLOSE)
    require(same, "distance(a, b) is not distance(b, a).T; if that is meant, set symmetric = False")


def nearest_is_exact(subject: Subject, _folder: Path) -> None:
    """`nearest` finds what sorting `distance` finds, ties in target order."""
    metric = subject.build()
    if not callable(getattr(metric, "nearest", None)):
        raise NotApplicable("has no nearest of its own; ctseg sorts its distances")
    source = described(metric, masked=True)
    target = {name: np.concatenate([values, values]) for name, values in described(metric, "ct").items()}
    distances = metric.distance(source, target)
    for k in (1, 3, length(target)):
        indices, found = metric.nearest(source, target, k)
        expected, nearest = smallest(distances, k)
        require(indices.shape == (COUNT, k) == found.shape, f"nearest of k={k} gives {indices.shape}, {found.shape}")
        require(indices.dtype == np.int64, f"nearest gives indices of {indices.dtype}, expected int64")
        require(np.array_equal(indices, expected), f"k={k}: nearest gives other slices, or ties in another order")
        require(np.allclose(found, nearest, CLOSE, CLOSE), f"k={k}: nearest gives other distances")


def parts_fit_the_distance(subject: Subject, _folder: Path) -> None:
    """`parts` gives an (n, m) array for each name, and no name of pairs.csv's own."""
    metric = subject.build()
    if not callable(getattr(metric, "parts", None)):
        raise NotApplicable("has no parts")
    for name, values in metric.parts(take(described(metric), slice(0, 2)), described(metric, "ct")).items():
        require(values.shape == (2, COUNT), f"part {name!r} has shape {values.shape}, expected {(2, COUNT)}")
        require(name not in ("source_id", "target_id", "rank", "distance"), f"part {name!r} is a column of pairs.csv")


def matches_slice_sets(subject: Subject, _folder: Path) -> None:
    """`ctseg match` works with it in both directions."""
    source, target = toy_set("mr"), toy_set("ct")
    onward = match(source, target, subject.build(), top=3)
    require(len(onward) == 3 * len(source), f"matching 8 slices with their 3 nearest gives {len(onward)} pairs")
    back = match(source, target, subject.build(), top=2, direction="target")
    require(len(back) == 2 * len(target), f"matching 8 slices with their 2 nearest gives {len(back)} pairs")
