"""What has to be the same in all slices of a series, and what its header says of person, sides and pixels besides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from ctseg.errors import CaseError
from ctseg.io.dicom.geometry import Stack
from ctseg.io.dicom.header import integer, number, text, value_of

PERSON = ("PatientName", "PatientBirthDate", "PatientSex")
"""Slices that differ in one of these are of different people."""
SERIES = (
    "StudyDate", "SeriesDate", "AcquisitionDate", "SeriesNumber", "SeriesDescription", "Manufacturer", "StationName",
    "DeviceSerialNumber", "PatientPosition", "BodyPartExamined", "ProtocolName", "TemporalPositionIdentifier",
    "SOPClassUID", "RescaleType", "ContrastBolusAgent", "ConvolutionKernel",
)  # fmt: skip
"""Slices that differ in one of these may be of different scans."""
MEASURED = ("KVP", "GantryDetectorTilt", "ReconstructionDiameter")
"""The same of numbers, which programs write with other digits."""
SIDES = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}
"""LPS axis and sign of each letter of PatientOrientation."""
ALONG = 0.1
"""Cosine of a direction with the side that its letter names, at least."""
ELSEWHERE = frozenset(
    {
        "ABDOMEN", "ABDOMENPELVIS", "ANKLE", "ARM", "BREAST", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CSPINE",
        "ELBOW", "EXTREMITY", "FOOT", "FOREARM", "HAND", "HEART", "HIP", "KNEE", "LEG", "LIVER", "LSPINE", "LUNG",
        "PELVIS", "SHOULDER", "SPINE", "THIGH", "THORAX", "TSPINE", "WRIST",
    }
)  # fmt: skip
"""Values of BodyPartExamined that are no part of the head (PS3.16, annex L)."""
HOUNSFIELD = frozenset({"", "HU", "US"})
"""RescaleType of HU; US, unspecified, is what old scanners write."""
COUNTS = ("ImagesInAcquisition", "NumberOfSeriesRelatedInstances")


def check_person(datasets: Sequence[Dataset], name: str) -> None:
    """Refuse slices of several people under one series.

    Args:
        datasets: of the slices.
        name: the first file, for the message, which quotes no value.

    Raises:
        CaseError: if their names, dates of birth or sexes differ.
    """
    for tag in PERSON:
        found = len(_values(datasets, tag))
        if found > 1:
            raise CaseError(
                f"{name}: the slices of its series are of {found} people by their {tag}; export each person's scan "
                "again, under a SeriesInstanceUID of its own"
            )


def about_one(datasets: Sequence[Dataset], stack: Stack) -> list[str]:
    """Notes on slices that may be of several scans, and on what the header says of sides, body and pixels.

    Args:
        datasets: of the slices, in the stack's order.
        stack: where they lie.
    """
    first = datasets[0]
    return [
        *_several(datasets), *_repeated(datasets), *_count(datasets), *_sides(first, stack), *_body(first),
        *_unit(datasets), *_mapping(first), *_burned(datasets),
    ]  # fmt: skip


def spelled(dataset: Dataset, tag: str) -> str:
    """A value without regard to case, spaces and what else separates the parts of a name."""
    return re.sub(r"[\s^,=]+", " ", text(dataset, tag)).strip().casefold()


def _values(datasets: Sequence[Dataset], tag: str) -> Counter[str]:
    """Each value, as `spelled`, and how many slices have it."""
    return Counter(value for value in (spelled(dataset, tag) for dataset in datasets) if value)


def _several(datasets: Sequence[Dataset]) -> list[str]:
    odd = [tag for tag in SERIES if len(_values(datasets, tag)) > 1]
    odd += ["ImageType"] if len({spelled(item, "ImageType").partition(" ")[0] for item in datasets}) > 1 else []
    odd += [tag for tag in MEASURED if len({f"{number(item, tag, 0.0):.3g}" for item in datasets if tag in item}) > 1]
    return [f"the slices differ in {', '.join(odd)}: are they of one scan?"] if odd else []


def _repeated(datasets: Sequence[Dataset]) -> list[str]:
    """An object of DICOM can name its source slices by SOPInstanceUID alone."""
    counts = Counter(text(dataset, "SOPInstanceUID") for dataset in datasets)
    again = sum(count for uid, count in counts.items() if count > 1 or not uid)
    return (
        [f"{again} slices share a SOPInstanceUID or have none, so that no program can tell them apart"] if again else []
    )


def _count(datasets: Sequence[Dataset]) -> list[str]:
    acquisitions = len({integer(dataset, "AcquisitionNumber") for dataset in datasets})
    said = max((integer(datasets[0], tag) for tag in (COUNTS if acquisitions == 1 else COUNTS[1:])), default=0)
    if said <= len(datasets):
        return []
    return [f"the header says {said} slices, {len(datasets)} are here: is the scan whole?"]


def _sides(first: Dataset, stack: Stack) -> list[str]:
    if text(first, "AnatomicalOrientationType").upper() == "QUADRUPED":
        return ["the header says a four-legged patient, whose axes have other names: sides may be wrong"]
    said = value_of(first, "PatientOrientation")
    words = [] if said is None or isinstance(said, str) else [str(word).upper() for word in said]
    steps = (stack.col_step_mm, stack.row_step_mm)
    if len(words) != 2 or all(_fits(word, step) for word, step in zip(words, steps, strict=True)):
        return []
    return [
        "PatientOrientation says other sides than ImageOrientationPatient; the latter is used: check left and right"
    ]


def _fits(word: str, step: np.ndarray) -> bool:
    """Whether an axis runs towards the side that the first letter names; letters that name none say nothing."""
    axis, sign = SIDES.get(word[:1], (0, 0))
    return not sign or float(step[axis]) * sign / float(np.linalg.norm(step)) > ALONG


def _body(first: Dataset) -> list[str]:
    part = re.sub(r"[^A-Z]", "", text(first, "BodyPartExamined").upper())
    return ["the header says a part of the body other than the head (BodyPartExamined)"] if part in ELSEWHERE else []


def _unit(datasets: Sequence[Dataset]) -> list[str]:
    """Units of CT that `ctseg.io.dicom.pixels` does not refuse, such as HU_MOD; the value itself is not quoted."""
    units = {text(dataset, "RescaleType").upper() for dataset in datasets if text(dataset, "Modality").upper() == "CT"}
    return ["RescaleType names another unit than HU; its values are taken as HU"] if units - HOUNSFIELD else []


def _mapping(first: Dataset) -> list[str]:
    """A second slope and intercept, in real-world units."""
    items = value_of(first, "RealWorldValueMappingSequence") or ()
    own = (number(first, "RescaleSlope", 1.0), number(first, "RescaleIntercept", 0.0))
    for item in items if not isinstance(items, bytes) else ():
        other = (number(item, "RealWorldValueSlope", own[0]), number(item, "RealWorldValueIntercept", own[1]))
        if not np.allclose(own, other, rtol=1e-3, atol=1e-3):
            return [
                "RealWorldValueMappingSequence says other values than RescaleSlope and RescaleIntercept; these are used"
            ]
    return []


def _burned(datasets: Sequence[Dataset]) -> list[str]:
    if all(text(dataset, "BurnedInAnnotation").upper() != "YES" for dataset in datasets):
        return []
    return ["the header says that text is burned into the pixels (BurnedInAnnotation): pictures of it may show names"]
