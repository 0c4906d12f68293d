"""DICOM RT structure sets in: the closed outlines of their regions of interest (PS3.3, A.19, C.8.8.5 and C.8.8.6).

A structure set has points in mm and no pixels: which pixels an outline encloses, its scan says
(`ctseg.io.outlines`).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ctseg.errors import CaseError
from ctseg.failures import system_failure
from ctseg.io.dicom.header import (
    DEFLATED,
    NoHeader,
    count_items,
    end_of_meta,
    floats,
    identifier,
    read_header,
    refuse_inflating,
    text,
    value_of,
)
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.drawn import Owner, SliceName, owner_of
from ctseg.io.nifti.slicer import MOST_SEGMENTS
from ctseg.io.source import Source

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
"""RT Structure Set Storage."""
CLOSED, XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"
CONTOUR_DATA = Tag("ContourData")
MOST_ITEMS = 400_000
"""Outlines and names of slices, each an item; forty regions on 300 slices have 50,000."""
MOST_BYTES = 512 * 1024**2
MOST_POINTS = 1_000_000
"""Of the regions that count; a head's outline has some hundred a slice."""
NO_LESIONS = frozenset({"EXTERNAL", "BOLUS", "SUPPORT", "FIXATION"})
"""RTROIInterpretedType of the body's outline and of what lies beside the body."""
EMPTY = "its structure set holds no outline; it counts as an empty mask"
OPEN = "leaves out points and open lines, which enclose nothing (region {})"
SEVERAL = "all of its regions count as lesions ({}); choose by their numbers where they are none"
NONE_CHOSEN = "has none of the chosen regions (it has {}); it counts as an empty mask"
CHOOSE = (
    "name the numbers of the regions that are lesions (--lesion-labels of preprocess, --set reference_labels=[1] of "
    "evaluate)"
)

NO_GRID = "an RT structure set, whose outlines have no pixels of their own; give it with its scan, or write it as NIfTI"

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """One closed outline in a plane."""

    points_mm: Points
    """(N, 3) LPS mm; the first point is not repeated."""
    sources: frozenset[SliceName]
    """The slices of a scan that it was drawn on."""
    is_xor: bool
    """Whether it says that what it encloses is combined with that of others by exclusive or."""


@dataclass(frozen=True)
class Frame:
    """What a structure set says of one frame of reference."""

    uid: str = ""
    series_uids: frozenset[str] = frozenset()
    names: frozenset[SliceName] = frozenset()
    """All slices that it lists for these series."""


@dataclass(frozen=True)
class Region:
    """A region of interest with its closed outlines."""

    number: int
    """The label value of its voxels."""
    frame: Frame
    outlines: tuple[Outline, ...]


@dataclass(frozen=True)
class Structures:
    """The regions of an RT structure set that count."""

    regions: tuple[Region, ...]
    numbers: tuple[int, ...]
    """Of all regions with an outline, chosen or not."""
    notes: tuple[str, ...]
    owner: Owner
    """Whose they are, see `ctseg.io.drawn.owner_of`."""


def is_rtstruct(source: Source) -> bool:
    """Whether a file is an RT structure set; no outline is read."""
    header = read_header(source)
    return not isinstance(header, NoHeader) and (header.modality == "RTSTRUCT" or header.sop_class == SOP_CLASS)


def read_rtstruct(source: Source, chosen: Collection[int] = ()) -> Structures:
    """The outlines of an RT structure set.

    Args:
        source: the file.
        chosen: numbers of the regions that count; empty for all.

    Raises:
        CaseError: if it is broken, too large, no structure set, or its outlines are none.
    """
    dataset: Dataset | None = None
    try:
        dataset = _dataset(source)
        return _structures(dataset, chosen)
    except CaseError as error:
        raise CaseError(f"{source}: {error}") from None
    except FileNotFoundError:
        raise CaseError(f"{source}: no such file") from None
    except Exception as error:  # pydicom raises whatever a broken element makes Python raise
        quoted = unquoted(error) if dataset is None else unquoted(error, dataset)
        reason = system_failure(error) or f"broken DICOM RTSTRUCT ({quoted}); copy the file again"
        raise CaseError(f"{source}: {reason}") from None


def _dataset(source: Source) -> Dataset:
    """The whole file; its items are counted before each becomes an object that is a hundred times as large."""
    with source.open() as stream:
        refuse_inflating(stream)
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES or count_items(io.BytesIO(_inflated(data))) > MOST_ITEMS:
        raise CaseError("holds more outlines than a head has; export its regions of lesions alone")
    return pydicom.dcmread(io.BytesIO(data), force=True)


def _inflated(data: bytes) -> bytes:
    """The bytes of a dataset; `refuse_inflating` passed them."""
    if DEFLATED not in data[:2048]:
        return data
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[end_of_meta(data) :])


def _structures(dataset: Dataset, chosen: Collection[int]) -> Structures:
    if text(dataset, "SOPClassUID") != SOP_CLASS:
        raise CaseError("no DICOM RTSTRUCT by its SOPClassUID; write it as one, or as NIfTI on the grid of the scan")
    frames, described = _frames(dataset), _described(dataset)
    drawn = _drawn(dataset, described)
    numbers = sorted(drawn)
    labels = _labels(numbers, chosen)
    counted = [number for number in numbers if not chosen or number in chosen]
    if not chosen:
        _check_types(dataset, counted)
    regions, budget = list[Region](), MOST_POINTS
    for number in counted:
        outlines = tuple(_outlines(drawn[number], budget))
        budget -= sum(len(outline.points_mm) for outline in outlines)
        regions.append(Region(labels[number], _frame_of(described[number], frames), outlines))
    left = [n for n, region in zip(counted, regions, strict=True) if len(region.outlines) < len(drawn[n])]
    notes = _notes(numbers, counted, chosen, left)
    return Structures(tuple(regions), tuple(labels.values()), notes, owner_of(dataset))


def _notes(
    numbers: Sequence[int], counted: Sequence[int], chosen: Collection[int], left: Sequence[int]
) -> tuple[str, ...]:
    """What is to be known of the regions that count."""
    found = ", ".join(map(str, numbers))
    said = {
        EMPTY: not numbers,
        NONE_CHOSEN.format(found): bool(numbers) and not counted,
        SEVERAL.format(found): len(counted) > 1 and not chosen,
        OPEN.format(", ".join(map(str, left))): bool(left),
    }
    return tuple(note for note, holds in said.items() if holds)


def _described(dataset: Dataset) -> dict[int, str]:
    """Number of each region -> the frame of reference that it says.

    Raises:
        CaseError: if two have one number.
    """
    items = list(dataset.get("StructureSetROISequence") or ())
    found = {_number(item, "ROINumber"): text(item, "ReferencedFrameOfReferenceUID") for item in items}
    if len(found) < len(items):
        raise CaseError("two of its regions have one number; export it again")
    return found


def _number(item: Dataset, name: str) -> int:
    """A whole number, which may be 0; -1 where there is none."""
    value = value_of(item, name)
    try:
        return -1 if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return -1


def _drawn(dataset: Dataset, described: Collection[int]) -> dict[int, list[Dataset]]:
    """Number of each region that has contours -> these.

    Raises:
        CaseError: if there are contours of a region that is not described.
    """
    found: dict[int, list[Dataset]] = {}
    for item in dataset.get("ROIContourSequence") or ():
        contours = list(item.get("ContourSequence") or ())
        number = _number(item, "ReferencedROINumber")
        if contours and number not in described:
            raise CaseError("has outlines of a region that it does not describe; export it again")
        found.setdefault(number, []).extend(contours)
    return {number: contours for number, contours in found.items() if contours}


def _labels(numbers: Sequence[int], chosen: Collection[int]) -> dict[int, int]:
    """Number -> label value; a number that is none matters not where there is one region, and nothing is chosen.

    Raises:
        CaseError: if a number cannot be a label value.
    """
    if len(numbers) == 1 and not chosen and not 1 <= numbers[0] <= MOST_SEGMENTS:
        return {numbers[0]: 1}
    if numbers and not 1 <= numbers[0] <= numbers[-1] <= MOST_SEGMENTS:
        raise CaseError(
            f"its regions have the numbers {numbers[0]} to {numbers[-1]}, where 1 to {MOST_SEGMENTS} are read; "
            "renumber them"
        )
    return {number: number for number in numbers}


def _check_types(dataset: Dataset, counted: Collection[int]) -> None:
    """Refuse to take the outline of the body for a lesion among others.

    Raises:
        CaseError: if a region is by its type none of the body's inside, and nobody chose.
    """
    for item in dataset.get("RTROIObservationsSequence") or ():
        number, kind = _number(item, "ReferencedROINumber"), text(item, "RTROIInterpretedType").upper()
        if kind in NO_LESIONS and number in counted:
            raise CaseError(f"its region {number} is no lesion by its type ({kind}); {CHOOSE}")


def _frames(dataset: Dataset) -> dict[str, Frame]:
    """UID -> frame of reference, with the series and slices that are listed for it."""
    found: dict[str, Frame] = {}
    for item in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        series = [
            one for study in item.get("RTReferencedStudySequence") or ()
            for one in study.get("RTReferencedSeriesSequence") or ()
        ]  # fmt: skip
        uids = frozenset(identifier(one, "SeriesInstanceUID") for one in series) - {""}
        names = frozenset(name for one in series for name in _names(one))
        uid = text(item, "FrameOfReferenceUID")
        found[uid] = Frame(uid, uids, names)
    return found


def _frame_of(uid: str, frames: dict[str, Frame]) -> Frame:
    """The frame of reference of a region; where it says none, the only one there is."""
    return frames.get(uid) or (Frame(uid) if uid else next(iter(frames.values())) if len(frames) == 1 else Frame())


def _names(item: Dataset) -> Iterator[SliceName]:
    """The slices that a contour, or a series, names."""
    for image in item.get("ContourImageSequence") or ():
        uid, numbers = identifier(image, "ReferencedSOPInstanceUID"), image.get("ReferencedFrameNumber") or 0
        yield from ((uid, int(number)) for number in ([numbers] if isinstance(numbers, int) else numbers) if uid)


def _outlines(contours: Sequence[Dataset], budget: int) -> Iterator[Outline]:
    """The closed ones.

    Args:
        contours: of a region.
        budget: points that they may have.

    Raises:
        CaseError: if one has no points that are any, or there are more.
    """
    for contour in contours:
        kind = text(contour, "ContourGeometricType").upper()
        if kind not in (CLOSED, XOR):
            continue
        points = _points(contour)
        budget -= len(points)
        if budget < 0:
            raise CaseError(f"its outlines have more than {MOST_POINTS} points; export its regions of lesions alone")
        if any(floats(contour, "ContourOffsetVector", 3) or ()):
            raise CaseError(
                "its outlines lie off their slices (ContourOffsetVector), which is not read; draw them there"
            )
        yield Outline(points, frozenset(_names(contour)), kind == XOR)


def _points(contour: Dataset) -> Points:
    """(N, 3) the points of a contour, from its text as a whole: an object for each number would be large.

    Raises:
        CaseError: if they are none.
    """
    element: Any = contour.get_item(CONTOUR_DATA)
    value = None if element is None else element.value
    words = value.decode("ascii", "replace") if isinstance(value, bytes) else "\\".join(map(str, _listed(value)))
    words = words.strip("\0 ")
    try:
        numbers = np.fromstring(words, sep="\\") if words else np.empty(0)
    except ValueError:
        numbers = np.empty(0)
    count = _number(contour, "NumberOfContourPoints")
    if not len(numbers) or len(numbers) != words.count("\\") + 1 or not np.isfinite(numbers).all():
        raise CaseError("an outline has coordinates that are no numbers; export it again")
    if len(numbers) != 3 * count:
        raise CaseError(f"an outline says {count} points and holds {len(numbers)} coordinates; copy the file again")
    return numbers.reshape(-1, 3)


def _listed(value: Any) -> Sequence[Any]:
    return [] if value is None else [value] if isinstance(value, str | float | int) else list(value)
