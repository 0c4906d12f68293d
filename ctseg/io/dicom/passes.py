"""Slices of one series that are two acquisitions of one place, each between the other's: the head may have moved.

A helical acquisition may be reconstructed at half a slice's thickness, and an old scanner may take every second slice
first: these are one scan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import pairwise, permutations

import numpy as np
from numpy.typing import NDArray

from ctseg.io.dicom.geometry import places, slice_normal
from ctseg.io.dicom.header import VISIT_TAGS, SliceHeader

FEW = 2
"""So few slices between others are the overlapping ends of two blocks."""
MOST = 0.5
"""Share of the gaps of one acquisition in which the other has a slice, at least."""
TILED = 1.5
"""Acquisitions whose steps are more than so many thicknesses leave gaps that the other one fills: they are one scan."""
THICKNESS = VISIT_TAGS.index("SliceThickness")
ORDERS = "the order of its slices"

Key = Callable[[SliceHeader], Hashable]
Slices = Sequence[SliceHeader]
Numbers = NDArray[np.intp]


def interleaved(group: Slices, keys: Sequence[tuple[str, Key]]) -> tuple[str, list[list[SliceHeader]]]:
    """What tells acquisitions apart that lie between each other, and the slices of each; no slices where none do.

    Scans of MR are never separated: they are made of interleaved passes.

    Args:
        group: slices of one geometry, each at a place of its own.
        keys: names, and what may tell acquisitions apart, the surest first.
    """
    if slice_normal(group[0]) is None or not all(header.position and header.modality == "CT" for header in group):
        return "", []
    numbers = np.array(places(group), np.intp)
    for name, parts in _ways(group, numbers, keys):
        slices = [[group[index] for index in part] for part in parts]
        if _are_apart(parts, numbers) and not _are_tiles(slices):
            return name, slices
    return "", []


def _ways(group: Slices, numbers: Numbers, keys: Sequence[tuple[str, Key]]) -> Iterator[tuple[str, list[list[int]]]]:
    """Names of what separates slices, and their indices."""
    for name, key in keys:
        found: dict[Hashable, list[int]] = defaultdict(list)
        for index, header in enumerate(group):
            found[key(header)].append(index)
        yield name, list(found.values())
    if group[0].frame:  # frames of an object are in no order
        return
    times, instances = [header.order[1] for header in group], [header.order[2] for header in group]
    timed = _runs(sorted(range(len(group)), key=lambda index: (times[index], instances[index])), numbers)
    if len(set(times)) > 2:
        yield ORDERS, timed
    is_one_pass = len(timed) == 1 and len(set(times)) == len(times)
    if len(set(instances)) == len(instances) and not is_one_pass:
        yield ORDERS, _runs(sorted(range(len(group)), key=instances.__getitem__), numbers)


def _runs(order: Sequence[int], numbers: Numbers) -> list[list[int]]:
    """Slices in an order, cut where they turn back."""
    runs: list[list[int]] = [[order[0]]]
    for index in order[1:]:
        run = runs[-1]
        is_on = len(run) < 2 or (numbers[index] > numbers[run[-1]]) == (numbers[run[1]] > numbers[run[0]])
        if is_on:
            run.append(index)
        elif len(run) > 2 and _turns_before(run, index, numbers):
            runs.append([run.pop(), index])
        else:
            runs.append([index])
    return runs


def _turns_before(run: Sequence[int], index: int, numbers: Numbers) -> bool:
    """Whether the last slice of a run is the first of the way back: it lies off the run's step."""
    step, last, back = (abs(int(numbers[one]) - int(numbers[other])) for one, other in pairwise((*run[-3:], index)))
    return last < step and back <= step


def _are_apart(parts: Sequence[Sequence[int]], numbers: Numbers) -> bool:
    """Whether each part lies between the slices of another, or another between its own."""
    if len(parts) < 2 or any(len(part) <= FEW for part in parts):
        return False
    inward = [np.sort(numbers[list(part)]) for part in parts]
    between = {(n, m): _filled(inward[n], inward[m]) for n, m in permutations(range(len(parts)), 2)}
    return all(any(between[n, m] or between[m, n] for m in range(len(parts)) if m != n) for n in range(len(parts)))


def _filled(one: Numbers, other: Numbers) -> bool:
    """Whether most gaps between neighbours of one part hold a slice of the other."""
    gaps = np.diff(np.searchsorted(other, one)) > 0
    return bool(gaps.sum() > 1 and gaps.mean() >= MOST)


def _are_tiles(parts: Sequence[Slices]) -> bool:
    """Whether every part leaves gaps between its slices by their thickness, where the header says it."""
    return all(_step(part) > TILED * _thickness(part[0]) for part in parts)


def _step(part: Slices) -> float:
    """Median distance in mm of slices that have positions and an orientation."""
    heights = np.sort(np.array([header.position for header in part], dtype=float) @ slice_normal(part[0]))
    return float(np.median(np.diff(heights)))


def _thickness(header: SliceHeader) -> float:
    """In mm; infinite where it is not said."""
    try:
        return float(header.visit[THICKNESS]) or float("inf")
    except ValueError:
        return float("inf")
