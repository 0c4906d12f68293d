"""Slices of one geometry that are several scans: a series, or an object with frames, that visits its places again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise

from ctseg.io.dicom.geometry import places
from ctseg.io.dicom.header import VISIT_TAGS, SliceHeader
from ctseg.io.dicom.passes import interleaved

STRAY_SLICES = 2
"""So few slices make no scan beside a real stack."""
VISITS = "visits its positions {} times"
INTERLEAVED = "holds {} scans at interleaved positions"
STACK = "StackID"


@dataclass(frozen=True)
class Group:
    """Slices of one series that can be stacked."""

    slices: tuple[SliceHeader, ...]
    notes: tuple[str, ...] = ()


def split_repeats(group: list[SliceHeader]) -> list[Group]:
    """Split a group that visits its positions several times, or holds several scans, where a tag tells them apart.

    Repeats that no tag explains are left to the reader, which compares their pixels. Interleaved scans that no tag
    tells apart make no scan: the list is empty.
    """
    if stacks := _overlapping_stacks(group):
        note = f"the {_whole(group)} holds {len(stacks)} stacks in one place; split by {STACK}"
        return [Group(part.slices, (note, *part.notes)) for stack in stacks for part in split_repeats(stack)]
    if _is_interleaved(group):
        return _split(group, (*_VISIT_KEYS, _FOLDER_KEY), INTERLEAVED) or _passes(group)
    if len(set(places(group))) in (1, len(group)):
        return _passes(group) or [Group(tuple(group), (*_alternating(group), *_about_stacks(group)))]
    return _repeats(group) or [Group(tuple(group))]


def _repeats(group: Sequence[SliceHeader]) -> list[Group]:
    """The visits of a group that visits its positions several times; empty where nothing tells them apart."""
    keys = (*_frame_keys(group), *_VISIT_KEYS)
    return _split(group, keys, VISITS) or _split_jointly(group, keys) or _in_turn(group)


def _passes(group: Sequence[SliceHeader]) -> list[Group]:
    """The acquisitions of a group that lie between each other; empty where they do not, or nothing tells them apart."""
    name, parts = interleaved(group, (*_frame_keys(group), *_VISIT_KEYS))
    note = f"the {_whole(group)} {INTERLEAVED.format(len(parts))}; split by {name}"
    return [Group(tuple(part), (note,)) for part in parts]


def _whole(group: Sequence[SliceHeader]) -> str:
    """What slices are parts of: an object with frames, or a series of files."""
    return "object" if group[0].frame else "series"


def _dimension(name: str, header: SliceHeader) -> str:
    return dict(header.dimensions).get(name, "")


def _frame_keys(group: Sequence[SliceHeader]) -> list[tuple[str, Key]]:
    """What the frames of an object say of themselves, in the order in which it is said."""
    names = dict.fromkeys(name for header in group for name, _ in header.dimensions)
    return [(name, partial(_dimension, name)) for name in names]


def _overlapping_stacks(group: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """The stacks that an object names, where they lie in one place; empty where it names one, or each lies beyond.

    Blocks of slices, one above the other, are one scan, as they are in a series.
    """
    stacks = list(by(group, partial(_dimension, STACK)))
    if len(stacks) < 2:
        return []
    within = _visited(group, stacks)
    ends = sorted((min(found), max(found)) for found in within)
    is_split = all(len(found) > STRAY_SLICES for found in within)
    return stacks if is_split and any(one[1] >= other[0] for one, other in pairwise(ends)) else []


def _visited(group: Sequence[SliceHeader], parts: Iterable[Sequence[SliceHeader]]) -> list[set[int]]:
    """The positions in a group that each of its parts visits, by their places."""
    numbers = dict(zip(map(id, group), places(group), strict=True))
    return [{numbers[id(header)] for header in part} for part in parts]


def _about_stacks(group: Sequence[SliceHeader]) -> list[str]:
    count = len({_dimension(STACK, header) for header in group})
    return [f"the object holds {count} stacks ({STACK}), one beyond the other; taken as one scan"] if count > 1 else []


def _split_jointly(group: Sequence[SliceHeader], keys: Iterable[tuple[str, Key]]) -> list[Group]:
    """The group by several keys together, as phases and energies; each value of each key visits every position."""
    chosen: list[tuple[str, Key]] = []
    count = 1
    for name, key in _whole_keys(group, keys):
        together = len({_values((*chosen, (name, key)), header) for header in group})
        if together > count:
            chosen, count = [*chosen, (name, key)], together
    names = " and ".join(name for name, _ in chosen)
    return _split(group, [(names, partial(_values, tuple(chosen)))], VISITS) if len(chosen) > 1 else []


def _whole_keys(group: Sequence[SliceHeader], keys: Iterable[tuple[str, Key]]) -> Iterator[tuple[str, Key]]:
    """The keys that have several values, each of which visits every position."""
    whole = len(set(places(group)))
    for name, key in keys:
        parts = list(by(group, key))
        if len(parts) > 1 and all(len(visited) == whole for visited in _visited(group, parts)):
            yield name, key


def _values(keys: Sequence[tuple[str, Key]], header: SliceHeader) -> Hashable:
    return tuple(key(header) for _, key in keys)


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
    what = f"the {_whole(group)} {VISITS.format(count)}"
    note = f"{what}; split by the order of its {'frames' if _whole(group) == 'object' else 'slices'}"
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
        parts = list(by(group, key))
        if len(parts) > 1 and all(_is_stack(part) and not _is_interleaved(part) for part in parts):
            note = f"the {_whole(group)} {what.format(len(parts))}; split by {name}"
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


def by(headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]) -> Iterable[list[SliceHeader]]:
    """Slices with the same key together, in order of first appearance."""
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return groups.values()
