"""Scans of a study that were taken at the same time with different tube voltages: the halves of a dual-energy scan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ctseg.io.dicom.header import SliceHeader

HALF = (
    "taken at the same time as another series of its study with another tube voltage, so one of two energies: blood "
    "has other HU than at 120 kV"
)


def about_two_energies(scans: Sequence[Sequence[SliceHeader]]) -> list[tuple[str, ...]]:
    """A note for each CT scan that shares a time of acquisition, and its frame of reference, with one of another KVP.

    Args:
        scans: the slices, or frames, of each.
    """
    voltages = defaultdict[tuple[str, ...], set[float]](set)
    places = [_times(scan) for scan in scans]
    for scan, times in zip(scans, places, strict=True):
        for time in times:
            voltages[time].add(scan[0].kilovolts)
    return [(HALF,) if any(len(voltages[time]) > 1 for time in times) else () for times in places]


def _times(scan: Sequence[SliceHeader]) -> set[tuple[str, ...]]:
    """Patient, study, frame of reference and each time; none of a scan whose header lacks one of what is compared."""
    first = scan[0]
    if first.modality != "CT" or not first.kilovolts or not first.frame_of_reference_uid:
        return set()
    own = first.patient, first.study_uid, first.frame_of_reference_uid
    return {(*own, header.order[1]) for header in scan if header.order[1].strip("0.:")}  # zeros: anonymised
