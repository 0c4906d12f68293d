"""Which DICOM slices make one scan: by study and series, by frame of reference, by geometry, then by acquisition."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

from ctseg.io.case import Case, Rejected
from ctseg.io.dicom.enhanced import as_slice, is_enhanced
from ctseg.io.dicom.geometry import NEARLY_SAME_DIRECTION, apart_deg, places, same_geometry, slice_normal
from ctseg.io.dicom.header import VISIT_TAGS, SliceHeader
from ctseg.io.dicom.no_slices import is_lost_scan, why_not_a_slice
from ctseg.io.identity import case_name, pseudonym

NO_PATIENT = "no PatientID in the header; each study counts as a patient of its own"
STRAY_SLICES = 2
"""So few slices of another geometry beside a real stack are strays (an unmarked scout), not a scan."""

VISITS = "visits its positions {} times"
INTERLEAVED = (
    "two scans at interleaved positions under one SeriesInstanceUID (InstanceNumbers occur twice); "
    "put each in a folder of its own"
)

PARTS = "one of {} parts of its series, which differ in matrix, orientation or spacing: does it show the whole head?"

ORIENTATIONS = "orientations of the slices differ by up to {:.2f} degrees; taken as one scan"

SCOUT_NORMAL_Z = 0.7
"""A lone slice whose normal is further than 45 degrees from the body axis is a scout view."""


@dataclass(frozen=True)
class Group:
    """Slices of one series that can be stacked."""

    slices: tuple[SliceHeader, ...]
    notes: tuple[str, ...] = ()


def cases_from_headers(headers: Iterable[SliceHeader], domain: str) -> tuple[list[Case], list[Rejected]]:
    """Sort slices into scans.

    Args:
        headers: of any number of series, in any order.
        domain: 'ct', 'mr', or 'auto' for both.
    """
    cases: list[Case] = []
    rejected: list[Rejected] = []
    for series in _by(headers, _series_key):
        kept, refused = _sift(series, domain)
        rejected += refused
        objects = [header for header in kept if is_enhanced(header)]
        cases += [_case(Group((header,)), place) for place, header in enumerate(objects)]
        kept = [header for header in kept if not is_enhanced(header)]
        parts = _by_frame_of_reference(kept)
        note = (f"the series holds {len(parts)} frames of reference; split by them",) if len(parts) > 1 else ()
        for slices in parts:
            groups, strays = stackable_groups(slices)
            rejected += strays
            cases += [_case(Group(group.slices, (*note, *group.notes)), place) for place, group in enumerate(groups)]
    return cases, rejected


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
    parts = list(_by(slices, lambda header: header.frame_of_reference_uid))
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
    more = f" and {count - 1} more of its series" if count > 1 else ""
    return Rejected(f"{first.source}{more}", reason, broken)


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
    for group, reason, note in zip(alike, reasons, notes, strict=True):
        if reason:
            rejected.append(_refuse(group[0], len(group), reason))
        elif found := _split_repeats(group):
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


def _stray(group: Sequence[SliceHeader], largest: int) -> str:
    """Why a group is no scan of its own; empty where it is one."""
    if len(group) <= STRAY_SLICES and largest > 2 * STRAY_SLICES:
        return f"orientation, matrix or spacing unlike the {largest} other slices of the series (a scout view?)"
    normal = slice_normal(group[0])
    if len(group) == 1 and normal is not None and abs(normal[2]) < SCOUT_NORMAL_Z:
        return "a single sagittal or coronal slice (a scout view?)"
    return ""


def _split_repeats(group: list[SliceHeader]) -> list[Group]:
    """Split a group that visits its positions several times, or holds several scans, where a tag tells them apart.

    Repeats that no tag explains are left to the reader, which compares their pixels. Interleaved scans that no tag
    tells apart make no scan: the list is empty.
    """
    if _is_interleaved(group):
        return _split(group, (*_VISIT_KEYS, _FOLDER_KEY), "holds {} scans at interleaved positions")
    if len(set(places(group))) in (1, len(group)):
        return [Group(tuple(group), _alternating(group))]
    return _split(group, _VISIT_KEYS, VISITS) or _in_turn(group) or [Group(tuple(group))]


def _in_turn(group: Sequence[SliceHeader]) -> list[Group]:
    """The first, second ... visit of every position, where slices were numbered visit by visit or place by place.

    The list is empty where they were numbered otherwise, or some positions are visited more often than others, as when
    a part of a scan was repeated.
    """
    stacked = _stacked(group)
    count = len(stacked[0])
    if count < 2 or len(stacked) <= STRAY_SLICES or any(len(one) != count or not _are_apart(one) for one in stacked):
        return []
    visits = list(zip(*stacked, strict=True))
    if not _follow(visits) and not _follow(sorted(stacked, key=_ends)):
        return []
    note = f"the series {VISITS.format(count)}; split by the order of its slices"
    return [Group(tuple(visit), (note,)) for visit in visits]


def _stacked(group: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """The slices of each position, in their order."""
    inward = sorted(zip(places(group), group, strict=True), key=lambda pair: (pair[0], pair[1].order))
    return [[header for _, header in pairs] for _, pairs in groupby(inward, key=lambda pair: pair[0])]


def _follow(parts: Sequence[Sequence[SliceHeader]]) -> bool:
    """Whether all slices of a part come before all those of the next."""
    return all(_ends(one)[1] < _ends(other)[0] for one, other in pairwise(parts))


def _are_apart(slices: Sequence[SliceHeader]) -> bool:
    """Whether slices of one position have orders and UIDs of their own; copies of one slice share them."""
    return len({header.order for header in slices}) == len({header.sop_uid for header in slices}) == len(slices)


def _ends(slices: Sequence[SliceHeader]) -> tuple[tuple[int, str, int], tuple[int, str, int]]:
    """The orders of the first and the last of some slices."""
    orders = [header.order for header in slices]
    return min(orders), max(orders)


def _split(group: Sequence[SliceHeader], keys: Iterable[tuple[str, Key]], what: str) -> list[Group]:
    """The group by the first key that makes stacks of it; empty where none does."""
    for name, key in keys:
        parts = list(_by(group, key))
        if len(parts) > 1 and all(_is_stack(part) and not _is_interleaved(part) for part in parts):
            note = f"the series {what.format(len(parts))}; split by {name}"
            return [Group(tuple(part), (note,)) for part in parts]
    return []


def _is_interleaved(slices: Sequence[SliceHeader]) -> bool:
    """Whether two scans have been merged: most InstanceNumbers occur again, at positions between the first.

    A scan of two blocks that each count from 1 is one scan: the blocks lie one above the other.
    """
    counts = Counter(header.order[2] for header in slices)
    numbers = places(slices)
    repeated = sum(count > 1 for count in counts.values())
    if 2 * repeated < len(counts) or len(counts) <= STRAY_SLICES or len(set(numbers)) < len(numbers):
        return False
    first: dict[int, int] = {}
    again: list[int] = []
    for place, header in sorted(zip(numbers, slices, strict=True), key=lambda pair: pair[0]):
        if header.order[2] in first:
            again.append(place)
        else:
            first[header.order[2]] = place
    return min(again) < max(first.values())


Key = Callable[[SliceHeader], Hashable]


def _alternating(group: Sequence[SliceHeader]) -> tuple[str, ...]:
    """Notes where slices of several acquisitions lie between each other: passes of one scan, or merged scans."""
    inward = sorted(range(len(group)), key=places(group).__getitem__)
    notes = []
    for name, key in _ALTERNATE_KEYS:
        kinds = Counter(key(header) for header in group)
        changes = sum(key(group[one]) != key(group[other]) for one, other in pairwise(inward))
        if len(kinds) > 1 and min(kinds.values()) > STRAY_SLICES and changes >= len(kinds):
            verb = "alternate" if 2 * changes > len(group) else "overlap"
            notes.append(f"slices of {len(kinds)} {name} {verb}; taken as one scan")
    return tuple(notes)


def _visit(place: int, header: SliceHeader) -> Hashable:
    return header.visit[place]


_ALTERNATE_KEYS: tuple[tuple[str, Key], ...] = (
    ("acquisitions", lambda header: header.acquisition),
    ("kernels", lambda header: header.kernel),
    ("tube voltages", lambda header: header.kilovolts),
    ("kinds of image", lambda header: header.image_type),
)
_VISIT_KEYS: tuple[tuple[str, Key], ...] = (
    ("AcquisitionNumber", lambda header: header.acquisition),
    ("ConvolutionKernel", lambda header: header.kernel),
    ("KVP", lambda header: header.kilovolts),
    ("ImageType", lambda header: header.image_type),
    ("AcquisitionTime", lambda header: header.order[1]),
    *((name, partial(_visit, place)) for place, name in enumerate(VISIT_TAGS)),
)
_FOLDER_KEY: tuple[str, Key] = ("folder", lambda header: header.source.folder)
"""Not for repeats: the same series in two folders is one scan and its copy."""


def _is_stack(slices: Sequence[SliceHeader]) -> bool:
    return len(slices) > STRAY_SLICES and len(set(places(slices))) == len(slices)


def _by(headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]) -> Iterable[list[SliceHeader]]:
    """Slices with the same key together, in order of first appearance."""
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return groups.values()


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
