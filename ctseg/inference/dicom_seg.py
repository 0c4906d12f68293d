"""DICOM Segmentation objects that reference the very frames the mask was made from."""

from __future__ import annotations

import warnings
from copy import deepcopy
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
from ctseg.inference.dicom_source import (
    TRACKING_ID,
    SegAlgorithm,
    complete,
    content_uid,
    finding_uid,
    reference,
    source_headers,
    source_order,
)
from ctseg.inference.label_tables import DISPLAY_RGB
from ctseg.inference.resampled import resample_evenly
from ctseg.io.dicom.enhanced import is_object, named_as_frame
from ctseg.io.dicom.header import integer
from ctseg.io.grid import is_uneven
from ctseg.io.volume import Volume
from ctseg.version import __version__

SERIES_NUMBER = 9100
"""High, so that a viewer lists the series after the scanner's own."""


def write_dicom_seg(
    path: Path,
    volume: Volume,
    mask: NDArray[np.bool_],
    algorithm: SegAlgorithm,
    *,
    deidentify: bool = False,
    sources: list[Dataset] | None = None,
) -> Dataset:
    """Write a BINARY Segmentation, one segment coded as haemorrhage, with a frame for every slice that has lesion.

    Each frame references its source frame and carries that frame's own position, so tilted and uneven series need no
    resampling.

    Args:
        path: the file.
        volume: read from DICOM; `frames` hold the source headers.
        mask: (K, H, W), not empty.
        algorithm: name, version and parameters to record.
        deidentify: patient pseudonym in place of identity, dates, numbers and text; see `ctseg.inference.deidentify`.
        sources: of `source_headers`, where they are made already.

    Returns:
        What was written, for a report that references it.

    Raises:
        ValueError, AttributeError: if the source headers lack what a SEG needs.
    """
    planes, _ = source_order(volume, mask)
    sources = sources or source_headers(volume, mask, deidentify)
    return _write(path, sources, planes, algorithm, deidentify, finding_uid(sources, mask, algorithm))


def write_resampled_seg(
    path: Path,
    volume: Volume,
    mask: NDArray[np.bool_],
    algorithm: SegAlgorithm,
    *,
    deidentify: bool = False,
    sources: list[Dataset] | None = None,
) -> None:
    """Write the mask on even, untilted planes that reference the series as a whole; see `ctseg.inference.resampled`.

    For readers built on ITK, such as 3D Slicer, which cannot hold tilt or uneven steps and misplace the frames of
    `write_dicom_seg` without a word (dcmqi 1.5.7: a tilted mask off by centimetres, uneven frames dropped).

    Raises:
        ValueError, AttributeError: if the source headers lack what a SEG needs.
    """
    resampled = resample_evenly(volume, mask)
    across, down = (step / np.linalg.norm(step) for step in (volume.col_step_mm, volume.row_step_mm))
    sources = sources or source_headers(volume, mask, deidentify)
    _write(
        path,
        sources,
        resampled.planes.astype(np.uint8),
        algorithm,
        deidentify,
        finding_uid(sources, mask, algorithm),
        series_number=SERIES_NUMBER + 1,
        series_description="resampled ctseg haemorrhage, research use only",
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
    finding: str,
    **more: Any,
) -> Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent the intended person name")
        seg = _segmentation(sources, planes, algorithm, finding, more)
    if is_object(sources):
        _name_frames(seg, sources)
    size = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if "pixel_measures" in more:  # highdicom puts the source's in their place, where the pixels are as large
        size.update(more["pixel_measures"][0])
    else:
        _say_spacing(size, sources)
        _say_thickness(seg, sources)
    dimensions = generate_uid(entropy_srcs=["dimensions", str(seg.SOPInstanceUID)])  # highdicom takes a random one
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    complete(seg, deidentify, sources[0])
    write_with(path, lambda temporary: seg.save_as(temporary, enforce_file_format=True))
    return seg


def _say_spacing(size: Dataset, sources: list[Dataset]) -> None:
    """State the distance of slices along their normal where all lie equally far apart, and nothing where they do not.

    Without it nobody can tell how many slices without a lesion were left out between two frames. highdicom states none
    of tilted slices, copies what a header of uneven slices says, and says that single slices lie 1 mm apart.
    """
    if len(sources) == 1:
        size.SpacingBetweenSlices = size.SliceThickness
        return
    origins = np.array([source.ImagePositionPatient for source in sources], dtype=float)
    along, down = np.reshape(np.array(sources[0].ImageOrientationPatient, dtype=float), (2, 3))
    heights = origins @ np.cross(along, down)
    if is_uneven(origins):
        size.pop("SpacingBetweenSlices", None)
    else:
        size.SpacingBetweenSlices = round(abs(float(heights[-1] - heights[0])) / (len(sources) - 1), 6)


def _say_thickness(seg: Dataset, sources: list[Dataset]) -> None:
    """State the thickness of each frame's own slice where a scan has several; highdicom states the first one's."""
    if len({source.SliceThickness for source in sources}) == 1:
        return
    origins = np.array([source.ImagePositionPatient for source in sources], dtype=float)
    (size,) = seg.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence").value
    for group in seg.PerFrameFunctionalGroupsSequence:
        own = deepcopy(size)
        apart = np.abs(origins - np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)).sum(axis=1)
        own.SliceThickness = sources[int(apart.argmin())].SliceThickness
        group.PixelMeasuresSequence = [own]


def _as_slices(sources: list[Dataset]) -> list[Dataset]:
    """Headers of an enhanced object's frames as those of single slices, each with a UID of its own for the time being.

    highdicom takes an object as a whole: all its frames, in their order in the file, with one orientation for all.
    """
    single = []
    for source in sources:
        slice_ = Dataset()
        slice_.update(dict(source.items()))
        slice_.pop("NumberOfFrames", None)
        single.append(named_as_frame(slice_, CTImageStorage, _own_uid(source), int(source.InstanceNumber)))
    return single


def _own_uid(source: Dataset) -> str:
    return str(generate_uid(entropy_srcs=[str(source.SOPInstanceUID), str(source.InstanceNumber)]))


def _name_frames(seg: Segmentation, sources: list[Dataset]) -> None:
    """Name the frames of the enhanced object in place of the slices of `_as_slices`, and once the object itself.

    Where the mask was made from some of its frames alone, the object is named with their numbers.
    """
    frames = {_own_uid(source): reference(source) for source in sources}
    groups = [*seg.SharedFunctionalGroupsSequence, *seg.PerFrameFunctionalGroupsSequence]
    for derivation in (item for group in groups for item in group.get("DerivationImageSequence") or ()):
        for image in derivation.SourceImageSequence:
            image.update(dict(frames[str(image.ReferencedSOPInstanceUID)].items()))
    whole = reference(sources[0])
    del whole.ReferencedFrameNumber
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = [deepcopy(whole)]
    if len(sources) < integer(sources[0], "NumberOfFrames"):
        whole.ReferencedFrameNumber = sorted(int(source.InstanceNumber) for source in sources)
    seg.SourceImageSequence = [whole]


def _segmentation(
    sources: list[Dataset], planes: NDArray[np.uint8], algorithm: SegAlgorithm, finding: str, more: dict[str, Any]
) -> Segmentation:
    made_by = (algorithm, more.get("series_number", SERIES_NUMBER))
    common = {"series_number": SERIES_NUMBER, "series_description": "ctseg haemorrhage, research use only", **more}
    return Segmentation(
        source_images=_as_slices(sources) if is_object(sources) else sources,
        pixel_array=planes,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(algorithm, finding)],
        series_instance_uid=content_uid("SEG series", sources, planes, *made_by),
        sop_instance_uid=content_uid("SEG", sources, planes, *made_by),
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


def _segment(algorithm: SegAlgorithm, tracking_uid: str) -> SegmentDescription:
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
        tracking_uid=tracking_uid,
        tracking_id=TRACKING_ID,
        anatomic_regions=[codes.SCT.Brain],
        display_color=CIELabColor.from_rgb(*DISPLAY_RGB),
    )
