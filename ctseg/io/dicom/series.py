"""Which DICOM slices make one scan: by study and series, by frame of reference, by geometry, then by acquisition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ctseg.io.case import Case, Rejected
from ctseg.io.dicom.continued import about_continued
from ctseg.io.dicom.enhanced import as_slice, is_enhanced
from ctseg.io.dicom.geometry import NEARLY_SAME_DIRECTION, apart_deg, places, same_geometry, slice_normal
from ctseg.io.dicom.header import SliceHeader
from ctseg.io.dicom.no_slices import is_lost_scan, why_not_a_slice
from ctseg.io.dicom.two_energies import about_two_energies
from ctseg.io.dicom.visits import STRAY_SLICES, Group, by, split_repeats
from ctseg.io.identity import case_name, pseudonym
from ctseg.wording import counted

NO_PATIENT = "no PatientID in the header; each study counts as a patient of its own"
INTERLEAVED = (
    "two scans at interleaved positions under one SeriesInstanceUID (InstanceNumbers occur twice); "
    "put each in a folder of its own"
)

PARTS = "one of {} parts of its series, which differ in matrix, orientation or spacing: does it show the whole head?"

LEFT_OUT = "left out of its series, as of another matrix or spacing: {} parallel to the others"

ORIENTATIONS = "orientations of the slices differ by up to {:.2f} degrees; taken as one scan"

PARALLEL_DEG = 1.0
"""Slices of one scan are parallel within this, scouts are not."""
SCOUT_NORMAL_Z = 0.7
"""A lone slice whose normal is further than 45 degrees from the body axis is a scout view."""


def cases_from_headers(headers: Iterable[SliceHeader], domain: str) -> tuple[list[Case], list[Rejected]]:
    """Sort slices into scans.

    Args:
        headers: of any number of series, in any order.
        domain: 'ct', 'mr', or 'auto' for both.
    """
    found: list[tuple[Case, Sequence[SliceHeader]]] = []
    rejected: list[Rejected] = []
    for series in by(headers, _series_key):
        kept, refused = _sift(series, domain)
        rejected += refused
        for header in filter(is_enhanced, kept):
            scans, refused = _of_object(header, domain)
            found += scans
            rejected += refused
        kept = [header for header in kept if not is_enhanced(header)]
        parts = _by_frame_of_reference(kept)
        note = (f"the series holds {len(parts)} frames of reference; split by them",) if len(parts) > 1 else ()
        for slices in parts:
            groups, strays = stackable_groups(slices)
            rejected += strays
            found += [
                (_case(Group(group.slices, (*note, *group.notes)), place), group.slices)
                for place, group in enumerate(groups)
            ]
    stacks = [slices for _, slices in found]
    said = zip(about_two_energies(stacks), about_continued(stacks), strict=True)
    cases = [replace(case, notes=(*case.notes, *one, *two)) for (case, _), (one, two) in zip(found, said, strict=True)]
    return cases, rejected


def _of_object(header: SliceHeader, domain: str) -> tuple[list[tuple[Case, Sequence[SliceHeader]]], list[Rejected]]:
    """The scans among the frames of an enhanced object, largest first; of one that is not understood, the object."""
    if not header.parts:
        return [(_case(Group((header,)), 0), (header,))], []  # reading it says what is wrong
    kept, refused = _sift(header.parts, domain)
    groups, strays = stackable_groups(kept)
    cases: list[tuple[Case, Sequence[SliceHeader]]] = []
    for place, group in enumerate(groups):
        numbers = tuple(sorted(item.frame for item in group.slices))
        is_whole = len(numbers) == len(header.parts)
        case = replace(_case(Group((header,), group.notes), place), frames=() if is_whole else numbers)
        cases.append((case, group.slices))
    return cases, [*refused, *strays]


def _series_key(header: SliceHeader) -> Hashable:
    """Anonymisers give one SeriesInstanceUID to several studies, or none at all: then the folder tells them apart.

    A copy of a series inside an archive is a scan of its own.
    """
    archive = header.source.path if header.source.member is not None else ""
    return header.patient, header.study_uid, header.series_uid or header.source.folder, archive


def _by_frame_of_reference(slices: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """A series apart by FrameOfReferenceUID, unless that is another one for single slices, as some anonymisers do.

    Slices that name none belong to the one that the others name.
    """
    if len({header.frame_of_reference_uid for header in slices} - {""}) < 2:
        return [list(slices)] if slices else []
    parts = list(by(slices, lambda header: header.frame_of_reference_uid))
    return parts if all(len(part) > STRAY_SLICES for part in parts) else [list(slices)]


def _sift(slices: Sequence[SliceHeader], domain: str) -> tuple[list[SliceHeader], list[Rejected]]:
    """Slices that belong to scans, and one line for each reason that others do not."""
    reasons = [why_not_a_slice(as_slice(header), domain) for header in slices]
    refused = []
    for reason, count in Counter(reason for reason in reasons if reason).items():
        first = slices[reasons.index(reason)]
        refused.append(_refuse(first, count, reason, broken=is_lost_scan(reason)))
    return [header for header, reason in zip(slices, reasons, strict=True) if not reason], refused


def _refuse(first: SliceHeader, count: int, reason: str, *, broken: bool = False) -> Rejected:
    more = f" and {count - 1} more of its {'frames' if first.frame else 'series'}" if count > 1 else ""
    return Rejected(f"{first.source}{f' (frame {first.frame})' if first.frame else ''}{more}", reason, broken)


def stackable_groups(slices: Sequence[SliceHeader]) -> tuple[list[Group], list[Rejected]]:
    """The scans within one series, largest first, and the strays beside them."""
    alike: list[list[SliceHeader]] = []
    for header in slices:
        for group in alike:
            if same_geometry(group[0], header):
                group.append(header)
                break
        else:
            alike.append([header])
    alike, notes = _joined(alike)
    groups, rejected = [], []
    reasons = [_stray(group, len(alike[0])) for group in alike]
    for group, reason, note in zip(alike, reasons, _with_left_out(notes, alike, reasons), strict=True):
        if reason:
            rejected.append(_refuse(group[0], len(group), reason))
        elif found := split_repeats(group):
            groups += _parts([Group(part.slices, (*note, *part.notes)) for part in found], reasons.count(""))
        else:
            rejected.append(_refuse(group[0], len(group), INTERLEAVED, broken=True))
    return groups, rejected


def _joined(alike: list[list[SliceHeader]]) -> tuple[list[list[SliceHeader]], list[tuple[str, ...]]]:
    """Groups, largest first, those joined that differ by fractions of a degree alone and are one scan; and notes.

    Some programs compute the orientation of each slice anew, so that it differs in the third digit. Slices of one scan
    lie between each other and are numbered in their order; of two scans they are not.
    """
    joined: list[list[SliceHeader]] = []
    notes: list[tuple[str, ...]] = []
    for group in sorted(alike, key=len, reverse=True):
        for place, other in enumerate(joined):
            if same_geometry(other[0], group[0], NEARLY_SAME_DIRECTION) and _is_one_scan(other, group):
                angle = max(apart_deg(other[0], header) for header in group)
                notes[place] = (ORIENTATIONS.format(angle),)
                joined[place] = [*other, *group]
                break
        else:
            joined.append(group)
            notes.append(())
    return joined, notes


def _is_one_scan(one: Sequence[SliceHeader], other: Sequence[SliceHeader]) -> bool:
    """Whether the slices of two groups lie between each other, with numbers that rise or fall along the stack."""
    both = [*one, *other]
    inward = sorted(range(len(both)), key=places(both).__getitem__)
    steps = [both[after].order[2] - both[before].order[2] for before, after in pairwise(inward)]
    changes = sum((before < len(one)) != (after < len(one)) for before, after in pairwise(inward))
    return changes > 1 and (min(steps) > 0 or max(steps) < 0)


def _parts(groups: Sequence[Group], count: int) -> list[Group]:
    """Groups with a note where they are of one of several parts of their series."""
    note = (PARTS.format(count),) if count > 1 else ()
    return [Group(group.slices, (*note, *group.notes)) for group in groups]


def _with_left_out(
    notes: Sequence[tuple[str, ...]], alike: Sequence[Sequence[SliceHeader]], reasons: Sequence[str]
) -> list[tuple[str, ...]]:
    """The notes of groups; the largest's with one on slices that are left out and parallel to it, as no scout is."""
    strays = [header for group, reason in zip(alike, reasons, strict=True) if reason for header in group]
    along = [item for item in strays if item.orientation is not None and apart_deg(alike[0][0], item) < PARALLEL_DEG]
    if not along:
        return list(notes)
    return [(*notes[0], LEFT_OUT.format(counted(len(along), "slice"))), *notes[1:]]


def _stray(group: Sequence[SliceHeader], largest: int) -> str:
    """Why a group is no scan of its own; empty where it is one."""
    if len(group) <= STRAY_SLICES and largest > 2 * STRAY_SLICES:
        return f"orientation, matrix or spacing unlike the {largest} other slices of the series (a scout view?)"
    normal = slice_normal(group[0])
    if len(group) == 1 and normal is not None and abs(normal[2]) < SCOUT_NORMAL_Z:
        return "a single sagittal or coronal slice (a scout view?)"
    return ""


def _case(group: Group, place: int) -> Case:
    first = group.slices[0]
    name = case_name(first.patient, first.series_uid) + (f"-{place + 1}" if place else "")
    archive = first.source.path if first.source.member is not None else None
    return Case(
        case_id=name,
        patient_id=pseudonym(first.patient),
        kind="dicom",
        domain="mr" if first.modality == "MR" else "ct",
        files=(Path(archive),) if archive else tuple(Path(header.source.path) for header in group.slices),
        series_id=first.series_uid,
        notes=(*_patient_notes(first), *group.notes),
        zip_file=Path(archive) if archive else None,
        members=tuple(header.source.member or "" for header in group.slices) if archive else (),
    )


def _patient_notes(header: SliceHeader) -> tuple[str, ...]:
    """What to say of a series that names no patient."""
    return (NO_PATIENT,) if header.patient == header.study_uid else ()
