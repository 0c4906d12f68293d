"""DICOM Segmentation objects in: the voxels that their segments mark, slice by slice (PS3.3, A.51 and C.8.20).

A frame says itself where it lies and which segment it shows. Writers leave out frames without a marked voxel, so a file
holds a part of its scan's slices, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ctseg.errors import CaseError
from ctseg.failures import system_failure
from ctseg.io.dicom.geometry import SAME_DIRECTION, SAME_PLACE_MM, SAME_SPACING_MM, Stack, is_square
from ctseg.io.dicom.header import NoHeader, floats, identifier, integer, number, read_header, text
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.dicom.reader import read_dataset
from ctseg.io.dicom.seg_pixels import check_pixels, frame_values, marked, numbered
from ctseg.io.drawn import Owner, SliceName, owner_of
from ctseg.io.nifti.file import MAX_VOXELS
from ctseg.io.nifti.slicer import MOST_SEGMENTS
from ctseg.io.source import Source

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", LABEL_MAP)
"""Segmentation Storage and Label Map Segmentation Storage."""
BACKGROUND = ("125040", "DCM")
"""The code of a segment that is none."""
SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
PLANE, SPACING = ("ImageOrientationPatient", 6), ("PixelSpacing", 2)
MOST_FRAMES = 200_000
"""A hundred structures on a thousand slices are half of it."""
NO_PLACE = (
    "its frames have no usable {}; export it again with its geometry, or write it as NIfTI on the grid of the scan"
)

TILES = (
    "its frames are tiles of larger pictures, whose places their order alone tells (TILED_FULL), which is not read; "
    "write it as NIfTI on the grid of the scan"
)

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """What one frame says beside its pixels."""

    segment: int
    """Its number; 0 where the pixels themselves are numbers of segments."""
    position: tuple[float, ...]
    sources: frozenset[SliceName]


@dataclass(frozen=True)
class Segments:
    """The marked voxels of a DICOM SEG."""

    labels: Labels
    """(n, rows, columns) numbers of segments; one slice for each position that the file has a frame at."""
    stack: Stack
    """Where these n slices lie."""
    sources: tuple[frozenset[SliceName], ...]
    """(n,) the slices of a scan that each was made from."""
    series_uids: frozenset[str]
    """Of the scan."""
    frame_of_reference_uid: str
    spacing_mm: float | None
    """SpacingBetweenSlices, where it is stated."""
    overlap: bool
    """Whether a voxel is in more than one segment."""
    owner: Owner
    """Whose it is, see `ctseg.io.drawn.owner_of`."""


def is_seg(path: Path) -> bool:
    """Whether a file is a DICOM segmentation of any kind; no pixel is read."""
    header = read_header(Source(str(path)))
    return not isinstance(header, NoHeader) and (header.modality == "SEG" or header.sop_class in CLASSES)


def read_seg(path: Path, chosen: Collection[int] = ()) -> Segments:
    """The voxels of all segments; a voxel's value is the number of its segment.

    Args:
        path: the file.
        chosen: numbers of the segments that are seen where segments overlap; empty for all, of which the lowest is.

    Raises:
        CaseError: if it is broken, no segmentation of voxels, does not say where its frames lie, or holds
            probabilities.
    """
    header = read_header(Source(str(path)))
    if isinstance(header, NoHeader):
        raise CaseError(f"{path}: {header.reason}")
    dataset = read_dataset(Source(str(path)))
    try:
        return _segments(dataset, chosen)
    except CaseError as error:
        raise CaseError(f"{path}: {error}") from None
    except Exception as error:  # pydicom raises whatever a broken element makes Python raise
        reason = system_failure(error) or f"broken DICOM SEG ({unquoted(error, dataset)}); copy the file again"
        raise CaseError(f"{path}: {reason}") from None


def _segments(dataset: Dataset, chosen: Collection[int]) -> Segments:
    kind = _kind(dataset)
    numbers = _numbers(dataset, kind)
    shared, groups = (dataset.get(SHARED) or [Dataset()])[0], list(dataset.get(EACH) or ())
    _check_size(dataset, groups)
    frames = [_frame(group, shared, kind) for group in groups]
    unknown = {frame.segment for frame in frames} - numbers if kind != "LABELMAP" else set()
    if unknown:
        raise CaseError("has frames of a segment that it does not describe; export it again")
    orientation, spacing, thickness, between = _measures(groups, shared)
    along, down = (part / np.linalg.norm(part) for part in np.reshape(orientation, (2, 3)))
    places, origins = _places(frames, np.cross(along, down))
    shape = integer(dataset, "Rows"), integer(dataset, "Columns")
    labels, overlap = _labels(dataset, frames, places, (len(origins), *shape), kind, numbers, chosen)
    sources = [frozenset[SliceName]() for _ in origins]
    for place, frame in zip(places, frames, strict=True):
        sources[place] |= frame.sources
    return Segments(
        labels,
        Stack(origins, down * spacing[0], along * spacing[1], shape, thickness),
        tuple(sources),
        _series_of(dataset),
        text(dataset, "FrameOfReferenceUID"),
        between,
        overlap,
        owner_of(dataset),
    )


def _kind(dataset: Dataset) -> str:
    """SegmentationType of a segmentation that is read.

    Raises:
        CaseError: if it is none.
    """
    kind = text(dataset, "SegmentationType").upper()
    sop_class = text(dataset, "SOPClassUID")
    if sop_class not in CLASSES:
        raise CaseError(
            "no DICOM SEG of voxels by its SOPClassUID; write it as one, or as NIfTI on the grid of the scan"
        )
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP") or (kind == "LABELMAP") != (sop_class == LABEL_MAP):
        raise CaseError("its SegmentationType is none of its SOPClassUID; export it again")
    return kind


def _numbers(dataset: Dataset, kind: str) -> set[int]:
    """The numbers of the segments that are described, without a label map's background.

    Raises:
        CaseError: if one cannot be a label value.
    """
    found = {integer(item, "SegmentNumber", 0) for item in dataset.get("SegmentSequence") or ()}
    if kind == "LABELMAP":
        found -= _backgrounds(dataset)
    if not found or min(found) < 1 or max(found) > MOST_SEGMENTS:
        numbers = f"{min(found)} to {max(found)}" if found else "none"
        raise CaseError(f"its segments have the numbers {numbers}, where 1 to {MOST_SEGMENTS} are read; renumber them")
    return found


def _backgrounds(dataset: Dataset) -> set[int]:
    """The values in a label map that mean no segment: that of padding, or else 0, and that of a coded background."""
    coded = {
        integer(item, "SegmentNumber", 0)
        for item in dataset.get("SegmentSequence") or ()
        for code in item.get("SegmentedPropertyTypeCodeSequence") or ()
        if (text(code, "CodeValue"), text(code, "CodingSchemeDesignator")) == BACKGROUND
    }
    return coded | {integer(dataset, "PixelPaddingValue", 0)}


def _check_size(dataset: Dataset, groups: Sequence[Dataset]) -> None:
    """Compare what says how large it is, before any room is made for voxels.

    Raises:
        CaseError: if it contradicts itself, or the pixels that are there.
    """
    count = integer(dataset, "NumberOfFrames", 1)
    if not groups and text(dataset, "DimensionOrganizationType").upper() == "TILED_FULL":
        raise CaseError(TILES)
    if count != len(groups) or not 0 < count <= MOST_FRAMES:
        way_out = "export it again" if groups else "write it as NIfTI on the grid of the scan"
        raise CaseError(f"says {count} frames and describes {len(groups)}; {way_out}")
    check_pixels(dataset, count)


def _frame(group: Dataset, shared: Dataset, kind: str) -> Frame:
    place, shown = (
        _macro(group, shared, "PlanePositionSequence"),
        _macro(group, shared, "SegmentIdentificationSequence"),
    )
    position = floats(place, "ImagePositionPatient", 3)
    if position is None:
        raise CaseError(NO_PLACE.format("ImagePositionPatient"))
    segment = 0 if kind == "LABELMAP" else integer(shown, "ReferencedSegmentNumber", 0)
    return Frame(segment, position, frozenset(_sources(group, shared)))


def _macro(group: Dataset, shared: Dataset, name: str) -> Dataset:
    """The one item of a functional group, its own or that of all frames; an empty one where there is none."""
    items = list(group.get(name) or shared.get(name) or ())
    return items[0] if len(items) == 1 else Dataset()


def _sources(group: Dataset, shared: Dataset) -> Iterator[SliceName]:
    """The slices that a frame was made from."""
    for derivation in group.get("DerivationImageSequence") or shared.get("DerivationImageSequence") or ():
        for item in derivation.get("SourceImageSequence") or ():
            numbers = item.get("ReferencedFrameNumber") or 0
            uid = identifier(item, "ReferencedSOPInstanceUID")
            yield from ((uid, int(frame)) for frame in ([numbers] if isinstance(numbers, int) else numbers) if uid)


def _series_of(dataset: Dataset) -> frozenset[str]:
    named = (identifier(item, "SeriesInstanceUID") for item in dataset.get("ReferencedSeriesSequence") or ())
    return frozenset(uid for uid in named if uid)


def _measures(
    groups: Sequence[Dataset], shared: Dataset
) -> tuple[tuple[float, ...], tuple[float, ...], float | None, float | None]:
    """Orientation, pixel spacing, thickness and distance of slices, which all frames share.

    Raises:
        CaseError: if one is missing, impossible, or not the same for all frames.
    """
    plane = _shared([_macro(group, shared, "PlaneOrientationSequence") for group in groups], PLANE, SAME_DIRECTION)
    sizes = [_macro(group, shared, "PixelMeasuresSequence") for group in groups]
    spacing = _shared(sizes, SPACING, SAME_SPACING_MM)
    if not is_square(plane):
        raise CaseError(NO_PLACE.format(PLANE[0]))
    if min(spacing) <= 0:
        raise CaseError(NO_PLACE.format(SPACING[0]))
    thickness, between = (abs(number(sizes[0], name, 0.0)) for name in ("SliceThickness", "SpacingBetweenSlices"))
    return plane, spacing, thickness or None, between or None


def _shared(items: Sequence[Dataset], tag: tuple[str, int], tolerance: float) -> tuple[float, ...]:
    """The numbers of a tag, which all frames share.

    Args:
        items: of the frames' functional groups.
        tag: its name, and how many numbers it has.
        tolerance: within which they are the same.

    Raises:
        CaseError: if one has none, or others.
    """
    values = [floats(item, *tag) for item in items]
    first = values[0]
    if first is None:
        raise CaseError(NO_PLACE.format(tag[0]))
    if not _are_same(values, first, tolerance):
        raise CaseError(f"its frames differ in {tag[0]}, so they make no stack; export it again")
    return first


def _are_same(values: Sequence[tuple[float, ...] | None], first: tuple[float, ...], tolerance: float) -> bool:
    return all(
        value is first or (value is not None and max(abs(a - b) for a, b in zip(value, first, strict=True)) < tolerance)
        for value in values
    )


def _places(frames: Sequence[Frame], normal: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float64]]:
    """The slice of each frame, and the positions (n, 3) of the slices in order along their normal.

    Raises:
        CaseError: if frames of one slice lie beside each other.
    """
    positions = np.array([frame.position for frame in frames], dtype=float)
    heights = positions @ (normal / np.linalg.norm(normal))
    order = np.argsort(heights, kind="stable")
    places = np.empty(len(frames), dtype=int)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(heights[order]) > SAME_PLACE_MM)])
    first = order[np.flatnonzero(np.diff(places[order], prepend=-1))]
    origins = positions[first]
    if np.abs(positions - origins[places]).max() > SAME_PLACE_MM:
        raise CaseError("its frames of one slice lie beside each other; export it again")
    return [int(place) for place in places], origins


def _labels(
    dataset: Dataset,
    frames: Sequence[Frame],
    places: Sequence[int],
    shape: tuple[int, int, int],
    kind: str,
    numbers: set[int],
    chosen: Collection[int],
) -> tuple[Labels, bool]:
    """(n, rows, columns) numbers of segments, and whether segments overlap.

    Raises:
        CaseError: if pixels cannot be decoded, hold what no segment is, or two frames show one segment in one place.
    """
    if len({(place, frame.segment) for place, frame in zip(places, frames, strict=True)}) < len(frames):
        raise CaseError("two of its frames show one segment in one place; export it again")
    if math.prod(shape) > MAX_VOXELS:
        raise CaseError(f"has {' x '.join(map(str, shape))} voxels, too many for a head; crop it")
    labels, overlap, before = np.zeros(shape, np.uint8), False, _precedence(chosen)
    backgrounds = _backgrounds(dataset)
    for place, frame, values in zip(places, frames, frame_values(dataset, len(frames)), strict=True):
        if kind == "LABELMAP":
            labels[place] = numbered(values, numbers, backgrounds)
            continue
        voxels = marked(values, dataset)
        there = labels[place][voxels]
        overlap = overlap or bool(there.any())
        labels[place][voxels] = np.where(before[frame.segment] < before[there], frame.segment, there)
    return labels, overlap


def _precedence(chosen: Collection[int]) -> NDArray[np.int64]:
    """(256,) rank of each label value where segments overlap: the chosen ones first, then by number; 0 is last.

    So the voxels above 0 are those of any segment, and those of the chosen values are those of any chosen segment.
    """
    ranks = np.arange(MOST_SEGMENTS + 1, dtype=np.int64)
    ranks[[number for number in ranks if number not in chosen]] += MOST_SEGMENTS
    ranks[0] = 3 * MOST_SEGMENTS
    return ranks
