"""DICOM structured reports: what was measured on one case, as the measurement report of template TID 1500."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ctseg.files import write_with
from ctseg.inference.dicom_source import (
    TRACKING_ID,
    SegAlgorithm,
    complete,
    content_uid,
    finding_uid,
    instances,
    source_headers,
)
from ctseg.inference.millilitres import ml_range_text, ml_text
from ctseg.inference.predict import Prediction
from ctseg.io.dicom.enhanced import holds_frames
from ctseg.version import __version__
from ctseg.wording import counted

SERIES_NUMBER = 9103
SCHEME = "99CTSEG"
"""Coding scheme of measurements that SNOMED CT and DICOM have no code for."""
ABC2 = Code("ABC2", SCHEME, "Volume by ABC/2, summed over lesions")
LARGEST = Code("LARGEST", SCHEME, "Volume of the largest lesion")
LESIONS = Code("LESIONS", SCHEME, "Number of connected lesions")
ML = Code("mL", "UCUM", "mL")
ENGLISH = CodedConcept("en", "RFC5646", "English")
CT_OF_HEAD = Code("303653007", "SCT", "CT of head")
NOTICE = "Research software, not a medical device: not for diagnosis, triage or treatment."


def write_sr(
    path: Path, prediction: Prediction, algorithm: SegAlgorithm, seg: Dataset | None, *, deidentify: bool = False
) -> None:
    """Write a Comprehensive SR with the case's volumes and a summary in words.

    Args:
        path: the file.
        prediction: of a scan read from DICOM; its mask may be empty.
        algorithm: name, version and parameters to record.
        seg: the segmentation that was written, to which the measurements refer; None where there is none, and the
            measurements refer to the slices.
        deidentify: as for `ctseg.inference.dicom_seg.write_dicom_seg`.

    Raises:
        ValueError, AttributeError, TypeError: if the source headers lack what a report needs.
    """
    volume, mask = prediction.volume, prediction.mask
    sources = source_headers(volume, mask, deidentify)
    made_by = (algorithm, *summary(prediction))
    uid = content_uid("SR", sources, mask, *made_by)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent the intended person name")
        written = ComprehensiveSR(
            evidence=[*instances(sources), *([seg] if seg is not None else [])],
            content=_report(prediction, algorithm, sources, seg),
            series_instance_uid=content_uid("SR series", sources, mask, *made_by),
            series_number=SERIES_NUMBER,
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer="ctseg",
            is_complete=True,
            is_final=False,
            is_verified=False,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    written.SeriesDescription = "ctseg measurements, research use only"
    written.ManufacturerModelName, written.SoftwareVersions = "ctseg segment", __version__
    complete(written, deidentify, sources[0])
    write_with(path, lambda temporary: written.save_as(temporary, enforce_file_format=True))


def summary(prediction: Prediction) -> list[str]:
    """The case in sentences, the notice last."""
    measures, range_ml = prediction.measures, prediction.disagreement
    lesions = counted(measures.lesions, "lesion")
    lines = [
        f"Haemorrhage of {ml_text(measures.ml)} in {lesions}, the largest {ml_text(measures.largest_ml)}; "
        f"ABC/2 {ml_text(measures.abc2_ml)}."
        if measures.lesions
        else "No haemorrhage segmented."
    ]
    if range_ml is not None:
        lines.append(f"Members of the model: {ml_range_text(range_ml.ml_low, range_ml.ml_high)}.")
    lines += [f"Outside the training scans: {flag}." for flag in prediction.ood]
    return [*lines, NOTICE]


def _report(
    prediction: Prediction, algorithm: SegAlgorithm, sources: Sequence[Dataset], seg: Dataset | None
) -> MeasurementReport:
    device = ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            generate_uid(entropy_srcs=["ctseg", __version__]),
            name="ctseg",
            manufacturer_name="ctseg",
            model_name="ctseg segment",
        ),
    )
    report = MeasurementReport(
        ObservationContext(observer_device_context=device),
        procedure_reported=CT_OF_HEAD,
        imaging_measurements=[_group(prediction, algorithm, sources, seg)],
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(ENGLISH),
    )
    for line in summary(prediction):
        report[0].ContentSequence.append(
            TextContentItem(codes.DCM.Comment, line, relationship_type=RelationshipTypeValues.CONTAINS)
        )
    return report


def _group(prediction: Prediction, algorithm: SegAlgorithm, sources: Sequence[Dataset], seg: Dataset | None) -> Any:
    """The measurements of all lesions together, on the segmentation or, where there is none, on the slices."""
    common: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(finding_uid(sources, prediction.mask, algorithm), TRACKING_ID),
        "finding_type": codes.SCT.Hemorrhage,
        "finding_sites": [FindingSite(codes.SCT.Brain)],
        "algorithm_id": AlgorithmIdentification(
            f"ctseg {algorithm.name}"[:64],
            algorithm.version,
            parameters=[f"{name} {value}" for name, value in algorithm.parameters.items()],
        ),
        "measurements": _measurements(prediction),
    }
    if seg is None:
        images = [_image(source) for source in sources]
        return MeasurementsAndQualitativeEvaluations(**common, source_images=images)
    segment = ReferencedSegment(
        seg.SOPClassUID,
        seg.SOPInstanceUID,
        1,
        source_series=SourceSeriesForSegmentation(sources[0].SeriesInstanceUID),
    )
    return VolumetricROIMeasurementsAndQualitativeEvaluations(**common, referenced_segment=segment)


def _image(source: Dataset) -> SourceImageForMeasurementGroup:
    frames = [int(source.InstanceNumber)] if holds_frames(source) else None
    return SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID, referenced_frame_numbers=frames)


def _measurements(prediction: Prediction) -> list[Measurement]:
    measures, range_ml = prediction.measures, prediction.disagreement
    values = [
        Measurement(codes.SCT.Volume, round(measures.ml, 4), ML),
        Measurement(ABC2, round(measures.abc2_ml, 4), ML),
        Measurement(LARGEST, round(measures.largest_ml, 4), ML),
        Measurement(LESIONS, measures.lesions, codes.UCUM.NoUnits),
    ]
    if range_ml is not None:
        ends = ((range_ml.ml_low, codes.SCT.Minimum), (range_ml.ml_high, codes.SCT.Maximum))
        values += [Measurement(codes.SCT.Volume, round(value, 4), ML, derivation=kind) for value, kind in ends]
    return values
