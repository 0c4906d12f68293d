"""Scans that show a part of a head, whose rest is in another series of the study: skull base and vertex, a stop."""

from __future__ import annotations

from collections.abc import Sequence
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
    found = [_extent(scan) for scan in scans]
    notes: list[tuple[str, ...]] = [()] * len(scans)
    for one, other in permutations(range(len(scans)), 2):
        first, second = found[one], found[other]
        if first is None or second is None or not _is_beside(scans[one][0], scans[other][0]):
            continue
        if first[1] - first[0] < WHOLE_HEAD_MM and _follows(first, second):
            notes[one] = (GOES_ON,)
    return notes


def _extent(scan: Sequence[SliceHeader]) -> tuple[float, float, float] | None:
    """First and last place along the normal and the mean step, in mm; None of what is no stack."""
    normal = slice_normal(scan[0])
    if normal is None or len(scan) <= STRAY_SLICES or any(header.position is None for header in scan):
        return None
    heights = [float(np.dot(header.position or (), normal)) for header in scan]
    return min(heights), max(heights), (max(heights) - min(heights)) / (len(scan) - 1)


def _is_beside(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether two slices are of two series of a study, with the same axes."""
    place = one.patient, one.study_uid, one.frame_of_reference_uid, one.modality
    same = place == (other.patient, other.study_uid, other.frame_of_reference_uid, other.modality)
    is_other = bool(one.frame_of_reference_uid) and one.series_uid != other.series_uid
    return same and is_other and np.radians(apart_deg(one, other)) < NEARLY_SAME_DIRECTION


def _follows(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    gap = max(other[0] - one[1], one[0] - other[1])
    return SAME_PLACE_MM < gap <= STEPS * max(one[2], other[2])
