"""What `--deidentify` lets pass: numbers of the geometry and the UIDs, under a pseudonym, and no text at all.

After the Basic Application Confidentiality Profile with the Retain UIDs Option of DICOM PS3.15, Annex E. A header is
built from what is known to be needed, so that no element, public or private, passes because nobody thought of it.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, CTImageStorage, generate_uid

from ctseg.io.dicom.enhanced import holds_frames, is_object
from ctseg.io.dicom.header import floats, integer, text
from ctseg.io.volume import Volume

NUMBERS = {
    "PixelSpacing": 2, "SliceThickness": 1, "SpacingBetweenSlices": 1, "ImageOrientationPatient": 6,
    "ImagePositionPatient": 3,
}  # fmt: skip
"""Elements whose text passes where it is so many numbers."""
WHOLE_NUMBERS = ("Rows", "Columns", "InstanceNumber", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit")
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
VALID_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
METHOD = "ctseg: patient pseudonym, all but geometry and UIDs dropped"
PROFILE = (("113100", "Basic Application Confidentiality Profile"), ("113110", "Retain UIDs Option"))


def deidentified(frame: Dataset, volume: Volume) -> Dataset:
    """A header with the geometry of a slice, its UIDs and its patient's pseudonym, made from nothing.

    Args:
        frame: the slice's own header.
        volume: the scan, for the pseudonym.
    """
    header = Dataset()
    for name, count in NUMBERS.items():
        values = floats(frame, name, count) if count > 1 else _one_number(frame, name)
        if values is not None:
            header[name] = deepcopy(frame[name])
    for name in WHOLE_NUMBERS:
        if name in frame:
            setattr(header, name, integer(frame, name))
    for name in UIDS:
        if text(frame, name):
            setattr(header, name, valid_uid(text(frame, name)))
    header.SOPClassUID = UID(text(frame, "SOPClassUID") if holds_frames(frame) else CTImageStorage)
    if holds_frames(frame):
        header.NumberOfFrames = integer(frame, "NumberOfFrames")
    header.Modality = volume.domain.upper()
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PatientID, header.PatientName = volume.patient_id, f"{volume.patient_id}^"
    header.PositionReferenceIndicator = None
    header.SpecificCharacterSet = "ISO_IR 192"
    return header


def _one_number(frame: Dataset, name: str) -> tuple[float, ...] | None:
    try:
        return (float(frame.get(name)),) if frame.get(name) is not None else None
    except (TypeError, ValueError, NotImplementedError):
        return None


def valid_uid(value: str) -> str:
    """The UID, or one made from it where it has letters, as those of RSNA 2019: they are text, and text may be a name.

    The same value becomes the same UID in every file.
    """
    return value if VALID_UID.fullmatch(value) and len(value) <= 64 else str(generate_uid(entropy_srcs=[value]))


def without_text(volume: Volume) -> Volume:
    """A scan whose slices are named by valid UIDs alone; the sidecars show these names."""
    if not volume.frames or is_object(volume.frames):
        return volume
    return replace(volume, slice_ids=tuple(valid_uid(name) for name in volume.slice_ids))


def say_how(dataset: Dataset) -> None:
    """Write down that identity was removed and how, as PS3.15 asks for."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.DeidentificationMethodCodeSequence = [coded(Code(number, "DCM", name)) for number, name in PROFILE]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def coded(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
