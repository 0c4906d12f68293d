"""RT structure sets of any outlines, as planning systems write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from skimage.measure import find_contours

Drawn = tuple[int, np.ndarray]
"""Place of a slice, and the (N, 2) rows and columns of an outline on it."""


def borders(mask: np.ndarray) -> list[Drawn]:
    """Outlines of a mask (K, rows, columns), half way between pixel centres; holes are outlines of their own."""
    found = []
    for k, plane in enumerate(mask):
        lines = find_contours(np.pad(plane, 1).astype(float), 0.5, fully_connected="low")
        found += [(k, line[:-1] - 1.0) for line in lines]
    return found


def rtstruct(
    path: Path, sources: Sequence[Dataset], regions: Mapping[int, Sequence[Drawn]], *,
    change: Callable[[Dataset], object] = lambda made: None, kind: str = "CLOSED_PLANAR", digits: int = 4,
    types: Mapping[int, str] | None = None,
) -> Dataset:  # fmt: skip
    """Write regions, each a number and its outlines; `change` is called with the dataset before it is written."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    made.Modality, made.Manufacturer, made.SeriesInstanceUID = "RTSTRUCT", "Planner", generate_uid()
    for name in ("PatientID", "PatientName", "StudyInstanceUID"):
        made[name] = sources[0][name]
    made.StructureSetLabel = "LESIONS"
    frame = sources[0].FrameOfReferenceUID
    made.ReferencedFrameOfReferenceSequence = [_frame(sources, frame)]
    made.StructureSetROISequence = [
        _items(ROINumber=number, ROIName=f"Doe^Jane {number}", ReferencedFrameOfReferenceUID=frame)
        for number in regions
    ]
    made.RTROIObservationsSequence = [
        _items(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType=(types or {}).get(number, ""))
        for number in regions
    ]
    made.ROIContourSequence = [
        _items(
            ReferencedROINumber=number,
            ContourSequence=[_contour(sources[k], points, kind, digits) for k, points in drawn],
        )
        for number, drawn in regions.items()
    ]
    change(made)
    path.parent.mkdir(exist_ok=True, parents=True)
    made.save_as(path, enforce_file_format=True)
    return made


def contours(made: Dataset, region: int = 0) -> list[Dataset]:
    """The contours of a region by its place in the file."""
    return list(made.ROIContourSequence[region].ContourSequence)


def nameless(made: Dataset) -> None:
    """Nothing says from which slices it was drawn."""
    made.pop("ReferencedFrameOfReferenceSequence", None)
    for place in range(len(made.ROIContourSequence)):
        for contour in contours(made, place):
            contour.pop("ContourImageSequence", None)


def _items(**elements: Any) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def _image(source: Dataset) -> Dataset:
    return _items(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=source.SOPInstanceUID)


def _frame(sources: Sequence[Dataset], frame: str) -> Dataset:
    series = _items(
        SeriesInstanceUID=sources[0].SeriesInstanceUID, ContourImageSequence=[_image(source) for source in sources]
    )
    study = _items(ReferencedSOPInstanceUID=sources[0].StudyInstanceUID, RTReferencedSeriesSequence=[series])
    return _items(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])


def _contour(source: Dataset, points: np.ndarray, kind: str, digits: int) -> Dataset:
    """(N, 2) rows and columns on a slice, as points in mm by the headers alone."""
    along, down = np.reshape(np.array(source.ImageOrientationPatient, float), (2, 3))
    row_mm, col_mm = map(float, source.PixelSpacing)
    place = np.array(source.ImagePositionPatient, float)
    mm = place + points[:, :1] * row_mm * down + points[:, 1:] * col_mm * along
    return _items(
        ContourImageSequence=[_image(source)], ContourGeometricType=kind, NumberOfContourPoints=len(points),
        ContourData=[f"{value:.{digits}f}" for value in mm.ravel()],
    )  # fmt: skip
