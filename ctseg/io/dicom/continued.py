"""Scans that show a part of a head, whose rest is in another series of the study: skull base and vertex, a stop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from ctseg.io.dicom.geometry import NEARLY_SAME_DIRECTION, SAME_PLACE_MM, apart_deg, slice_normal
from ctseg.io.dicom.header import SliceHeader
from ctseg.io.dicom.visits import STRAY_SLICES

GOES_ON = "another series of its study goes on where it ends: does it show the whole head?"
WHOLE_HEAD_MM = 130.0
"""A stack that is longer shows a head, whatever lies beside it, such as a neck."""
STEPS = 2.0
"""The next series begins within so many steps of the coarser of both."""


def about_continued(scans: Sequence[Sequence[SliceHeader]]) -> list[tuple[str, ...]]:
    """A note for each scan that is short, and whose study has another series in the same place that continues it.

    Args:
        scans: the slices, or frames, of each.
    """
    notes: list[tuple[str, ...]] = [()] * len(scans)
    places = defaultdict[tuple[str, ...], list[int]](list)
    for number, scan in enumerate(scans):
        places[_place(scan[0])].append(number)
    for numbers in places.values():  # a cohort has many scans, a study few
        for one in _continued([scans[number] for number in numbers]):
            notes[numbers[one]] = (GOES_ON,)
    return notes


def _continued(scans: Sequence[Sequence[SliceHeader]]) -> Iterator[int]:
    """Which scans of one place are short and go on in another series."""
    if len(scans) == 1:
        return
    found = [_extent(scan) for scan in scans]
    for one, other in permutations(range(len(scans)), 2):
        first, second = found[one], found[other]
        if first is None or second is None or not _is_beside(scans[one][0], scans[other][0]):
            continue
        if first[1] - first[0] < WHOLE_HEAD_MM and _follows(first, second):
            yield one


def _place(header: SliceHeader) -> tuple[str, ...]:
    """What the series have in common whose positions are of one frame."""
    return header.patient, header.study_uid, header.frame_of_reference_uid, header.modality


def _extent(scan: Sequence[SliceHeader]) -> tuple[float, float, float] | None:
    """First and last place along the normal and the mean step, in mm; None of what is no stack."""
    normal = slice_normal(scan[0])
    if normal is None or len(scan) <= STRAY_SLICES or any(header.position is None for header in scan):
        return None
    heights = [float(np.dot(header.position or (), normal)) for header in scan]
    return min(heights), max(heights), (max(heights) - min(heights)) / (len(scan) - 1)


def _is_beside(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether two slices of one place are of two series, with the same axes."""
    is_other = bool(one.frame_of_reference_uid) and one.series_uid != other.series_uid
    return is_other and np.radians(apart_deg(one, other)) < NEARLY_SAME_DIRECTION


def _follows(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    gap = max(other[0] - one[1], one[0] - other[1])
    return SAME_PLACE_MM < gap <= STEPS * max(one[2], other[2])
