"""DICOM masks that belong to a scan by the patient and the series that they name, whatever their files are called.

Archives name files by UIDs, and ctseg names DICOM scans by pseudonyms, so no name of a file fits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from pydicom.dataset import Dataset

from ctseg.errors import InputError
from ctseg.io.dicom import rtstruct
from ctseg.io.dicom.header import MAX_ELEMENT_BYTES, count_items, identifier, read_tags, refuse_inflating, text
from ctseg.io.identity import case_name
from ctseg.io.mask_files import MaskFolder, case_of
from ctseg.io.source import MAX_MEMBER_BYTES, Bounded, Source

TAGS = ["PatientID", "StudyInstanceUID", "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"]
BEHIND_CLASS, BEHIND_SERIES = 0x00080017, 0x30060011
"""Tags behind the SOP class, and behind the last of these."""


def named_cases(found: MaskFolder) -> dict[str, str]:
    """Case by the file's name -> name of the scan that a DICOM mask names; of those that name one."""
    named = {case: named_case(path) for case, path in found.masks.items() if case_of(path.name) is None}
    return {case: name for case, name in named.items() if name}


def with_named(found: MaskFolder, partners: Collection[str], where: Path) -> MaskFolder:
    """The masks of a folder, those whose file has no case's name under the name of the scan that they name.

    Args:
        found: the masks.
        partners: names of scans, or of masks, that they may belong to.
        where: the folder.

    Raises:
        InputError: if two masks are of one scan.
    """
    loose = {case: name for case, name in named_cases(found).items() if case not in partners and name in partners}
    masks: dict[str, Path] = {}
    for case, path in found.masks.items():
        name = loose.get(case, case)
        if name in masks:
            raise InputError(f"{where}: holds {masks[name].name} and {path.name} of one scan; keep one of them")
        masks[name] = path
    return replace(found, masks=masks)


def named_case(path: Path) -> str:
    """The case of the one scan that a DICOM object is made from, by its patient and its series; else empty."""
    try:
        source = Source(str(path))
        with source.open() as stream:
            refuse_inflating(stream)
            bounded = cast(IO[bytes], Bounded(stream, MAX_MEMBER_BYTES, largest=MAX_ELEMENT_BYTES))
            kind = text(read_tags(bounded, ["SOPClassUID"], end=BEHIND_CLASS), "SOPClassUID")
            bounded.seek(0)
            if kind == rtstruct.SOP_CLASS and count_items(bounded) > rtstruct.MOST_ITEMS:
                return ""
            header = read_tags(bounded, TAGS, end=BEHIND_SERIES)
            series = {identifier(item, "SeriesInstanceUID") for item in _series(header)}
            patient = text(header, "PatientID") or text(header, "StudyInstanceUID")
    except Exception:  # pydicom raises whatever a broken element makes Python raise; reading the mask says it
        return ""
    return case_name(patient, series.pop()) if len(series) == 1 and patient and "" not in series else ""


def _series(header: Dataset) -> list[Dataset]:
    """The series that a DICOM SEG, or a structure set, says that it was made from."""
    studies = (
        study
        for frame in header.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
    )
    below = [series for study in studies for series in study.get("RTReferencedSeriesSequence") or ()]
    return [*(header.get("ReferencedSeriesSequence") or ()), *below]
