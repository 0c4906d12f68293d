"""DICOM Segmentation objects that reference the very frames the mask was made from."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import (
    AlgorithmIdentificationSequence,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, generate_uid

from ctseg.files import write_with
from ctseg.inference.deidentify import deidentified, say_how
from ctseg.inference.resampled import resample_evenly
from ctseg.io.grid import native_grid
from ctseg.io.volume import Volume
from ctseg.version import __version__

DISPLAY_RGB = (255, 59, 48)
SERIES_NUMBER = 9100
"""High, so that a viewer lists the series after the scanner's own."""
TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes a SEG takes from its source that may be empty but not absent; scans in the wild lack them."""
SEXES = ("M", "F", "O", "", None)
TEXT_VRS = frozenset({"PN", "LO", "SH", "ST", "LT", "UC", "UT"})
ESCAPES = re.compile(r"\x1b[$(),.-]{1,2}[0-9A-Z]")
"""Escape sequences between character sets; pydicom leaves those of ISO 2022 IR 58 in the text."""
UNICODE = "ISO_IR 192"
WRITTEN_SETS = frozenset(
    {UNICODE, "GB18030", "GBK", "ISO_IR 13", "ISO_IR 166"}
    | {f"ISO_IR {number}" for number in (100, 101, 109, 110, 126, 127, 138, 144, 148)}
)
"""Character sets that a SEG takes over as they are."""


@dataclass(frozen=True)
class SegAlgorithm:
    """What made the mask, as the SEG names it."""

    name: str
    """Registered name of the segmenter."""
    version: str = __version__
    parameters: dict[str, str] = field(default_factory=dict)
    """Weights' digests, threshold and so on."""


def write_dicom_seg(
    path: Path, volume: Volume, mask: NDArray[np.bool_], algorithm: SegAlgorithm, *, deidentify: bool = False
) -> None:
    """Write a BINARY Segmentation, one segment coded as haemorrhage, with a frame for every slice that has lesion.

    Each frame references its source frame and carries that frame's own position, so tilted and uneven series need no
    resampling.

    Args:
        path: the file.
        volume: read from DICOM; `frames` hold the source headers.
        mask: (K, H, W), not empty.
        algorithm: name, version and parameters to record.
        deidentify: patient pseudonym in place of identity, dates, numbers and text; see `ctseg.inference.deidentify`.

    Raises:
        ValueError, AttributeError: if the source headers lack what a SEG needs.
    """
    planes, frames = source_order(volume, mask)
    _write(path, [_source(frame, volume, deidentify) for frame in frames], planes, algorithm, deidentify)


def write_resampled_seg(
    path: Path, volume: Volume, mask: NDArray[np.bool_], algorithm: SegAlgorithm, *, deidentify: bool = False
) -> None:
    """Write the mask on even, untilted planes that reference the series as a whole; see `ctseg.inference.resampled`.

    For readers built on ITK, such as 3D Slicer, which cannot hold tilt or uneven steps and misplace the frames of
    `write_dicom_seg` without a word (dcmqi 1.5.7: a tilted mask off by centimetres, uneven frames dropped).

    Raises:
        ValueError, AttributeError: if the source headers lack what a SEG needs.
    """
    resampled = resample_evenly(volume, mask)
    across, down = (step / np.linalg.norm(step) for step in (volume.col_step_mm, volume.row_step_mm))
    _write(
        path,
        [_source(frame, volume, deidentify) for frame in source_order(volume, mask)[1]],
        resampled.planes.astype(np.uint8),
        algorithm,
        deidentify,
        series_number=SERIES_NUMBER + 1,
        series_description="ctseg haemorrhage, resampled, research use only",
        plane_positions=[PlanePositionSequence("PATIENT", origin) for origin in resampled.origins_mm],
        plane_orientation=PlaneOrientationSequence("PATIENT", [*across, *down]),
        pixel_measures=PixelMeasuresSequence(volume.spacing_mm, resampled.step_mm, resampled.step_mm),
    )


def _write(
    path: Path,
    sources: list[Dataset],
    planes: NDArray[np.uint8],
    algorithm: SegAlgorithm,
    deidentify: bool,
    **more: Any,
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent the intended person name")
        seg = _segmentation(sources, planes, algorithm, more)
    _complete(seg, deidentify)
    write_with(path, lambda temporary: seg.save_as(temporary, enforce_file_format=True))


def _segmentation(
    sources: list[Dataset], planes: NDArray[np.uint8], algorithm: SegAlgorithm, more: dict[str, Any]
) -> Segmentation:
    common = {"series_number": SERIES_NUMBER, "series_description": "ctseg haemorrhage, research use only", **more}
    return Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(algorithm)],
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="ctseg",
        manufacturer_model_name="ctseg segment",
        software_versions=__version__,
        device_serial_number="none",
        content_label="HAEMORRHAGE",
        content_description="Research use only",
        content_creator_name="ctseg^",
        **common,
    )


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


def _source(frame: Dataset, volume: Volume, deidentify: bool) -> Dataset:
    """A copy of a source header with every attribute that a SEG takes over.

    RSNA's files have no SOPClassUID, FrameOfReferenceUID (all slices get the same generated one) and SliceThickness
    (all get the typical distance of slices).
    """
    source = deidentified(frame, volume) if deidentify else _copy(frame, list(frame.keys()))
    _fill_gaps(source, volume)
    return source


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


def _segment(algorithm: SegAlgorithm) -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label="Haemorrhage",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Hemorrhage,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"ctseg {algorithm.name}"[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=algorithm.version[:64],
            source="ctseg",
            parameters=algorithm.parameters or None,
        ),
        tracking_uid=generate_uid(),
        tracking_id="haemorrhage",
        anatomic_regions=[codes.SCT.Brain],
        display_color=CIELabColor.from_rgb(*DISPLAY_RGB),
    )


def _complete(seg: Segmentation, deidentify: bool) -> None:
    """Say how identity was removed, as PS3.15 asks for; some sources say that it was, but not how."""
    if deidentify:
        say_how(seg)
    elif seg.get("PatientIdentityRemoved") == "YES" and not seg.get("DeidentificationMethodCodeSequence"):
        seg.DeidentificationMethod = seg.get("DeidentificationMethod") or "Not stated by the source"
