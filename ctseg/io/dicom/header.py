"""What one DICOM file says about itself, read without its pixels, and whether it is a slice of a scan at all."""

from __future__ import annotations

import gzip
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import IO, Any, BinaryIO, cast

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from ctseg.failures import system_failure
from ctseg.io.contents import ENOUGH_BYTES, known_form
from ctseg.io.dicom.quoting import keep_quiet, unquoted
from ctseg.io.identity import keyed_digest
from ctseg.io.source import MAX_MEMBER_BYTES as MAX_FILE_BYTES
from ctseg.io.source import Bounded, Source

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
"""RSNA's identifiers are no valid UIDs; pydicom would warn of each of 750,000 files. What matters is checked here."""
keep_quiet()

MAX_ELEMENT_BYTES = 64 * 1024**2
"""No element of a header is larger; a length that says so is wrong."""
MAGIC = slice(128, 132), b"DICM"
"""Where a DICOM file says that it is one."""

MAX_INFLATED_BYTES = 256 * 1024**2
"""A slice in the deflated transfer syntax that unpacks to more is none."""
DEFLATED = b"1.2.840.10008.1.2.1.99"
CHUNK_BYTES = 1 << 20

HEAD_BYTES = 1 << 15
"""Almost every header is shorter."""

SIEMENS, TILES = "SIEMENS MR HEADER", 0x0019100A
"""Owner of a private block, and its element that says how many slices are tiled in one picture."""
BEHIND_HEADER = 0x30000000
"""Behind every element that a header is read for come outlines, frames and pixels."""
ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""What each item of a sequence begins with, little and big endian."""
VISIT_TAGS = (
    "TemporalPositionIdentifier", "AcquisitionDateTime", "TriggerTime", "EchoTime", "SeriesDescription",
    "SliceThickness",
)  # fmt: skip
"""What else tells the time points and reconstructions of one series apart, the surest first."""
HEADER_TAGS: list[Any] = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "AcquisitionNumber", "AcquisitionTime", "ContentTime", "InstanceNumber", "ConvolutionKernel", "KVP",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SamplesPerPixel",
    "NumberOfFrames", 0x00190010, TILES, *VISIT_TAGS,
]  # fmt: skip

IDENTIFIER = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
"""UIDs, and what published data have in their place: no spaces, carets, formulas or control characters."""


@dataclass(frozen=True)
class NoHeader:
    """Why a file has no DICOM header."""

    reason: str
    """One line."""
    broken: bool = False
    """Whether it may be a scan all the same: the system did not give it, or it says that it is DICOM."""

    def __str__(self) -> str:
        return self.reason


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
    tiles: int
    """Slices in one picture, where Siemens' private NumberOfImagesInMosaic says so; else 1."""
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    acquisition: int
    kernel: str
    kilovolts: float
    """0 where the header does not say."""
    visit: tuple[str, ...]
    """Values of `VISIT_TAGS`, which never leave `ctseg.io`: people write names into descriptions."""
    order: tuple[int, str, int]
    """(AcquisitionNumber, AcquisitionTime, InstanceNumber): later slices compare greater."""
    frame: int = 0
    """Number of the frame in its object, from 1; 0 of a file that holds one slice."""
    dimensions: tuple[tuple[str, str], ...] = ()
    """What a frame says of its stack, time and other dimensions: names and values."""
    parts: tuple[SliceHeader, ...] = ()
    """The frames of an enhanced object, where they could be read."""


More = Callable[[SliceHeader, IO[bytes]], SliceHeader]


def read_header(source: Source, more: More | None = None) -> SliceHeader | NoHeader:
    """The header of one file, or in one line why it has none.

    Args:
        source: the file.
        more: called with a header and its file, which is open still; gives the header with what else it reads there.
    """
    start = b""
    try:
        with source.open() as stream:
            start = stream.read(ENOUGH_BYTES)
            stream.seek(0)
            bounded = cast(IO[bytes], Bounded(stream, MAX_FILE_BYTES, largest=MAX_ELEMENT_BYTES))
            header = _parse(source, bounded, start)
            return header if more is None or isinstance(header, NoHeader) else more(header, bounded)
    except Exception as error:  # pydicom raises whatever a broken element makes Python raise
        system = system_failure(error)
        if system:
            return NoHeader(system, broken=True)
        says_so = start[MAGIC[0]] == MAGIC[1] or _is_damaged(source, error)
        other = "" if says_so else known_form(start, source.name)
        if other:
            return NoHeader(other, broken=True)
        if isinstance(error, (InvalidDicomError, EOFError)):
            what = unquoted(error) if str(error) else "it ends early"
            return NoHeader(f"not a readable DICOM file ({what})", broken=says_so)
        return NoHeader(f"broken DICOM header ({unquoted(error)}); copy the file again", broken=says_so)


def read_tags(stream: IO[bytes], tags: Sequence[Any], end: int = BEHIND_HEADER) -> Dataset:
    """Elements of a header by their names.

    pydicom reads through sequences of undefined length to find their end: two million items take minutes.

    Args:
        stream: at its start.
        tags: which.
        end: tag at which reading ends.

    Raises:
        Exception: whatever a broken element makes pydicom raise.
    """
    wanted: list[BaseTag | int] = [Tag(tag) for tag in tags]
    return read_partial(cast(BinaryIO, stream), lambda tag, *_: tag >= end, force=True, specific_tags=wanted)


def count_items(stream: IO[bytes]) -> int:
    """How many items of sequences a file has at most; the stream is at its start before and after."""
    count, last = 0, b""
    while data := stream.read(CHUNK_BYTES):
        count += max(map((last + data).count, ITEMS))
        last = data[-3:]
    stream.seek(0)
    return count


def made_by(source: Source) -> str:
    """Manufacturer of a DICOM file; empty where it does not say, or is broken. It never leaves `ctseg.io`."""
    try:
        with source.open() as stream:
            refuse_inflating(stream)
            bounded = cast(IO[bytes], Bounded(stream, MAX_FILE_BYTES, largest=MAX_ELEMENT_BYTES))
            return text(read_tags(bounded, ["Manufacturer"]), "Manufacturer")
    except Exception:  # pydicom raises whatever a broken element makes Python raise
        return ""


def _is_damaged(source: Source, error: BaseException) -> bool:
    """Whether a compressed file cannot be unpacked, so that nobody knows what is in it."""
    packed = source.member is not None or source.name.lower().endswith(".gz")
    return packed and isinstance(error, (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError))


def _parse(source: Source, stream: IO[bytes], start: bytes) -> SliceHeader | NoHeader:
    if not start:
        return NoHeader("empty file")
    refuse_inflating(stream)
    dataset = _from_head(stream)
    if dataset is None:
        dataset = read_tags(stream, HEADER_TAGS)
    if "SOPInstanceUID" not in dataset and "SeriesInstanceUID" not in dataset:
        is_dicom = start[MAGIC[0]] == MAGIC[1]
        other = "" if is_dicom else known_form(start, source.name)
        return NoHeader(other or "not a readable DICOM file", broken=is_dicom or bool(other))
    return header_of(dataset, source)


def _from_head(stream: IO[bytes]) -> Dataset | None:
    """The header where the pixels begin within the first bytes of a file; None where it has to be read with care.

    Read from memory it takes half the time. The stream is at its start again.
    """
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if DEFLATED in head[:2048]:
        return None
    buffer = BytesIO(head)
    try:
        dataset = read_tags(buffer, HEADER_TAGS)
    except Exception:  # the stream tells what is wrong
        return None
    return dataset if buffer.tell() < len(head) else None


def refuse_inflating(stream: IO[bytes]) -> None:
    """Refuse a file in the deflated transfer syntax that unpacks to more than `MAX_FILE_BYTES`.

    Raises:
        InvalidDicomError: if it does. The stream is at its start again.
    """
    head = stream.read(2048)
    if DEFLATED in head:
        start = end_of_meta(head)
        stream.seek(start)
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while (data := inflate.unconsumed_tail or stream.read(CHUNK_BYTES)) and not inflate.eof:
            total += len(inflate.decompress(data, CHUNK_BYTES))
            if total > MAX_INFLATED_BYTES:
                raise InvalidDicomError(f"unpacks to more than {MAX_INFLATED_BYTES / 1024**2:.0f} MiB")
    stream.seek(0)


def end_of_meta(head: bytes) -> int:
    """Where the dataset of a file begins: behind the group length, which is the first element of its meta group."""
    length = int.from_bytes(head[140:144], "little") if head[132:136] == b"\x02\0\0\0" else 0
    return 144 + length


def header_of(dataset: Dataset, source: Source) -> SliceHeader:
    """The header of a dataset that is already read."""
    acquisition, instance = integer(dataset, "AcquisitionNumber"), integer(dataset, "InstanceNumber")
    time = text(dataset, "AcquisitionTime") or text(dataset, "ContentTime")
    kinds = value_of(dataset, "ImageType") or ()
    return SliceHeader(
        source=source,
        patient=text(dataset, "PatientID") or text(dataset, "StudyInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=identifier(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        sop_uid=identifier(dataset, "SOPInstanceUID"),
        sop_class=text(dataset, "SOPClassUID"),
        modality=text(dataset, "Modality").upper(),
        image_type=tuple(str(kind).upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)),
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        samples=integer(dataset, "SamplesPerPixel", 1),
        frames=integer(dataset, "NumberOfFrames", 1),
        tiles=_tiles(dataset),
        position=floats(dataset, "ImagePositionPatient", 3),
        orientation=floats(dataset, "ImageOrientationPatient", 6),
        spacing=floats(dataset, "PixelSpacing", 2),
        acquisition=acquisition,
        kernel=text(dataset, "ConvolutionKernel"),
        kilovolts=number(dataset, "KVP", 0.0),
        visit=tuple(text(dataset, name) for name in VISIT_TAGS),
        order=(acquisition, time, instance),
    )


def _tiles(dataset: Dataset) -> int:
    owner, tiles = dataset.get(0x00190010), dataset.get(TILES)
    if owner is None or tiles is None or str(owner.value).strip() != SIEMENS:
        return 1
    try:
        value = tiles.value
        return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
    except (TypeError, ValueError):
        return 1


@cache
def _tag(name: str) -> BaseTag:
    return Tag(name)


def value_of(dataset: Dataset, name: str) -> Any:
    """A tag's value, None where it is missing: `dataset.get(name)` without the search for attributes of that name."""
    element = dataset.get(_tag(name))
    return None if element is None else element.value


def text(dataset: Dataset, name: str) -> str:
    """A tag as stripped text; empty where it is missing."""
    value = value_of(dataset, name)
    return "" if value is None else str(value).strip()


def identifier(dataset: Dataset, name: str) -> str:
    """A UID as text; one with other letters than identifiers have (RSNA's are fine) is replaced by a digest of it."""
    value = text(dataset, name)
    return value if not value or IDENTIFIER.fullmatch(value) else f"ID-{keyed_digest(value, 10)}"


def integer(dataset: Dataset, name: str, default: int = 0) -> int:
    """A tag as a whole number; `default` where it is missing or no number."""
    try:
        return int(value_of(dataset, name) or default)
    except (TypeError, ValueError, NotImplementedError):
        return default


def number(dataset: Dataset, name: str, default: float) -> float:
    """A tag as a finite number; `default` where it is missing or no number."""
    try:
        found = value_of(dataset, name)
        value = default if found is None else float(found)
    except (TypeError, ValueError, NotImplementedError):
        return default
    return value if math.isfinite(value) else default


def is_no_number(dataset: Dataset, name: str) -> bool:
    """Whether a tag is there, with a value that is not one finite number: several, words, a decimal comma, NaN."""
    try:
        found = value_of(dataset, name)
        return found not in (None, "", b"") and not math.isfinite(float(found))
    except (TypeError, ValueError, NotImplementedError):
        return True


def floats(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """A tag as `count` finite numbers; None where it is missing or malformed."""
    try:
        values = tuple(float(value) for value in value_of(dataset, name))
    except (TypeError, ValueError, NotImplementedError):
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None
