"""DICOM RT structure sets: the outline of a mask on every slice, as planning systems and SlicerRT read them.

Written with pydicom and scikit-image rather than rt-utils, which takes a folder of images, needs OpenCV, and draws
through pixel centres, so that every outline is half a pixel too small.
"""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage
from skimage.measure import find_contours

from ctseg.files import write_with
from ctseg.inference.deidentify import coded
from ctseg.inference.dicom_source import (
    TYPE_2,
    SegAlgorithm,
    complete,
    content_uid,
    reference,
    source_headers,
)
from ctseg.inference.label_tables import DISPLAY_RGB
from ctseg.io.volume import Volume
from ctseg.version import __version__

SERIES_NUMBER = 9102
ROI_NAME = "Haemorrhage"
DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
"""SOP class of a study as RT objects reference it; retired, and the only one that the element may have."""
STRAIGHT = 1e-6
"""Where a line turns by less, in square pixels between its neighbours, its point is left out."""

Line = NDArray[np.float64]


def write_rtstruct(
    path: Path, volume: Volume, mask: NDArray[np.bool_], algorithm: SegAlgorithm, *, deidentify: bool = False
) -> None:
    """Write an RT structure set with one region of interest, a closed planar outline for each part of each slice.

    Outlines run half way between pixel centres. A hole is joined to the outline around it by a channel without width,
    as PS3.3 C.8.8.6.3 has it: plastimatch fills the holes that are outlines of their own, and knows no
    CLOSEDPLANAR_XOR. Each outline references its source slice and lies in that slice's plane, tilted or not.

    Args:
        path: the file.
        volume: read from DICOM; `frames` hold the source headers.
        mask: (K, H, W), not empty.
        algorithm: name, version and parameters to record.
        deidentify: as for `ctseg.inference.dicom_seg.write_dicom_seg`.

    Raises:
        ValueError, AttributeError: if the source headers lack what a structure set needs.
    """
    sources = source_headers(volume, mask, deidentify)
    filled = [int(k) for k in np.flatnonzero(mask.any(axis=(1, 2)))]
    contours = [_contour(points, sources[k]) for k in filled for points in outlines(volume, mask, k)]
    written = _structure_set(sources, mask, algorithm, contours)
    complete(written, deidentify, sources[0])
    write_with(path, lambda temporary: written.save_as(temporary, enforce_file_format=True))


def outlines(volume: Volume, mask: NDArray[np.bool_], k: int) -> list[NDArray[np.float64]]:
    """The closed outlines of slice `k` of a mask (K, H, W): (N, 3) LPS mm each, the first point not repeated."""
    return [
        volume.origins_mm[k] + points[:, :1] * volume.row_step_mm + points[:, 1:] * volume.col_step_mm
        for points in _closed(mask[k])
    ]


def _closed(plane: NDArray[np.bool_]) -> list[Line]:
    """The outlines of a mask (rows, columns), holes joined to them: (N, 2) rows and columns each.

    A channel runs from the leftmost point of a hole along its row, through the mask, to the next outline.
    """
    padded = np.pad(plane, 1)  # so that an outline closes at the picture's edge
    lines = [line[:-1] for line in find_contours(padded.astype(np.float32), 0.5, fully_connected="low")]
    corners = {tuple(point): (n, place) for n, line in enumerate(lines) for place, point in enumerate(line)}
    below: dict[int, dict[int, list[Line]]] = {n: {} for n in range(len(lines))}
    first = [int(line[:, 1].argmin()) for line in lines]
    found = []
    for n in sorted(range(len(lines)), key=lambda n: -float(lines[n][first[n], 1])):
        row, col = lines[n][first[n]]
        line = _with_holes(lines[n], first[n], below[n])
        if not padded[int(row), int(col)]:  # beside its leftmost point there is no mask: no hole
            found.append(_corners(line) - 1.0)
            continue
        outside = int(np.flatnonzero(~padded[int(row), : int(col)])[-1])
        around, place = corners[row, outside + 0.5]
        below[around].setdefault(place, []).append(line)
    return found


def _with_holes(line: Line, first: int, holes: dict[int, list[Line]]) -> Line:
    """A closed line (N, 2) from a point on, by way of the holes that begin at its points."""
    turned, parts, last = np.roll(line, -first, axis=0), list[Line](), 0
    for place, inner in sorted((((at - first) % len(line), inner) for at, inner in holes.items()), key=itemgetter(0)):
        corner = turned[place : place + 1]
        parts += [turned[last:place], corner, *(part for hole in inner for part in (hole, hole[:1], corner))]
        last = place + 1
    return np.concatenate([*parts, turned[last:]])


def _corners(line: Line) -> Line:
    """The points (M, 2) of a closed line (N, 2) at which it turns, or goes back."""
    come, go = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    turns = np.abs(come[:, 0] * go[:, 1] - come[:, 1] * go[:, 0]) > STRAIGHT
    is_corner: NDArray[np.bool_] = turns | ((come * go).sum(axis=1) < 0)
    return line[is_corner]


def _contour(points: NDArray[np.float64], source: Dataset) -> Dataset:
    """One outline and the slice it lies on."""
    contour = Dataset()
    contour.ContourImageSequence = [reference(source)]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return contour


def _structure_set(
    sources: list[Dataset], mask: NDArray[np.bool_], algorithm: SegAlgorithm, contours: list[Dataset]
) -> Dataset:
    """The whole object: modules of patient, study, series, equipment, structure set and observations."""
    first = sources[0]
    written = Dataset()
    written.file_meta = FileMetaDataset()
    written.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name in ("SpecificCharacterSet", "StudyInstanceUID", *TYPE_2):
        if name in first:
            written[name] = first[name]
    written.SOPClassUID = RTStructureSetStorage
    written.SOPInstanceUID = content_uid("RTSTRUCT", sources, mask, algorithm)
    written.SeriesInstanceUID = content_uid("RTSTRUCT series", sources, mask, algorithm)
    written.Modality, written.SeriesNumber, written.InstanceNumber = "RTSTRUCT", SERIES_NUMBER, 1
    written.SeriesDescription = "ctseg haemorrhage, research use only"
    written.OperatorsName = None
    written.Manufacturer, written.ManufacturerModelName = "ctseg", "ctseg segment"
    written.SoftwareVersions, written.DeviceSerialNumber = __version__, "none"
    written.FrameOfReferenceUID, written.PositionReferenceIndicator = first.FrameOfReferenceUID, None
    written.StructureSetLabel = "HAEMORRHAGE"
    written.StructureSetDescription = f"ctseg {algorithm.name} {algorithm.version}; research use only"
    now = datetime.now()
    written.StructureSetDate = written.InstanceCreationDate = now.strftime("%Y%m%d")
    written.StructureSetTime = written.InstanceCreationTime = now.strftime("%H%M%S")
    written.ApprovalStatus = "UNAPPROVED"
    written.ReferencedFrameOfReferenceSequence = [_frame_of_reference(sources)]
    written.StructureSetROISequence = [_roi(first)]
    written.ROIContourSequence = [_roi_contours(contours)]
    written.RTROIObservationsSequence = [_observation()]
    return written


def _frame_of_reference(sources: list[Dataset]) -> Dataset:
    """The study, series and slices that the outlines were drawn on."""
    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [reference(source) for source in sources]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = DETACHED_STUDY, sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(source: Dataset) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName = 1, ROI_NAME
    roi.ReferencedFrameOfReferenceUID = source.FrameOfReferenceUID
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    return roi


def _roi_contours(contours: list[Dataset]) -> Dataset:
    item = Dataset()
    item.ROIDisplayColor, item.ContourSequence, item.ReferencedROINumber = list(DISPLAY_RGB), contours, 1
    return item


def _observation() -> Dataset:
    """What the region is: haemorrhage, by an algorithm and by nobody's hand."""
    observation = Dataset()
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = None, None
    code = codes.SCT.Hemorrhage
    observation.RTROIIdentificationCodeSequence = [coded(code)]
    return observation
