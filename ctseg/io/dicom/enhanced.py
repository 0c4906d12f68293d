"""Enhanced multi-frame objects of CT and MR: every frame as a slice of its own, by its functional groups (PS3.3, A.38).

Converters write these volumes with one slope for all frames, with even steps and without tilt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import IO

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import CTImageStorage, MRImageStorage

from ctseg.errors import CaseError
from ctseg.io.dicom.header import (
    NoHeader,
    SliceHeader,
    header_of,
    integer,
    read_header,
    text,
    value_of,
)
from ctseg.io.source import Source

SINGLE = {
    "1.2.840.10008.5.1.4.1.1.2.1": CTImageStorage, "1.2.840.10008.5.1.4.1.1.2.2": CTImageStorage,
    "1.2.840.10008.5.1.4.1.1.4.1": MRImageStorage, "1.2.840.10008.5.1.4.1.1.4.4": MRImageStorage,
}  # fmt: skip
"""Enhanced and legacy converted enhanced classes, and the class of single slices."""
SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
KEPT = frozenset({"RealWorldValueMappingSequence"})
"""A group that single slices have as a sequence, too."""
RENAMED = (
    ("FrameType", "ImageType", "CS"),
    ("TemporalPositionIndex", "TemporalPositionIdentifier", "IS"),
    ("FrameAcquisitionNumber", "AcquisitionNumber", "IS"),
    ("FrameAcquisitionDateTime", "AcquisitionDateTime", "DT"),
)
"""What a frame calls other than a slice."""
DIMENSIONS = (
    "TemporalPositionIndex", "StackID", "TemporalPositionTimeOffset", "EffectiveEchoTime",
    "NominalCardiacTriggerDelayTime", "NominalPercentageOfCardiacPhase", "DiffusionBValue", "ReconstructionAlgorithm",
)  # fmt: skip
"""What a frame says of the scan that it belongs to, beside what a slice says, the surest first."""
PLACES = frozenset({"InStackPositionNumber", "ImagePositionPatient", "SliceLocation", *DIMENSIONS})
"""Dimensions of an index that are where a frame lies, or that the frame says itself."""
MOST_FRAMES = 10_000
"""More than any scan of a head has."""


def is_enhanced(header: SliceHeader) -> bool:
    """Whether a file holds slices as frames, each with its own place and slope."""
    return header.sop_class in SINGLE and header.frames >= 1


def holds_frames(dataset: Dataset) -> bool:
    """The same of a dataset."""
    return text(dataset, "SOPClassUID") in SINGLE


def is_object(frames: Sequence[Dataset]) -> bool:
    """Whether the headers of a scan's slices are those of an enhanced object's frames, as `named_as_frame` has them."""
    return bool(frames) and holds_frames(frames[0])


def named_as_frame(frame: Dataset, kind: str, uid: str, number: int) -> Dataset:
    """The header of a frame under the name that other objects call it by: its object's UID, and its own number.

    Args:
        frame: as `frames_of` gives it; changed.
        kind: SOPClassUID of the object.
        uid: SOPInstanceUID of the object.
        number: of the frame, from 1; it becomes the InstanceNumber.
    """
    frame.add_new("SOPClassUID", "UI", kind)  # an assignment would change the element that all frames share
    frame.add_new("SOPInstanceUID", "UI", uid)
    frame.add_new("InstanceNumber", "IS", number)
    return frame


def as_slice(header: SliceHeader) -> SliceHeader:
    """The header of a slice of an enhanced object, as far as the object's own says it; others as they are."""
    return replace(header, sop_class=SINGLE[header.sop_class], frames=1) if is_enhanced(header) else header


def read_with_frames(source: Source) -> SliceHeader | NoHeader:
    """The header of one file, as `read_header` gives it; that of an enhanced object with those of its frames."""
    return read_header(source, _with_frames)


def _with_frames(header: SliceHeader, stream: IO[bytes]) -> SliceHeader:
    """The header of an enhanced object with those of its frames, from its file that is open still; others as they are.

    An object whose frames cannot be read stays as it is: reading the scan says what is wrong with it.
    """
    if not is_enhanced(header):
        return header
    try:
        stream.seek(0)
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        frames = _described(dataset, header.source.name)
        return replace(header, parts=tuple(frame_header(frame, header.source) for frame in frames))
    except Exception:  # pydicom raises whatever a broken element makes Python raise
        return header


def frame_header(frame: Dataset, source: Source) -> SliceHeader:
    """The header of a frame, as `frames_of` gives it; its own time says which frame is the later one."""
    header = header_of(frame, source)
    acquisition, time, number = header.order
    order = acquisition, text(frame, "AcquisitionDateTime") or time, number
    return replace(header, order=order, frame=number, dimensions=tuple(_dimensions(frame)))


def _dimensions(frame: Dataset) -> Iterator[tuple[str, str]]:
    """What a frame says of its stack, time and other dimensions: by name, then by the object's index of them."""
    yield from ((name, text(frame, name)) for name in DIMENSIONS if name in frame)
    values = value_of(frame, "DimensionIndexValues")
    indices = [values] if isinstance(values, int) else list(values or ())
    for place, (item, value) in enumerate(zip(value_of(frame, "DimensionIndexSequence") or (), indices, strict=False)):
        name = keyword_for_tag(item.get("DimensionIndexPointer") or 0) or f"dimension {place + 1}"
        if name not in PLACES:
            yield name, str(value)


def frames_of(dataset: Dataset, name: str, wanted: Collection[int] = ()) -> Iterator[Dataset]:
    """The frames of an enhanced object, each as the dataset of a single slice with its pixels.

    What a frame's functional groups say comes before what all frames share, and that before the object's own fields.

    Args:
        dataset: the object, with its pixels.
        name: the file, for messages.
        wanted: numbers of the frames, from 1; empty for all.

    Raises:
        CaseError: if the frames, their groups and their pixels are not equally many, or one that is wanted is missing.
    """
    frames = list(_described(dataset, name))
    if max(wanted, default=0) > len(frames):
        raise CaseError(f"{name}: holds {len(frames)} frames, and no longer frame {max(wanted)}; call again")
    is_packed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    for number, (frame, data) in enumerate(zip(frames, _pixels(dataset, len(frames), name), strict=True), start=1):
        if wanted and number not in wanted:
            continue
        frame.add_new("PixelData", "OB" if is_packed else "OW", data)
        frame["PixelData"].is_undefined_length = is_packed
        yield frame


def _described(dataset: Dataset, name: str) -> Iterator[Dataset]:
    """The frames of `frames_of` without their pixels."""
    count, groups = integer(dataset, "NumberOfFrames"), dataset.get(EACH) or ()
    if not 0 < count <= MOST_FRAMES or len(groups) != count:
        way_out = "export the series again" if groups else "export the series as single slices"
        raise CaseError(f"{name}: says {count} frames and describes {len(groups)}; {way_out}")
    common = Dataset()
    common.update({element.tag: element for element in dataset if element.keyword not in (SHARED, EACH, "PixelData")})
    _spread(common, (dataset.get(SHARED) or [Dataset()])[0])
    kind = SINGLE.get(text(dataset, "SOPClassUID"), CTImageStorage)
    for number, group in enumerate(groups, start=1):
        frame = Dataset()
        frame.update(dict(common.items()))
        _spread(frame, group)
        frame.file_meta = dataset.file_meta
        named_as_frame(frame, kind, f"{text(dataset, 'SOPInstanceUID')}.{number}", number)
        frame.add_new("NumberOfFrames", "IS", 1)
        yield frame


def _spread(frame: Dataset, group: Dataset) -> None:
    """Put what the sequences of a functional group say into the fields of a single slice."""
    for sequence in group:
        if sequence.VR != "SQ" or len(sequence.value) != 1 or sequence.keyword in KEPT:
            frame.update({sequence.tag: sequence})
            continue
        item = sequence.value[0]
        frame.update({element.tag: deepcopy(element) for element in item if element.VR != "SQ"})
        for name, field, vr in RENAMED:
            if name in item:
                frame.add_new(field, vr, item[name].value)


def _pixels(dataset: Dataset, count: int, name: str) -> Iterator[bytes]:
    """The pixels of each frame as those of a file with one frame."""
    if "PixelData" not in dataset:
        raise CaseError(f"{name}: has no pixel data that is read; copy the file again")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
        if len(frames) != count:
            raise CaseError(f"{name}: says {count} frames and holds {len(frames)}; copy the file again")
        yield from (encapsulate([frame]) for frame in frames)
        return
    pixels = integer(dataset, "Rows") * integer(dataset, "Columns")
    size, held = pixels * integer(dataset, "BitsAllocated", 16) // 8, len(dataset.PixelData or b"")
    if not size or not size * count <= held <= size * count + 1:
        raise CaseError(f"{name}: has {held} bytes of pixels where {count} frames need {size * count}; copy it again")
    yield from (dataset.PixelData[place * size : (place + 1) * size] for place in range(count))
