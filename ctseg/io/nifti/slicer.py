"""What 3D Slicer's segmentation NRRD (`.seg.nrrd`) says beside its voxels: segments, layers, and the part it holds.

Segments that overlap lie in layers, which are a first axis of four; a layer holds several segments under one value
each. Slicer also cuts the voxels down to the segments. The fields are those of `vtkMRMLSegmentationStorageNode`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.nifti.itk import header_text

NRRD = (".nrrd", ".nhdr")
FIELD = re.compile(rb"^Segment([0-9]{1,5})_(LabelValue|Layer):=[ \t]*+([0-9]{1,6})[ \t\r]*+$", re.MULTILINE)
PART = re.compile(rb"^Segmentation_ReferenceImageExtentOffset:=", re.MULTILINE)
MOST_SEGMENTS = 255
"""A mask in memory has one byte a voxel."""


@dataclass(frozen=True)
class Segment:
    """Where the voxels of one segment are."""

    layer: int
    value: int
    """Of its voxels in the layer."""


def segments_of(head: bytes) -> tuple[Segment, ...]:
    """The segments that a header describes, in its order.

    Raises:
        CaseError: without the file's name, if one has no value, or there are more than `MOST_SEGMENTS`.
    """
    found: dict[int, dict[bytes, int]] = {}
    for number, name, value in FIELD.findall(head):
        found.setdefault(int(number), {})[name] = int(value)
    if len(found) > MOST_SEGMENTS:
        raise CaseError(f"has {len(found)} segments, of which {MOST_SEGMENTS} are read at most; save those that count")
    segments = [Segment(item.get(b"Layer", 0), item.get(b"LabelValue", 0)) for _, item in sorted(found.items())]
    if any(item.value == 0 for item in segments):
        raise CaseError("has a segment without LabelValue, so that its voxels are unknown; save it again")
    return tuple(segments)


def is_part(path: Path) -> bool:
    """Whether a mask may hold a part of its scan's grid alone, as 3D Slicer says in its header."""
    return path.name.lower().endswith(NRRD) and path.is_file() and PART.search(header_text(path)) is not None


def paint(labels: NDArray[np.uint8], number: int, voxels: NDArray[np.bool_], chosen: Collection[int]) -> None:
    """Enter a segment into label values; where it overlaps another, a chosen one is seen, else the first.

    So the voxels above 0 are those of any segment, and those of the chosen values are those of any chosen segment.

    Args:
        labels: changed in place.
        number: of the segment, from 1 to 255.
        voxels: its own, of the shape of `labels`.
        chosen: numbers of the segments that count; empty for all.
    """
    labels[voxels if number in chosen else voxels & (labels == 0)] = number
