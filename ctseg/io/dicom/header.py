"""What one DICOM file says about itself, read without its pixels, and whether it is a slice of a scan at all."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
"""RSNA's identifiers are no valid UIDs; pydicom would warn of each of 750,000 files. What matters is checked here."""

MAX_MEMBER_BYTES = 2 * 1024**3
"""A zip member that unpacks to more than this is no CT slice; it is refused unread."""

HEADER_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "AcquisitionNumber", "AcquisitionTime", "ContentTime", "InstanceNumber", "ConvolutionKernel",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SamplesPerPixel",
    "NumberOfFrames",
]  # fmt: skip

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SCREENS = frozenset(
    {"SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE", "DOSE_INFO", "DOSE INFO", "PROTOCOL", "PATIENT PROTOCOL"}
)


@dataclass(frozen=True)
class Source:
    """A file on disk, or a member of a zip archive."""

    path: str
    member: str | None = None

    @property
    def folder(self) -> str:
        """Where the file lies, on disk or inside its archive."""
        place = self.path if self.member is None else f"{self.path}/{self.member}"
        return str(Path(place).parent)

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}[{self.member}]"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes, never through a path that an archive dictates.

        Raises:
            InvalidDicomError: if a zip member unpacks to more than `MAX_MEMBER_BYTES`.
        """
        if self.member is None:
            with Path(self.path).open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(self.path) as archive:
            if archive.getinfo(self.member).file_size > MAX_MEMBER_BYTES:
                raise InvalidDicomError("unpacks to more than 2 GiB")
            with archive.open(self.member) as stream:
                yield stream


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """The tags that decide which series, group and place a slice belongs to."""

    source: Source
    patient: str
    """PatientID, or StudyInstanceUID where it is empty; it never leaves `ctseg.io`."""
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_uid: str
    sop_class: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    frames: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    acquisition: int
    kernel: str
    order: tuple[int, str, int]
    """(AcquisitionNumber, AcquisitionTime, InstanceNumber): later slices compare greater."""


def read_header(source: Source) -> SliceHeader | str:
    """The header of one file, or in one line why it has none."""
    try:
        with source.open() as stream:
            return _parse(source, stream)
    except (InvalidDicomError, EOFError) as error:
        return f"not a readable DICOM file ({_first_line(error) or 'it ends early'})"
    except Exception as error:  # pydicom raises whatever a broken element makes Python raise
        return f"broken DICOM header ({type(error).__name__}: {_first_line(error)}); copy the file again"


def _parse(source: Source, stream: IO[bytes]) -> SliceHeader | str:
    if not stream.read(1):
        return "empty file"
    stream.seek(0)
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=HEADER_TAGS, force=True)
    if "SOPInstanceUID" not in dataset and "SeriesInstanceUID" not in dataset:
        return "not a readable DICOM file"
    return header_of(dataset, source)


def header_of(dataset: Dataset, source: Source) -> SliceHeader:
    """The header of a dataset that is already read."""
    acquisition, instance = integer(dataset, "AcquisitionNumber"), integer(dataset, "InstanceNumber")
    time = text(dataset, "AcquisitionTime") or text(dataset, "ContentTime")
    kinds = dataset.get("ImageType") or ()
    return SliceHeader(
        source=source,
        patient=text(dataset, "PatientID") or text(dataset, "StudyInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        sop_uid=text(dataset, "SOPInstanceUID"),
        sop_class=text(dataset, "SOPClassUID"),
        modality=text(dataset, "Modality").upper(),
        image_type=tuple(str(kind).upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)),
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        samples=integer(dataset, "SamplesPerPixel", 1),
        frames=integer(dataset, "NumberOfFrames", 1),
        position=floats(dataset, "ImagePositionPatient", 3),
        orientation=floats(dataset, "ImageOrientationPatient", 6),
        spacing=floats(dataset, "PixelSpacing", 2),
        acquisition=acquisition,
        kernel=text(dataset, "ConvolutionKernel"),
        order=(acquisition, time, instance),
    )


def why_not_a_slice(header: SliceHeader, domain: str) -> str:
    """Why a DICOM object is no slice of a `domain` scan ('ct', 'mr' or 'auto' for both); empty where it is one."""
    wanted = {"ct": ("CT",), "mr": ("MR",)}.get(domain, ("CT", "MR"))
    if not header.rows and header.modality in ("", "CT", "MR"):
        return "the header ends early; copy the file again"
    if not header.rows or not header.columns:
        return f"no image ({header.modality or 'no modality'}: report, presentation state or the like)"
    if header.sop_class.startswith(SECONDARY_CAPTURE):
        return "secondary capture (a screenshot, not slices)"
    if header.samples != 1:
        return "colour picture (a screenshot, not slices)"
    if header.modality not in wanted:
        return f"modality {header.modality or 'not given'}, not {' or '.join(wanted)}"
    if "LOCALIZER" in header.image_type:
        return "localiser (scout view)"
    if SCREENS & set(header.image_type):
        return "screen save or dose report, not slices"
    if header.sop_class == ENHANCED_CT or header.frames > 1:
        return "enhanced multi-frame object; split it into single slices first (dcm4che's emf2sf)"
    return ""


def text(dataset: Dataset, name: str) -> str:
    """A tag as stripped text; empty where it is missing."""
    value = dataset.get(name)
    return "" if value is None else str(value).strip()


def integer(dataset: Dataset, name: str, default: int = 0) -> int:
    """A tag as a whole number; `default` where it is missing or no number."""
    try:
        return int(dataset.get(name) or default)
    except (TypeError, ValueError, NotImplementedError):
        return default


def number(dataset: Dataset, name: str, default: float) -> float:
    """A tag as a finite number; `default` where it is missing or no number."""
    try:
        value = float(dataset.get(name, default))
    except (TypeError, ValueError, NotImplementedError):
        return default
    return value if math.isfinite(value) else default


def floats(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """A tag as `count` finite numbers; None where it is missing or malformed."""
    try:
        values = tuple(float(value) for value in dataset.get(name) or ())
    except (TypeError, ValueError, NotImplementedError):
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _first_line(error: Any) -> str:
    lines = str(error).splitlines()
    return lines[0][:120] if lines else ""
