"""Headers of a scan's slices as new DICOM objects take them over, and UIDs that follow from content."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from ctseg.inference.deidentify import deidentified, say_how
from ctseg.io.dicom.enhanced import holds_frames
from ctseg.io.dicom.header import floats
from ctseg.io.grid import native_grid
from ctseg.io.volume import NativeGrid, Volume
from ctseg.version import __version__

TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes an object takes from its source that may be empty but not absent; scans in the wild lack them."""
REMOVAL = ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence")
SEXES = ("M", "F", "O", "", None)
TEXT_VRS = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})
ESCAPES = re.compile(r"\x1b[$(),.-]{1,2}[0-9A-Z]")
"""Escape sequences between character sets; pydicom leaves those of ISO 2022 IR 58 in the text."""
UNICODE = "ISO_IR 192"
WRITTEN_SETS = frozenset(
    {UNICODE, "GB18030", "GBK", "ISO_IR 13", "ISO_IR 166"}
    | {f"ISO_IR {number}" for number in (100, 101, 109, 110, 126, 127, 138, 144, 148)}
)
"""Character sets that an object takes over as they are."""


TRACKING_ID = "haemorrhage"


@dataclass(frozen=True)
class SegAlgorithm:
    """What made the mask, as DICOM objects name it."""

    name: str
    """Registered name of the segmenter."""
    version: str = __version__
    parameters: dict[str, str] = field(default_factory=dict)
    """Weights' digests, threshold and so on."""


def content_uid(kind: str, sources: Sequence[Dataset], mask: NDArray[Any], *more: object) -> str:
    """A UID that follows from what an object says: a second call with the same scan, mask and models gives the same.

    So an archive that gets both keeps one. The UIDs of the source's slices go into a digest, and no text of a patient.

    Args:
        kind: which object or series it names.
        sources: headers of the slices.
        mask: what was segmented.
        more: whatever else decides the content, such as models and settings.
    """
    digest = sha256(np.packbits(np.asarray(mask, dtype=bool)).tobytes()).hexdigest()
    slices = [
        f"{source.SOPInstanceUID} {source.InstanceNumber}" if holds_frames(source) else str(source.SOPInstanceUID)
        for source in sources
    ]
    return str(generate_uid(entropy_srcs=[kind, digest, str(mask.shape), *slices, *map(str, more)]))


def finding_uid(sources: Sequence[Dataset], mask: NDArray[Any], algorithm: SegAlgorithm) -> str:
    """The tracking UID of the haemorrhage, by which SEG and SR of one case name the same finding."""
    return content_uid(TRACKING_ID, sources, mask, algorithm)


def source_order(volume: Volume, mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], list[Dataset]]:
    """(K, rows, columns) planes as the source frames have them, and the frame of each plane, both in slice order."""
    grid = native_grid(volume)
    if grid.axes[0] != 2 or len(volume.frames) != len(mask):
        raise ValueError("the source frames are no stack of the slices")
    planes = np.moveaxis(grid.to_native(mask), 2, 0).transpose(0, 2, 1)  # (K, rows, columns) in native order
    if grid.flips[0]:
        planes = planes[::-1]
    keys = volume.slice_keys or range(len(volume.frames))
    return np.ascontiguousarray(planes, dtype=np.uint8), [volume.frames[key] for key in keys]


def as_acquired(volume: Volume) -> Volume:
    """A scan that was turned to axial, on the planes of its source frames; its voxels are left out.

    DICOM objects name the frames of their source, so those of a sagittal or coronal series lie on its own slices.
    """
    grid = native_grid(volume)
    columns, rows, slices = grid.shape
    axes = [grid.axes.index(axis) for axis in (0, 1)]  # of columns and rows; slices follow by their positions
    steps = [np.diff(volume.origins_mm[:2], axis=0)[0], volume.row_step_mm, volume.col_step_mm]
    along, down = (steps[axis] * (-1 if grid.flips[axis] else 1) for axis in axes)
    return replace(
        volume,
        voxels=np.broadcast_to(np.float32(0), (slices, rows, columns)),
        origins_mm=np.array([floats(frame, "ImagePositionPatient", 3) for frame in volume.frames], dtype=float),
        row_step_mm=down,
        col_step_mm=along,
        slice_keys=tuple(range(slices)),
        native=NativeGrid((2, 1, 0), (False, False, False), grid.shape),
        labels=None,
    )


def mask_as_acquired(volume: Volume, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(slices, rows, columns) a mask (K, H, W) of a scan that was turned to axial, on the planes of `as_acquired`."""
    return np.ascontiguousarray(native_grid(volume).to_native(mask).transpose(2, 1, 0))


def source_headers(volume: Volume, mask: NDArray[np.bool_], deidentify: bool) -> list[Dataset]:
    """The `source_header` of each slice, in slice order; the objects of one case may share them.

    All have the orientation that the scan is taken with, its first slice's: those of slices that were joined differ by
    fractions of a degree, and a SEG has one for all.
    """
    sources = [source_header(frame, volume, deidentify) for frame in source_order(volume, mask)[1]]
    first = volume.frames[0].ImageOrientationPatient
    for source in sources:
        if source.ImageOrientationPatient != first:
            source.add_new("ImageOrientationPatient", "DS", list(first))
    return sources


def source_header(frame: Dataset, volume: Volume, deidentify: bool) -> Dataset:
    """A copy of a source header with every attribute that a SEG, an RTSTRUCT or an SR takes over.

    RSNA's files have no SOPClassUID, FrameOfReferenceUID (all slices get the same generated one) and SliceThickness
    (all get the typical distance of slices).
    """
    source = deidentified(frame, volume) if deidentify else _copy(frame, list(frame.keys()))
    _fill_gaps(source, volume)
    return source


def reference(source: Dataset) -> Dataset:
    """How an object names a slice: its class and UID, and of a frame of an enhanced object the frame's number."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    if holds_frames(source):
        item.ReferencedFrameNumber = int(source.InstanceNumber)
    return item


def instances(sources: Sequence[Dataset]) -> list[Dataset]:
    """The header of one slice for each object: all of a series, one of an enhanced object."""
    return list({str(source.SOPInstanceUID): source for source in reversed(sources)}.values())[::-1]


def _fill_gaps(source: Dataset, volume: Volume) -> None:
    """Give a source header the attributes that it lacks."""
    for name in TYPE_2:
        if name not in source:
            setattr(source, name, None)
    if source.get("PatientSex") not in SEXES:  # hospitals write W, Male or a blank; highdicom refuses these
        source.PatientSex = None
    if "SOPClassUID" not in source:
        source.SOPClassUID = CTImageStorage
    if "FrameOfReferenceUID" not in source:
        source.FrameOfReferenceUID = generate_uid(entropy_srcs=[str(source.SeriesInstanceUID)])
    if not source.get("SliceThickness"):
        source.SliceThickness = round(float(np.median(volume.slab_mm)), 4)


def _copy(frame: Dataset, names: Sequence[Any]) -> Dataset:
    """The named elements of a header; text becomes Unicode where highdicom cannot write the header's character set.

    That is every set with code extensions (ISO 2022, whose first value may be empty) and every misspelt one.
    """
    declared = frame.get("SpecificCharacterSet")
    recode = declared is not None and not (isinstance(declared, str) and declared in WRITTEN_SETS)
    found: Any = (_decoded(frame, name) if recode else frame.get_item(name) for name in names)
    copy = Dataset()  # copy.copy would share its elements with the frame
    copy.update({element.tag: element for element in found if element is not None})
    if recode:
        copy.SpecificCharacterSet = UNICODE
    return copy


def _decoded(frame: Dataset, name: Any) -> Any:
    """An element of its own, its text read by the header's character set; a misspelt set is read as ASCII."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        element = deepcopy(frame[name])
        if element.VR in TEXT_VRS and element.VM:
            values = [ESCAPES.sub("", str(value)) for value in (element.value if element.VM > 1 else [element.value])]
            element.value = values if element.VM > 1 else values[0]
    return element


def complete(written: Dataset, deidentify: bool, source: Dataset) -> None:
    """Say how identity was removed, as PS3.15 asks for; some sources say that it was, but not how.

    Args:
        written: a new object, which is changed.
        deidentify: whether its header was made from nothing but numbers and UIDs.
        source: header of a slice it was made from.
    """
    if deidentify:
        say_how(written)
        return
    for name in REMOVAL:
        if name in source and name not in written:
            written[name] = deepcopy(source[name])
    if written.get("PatientIdentityRemoved") == "YES" and not written.get("DeidentificationMethodCodeSequence"):
        written.DeidentificationMethod = written.get("DeidentificationMethod") or "Not stated by the source"
