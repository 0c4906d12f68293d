"""DICOM series in: one `Volume` with true positions, in HU, without any patient identity outside its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ctseg.errors import CaseError
from ctseg.failures import system_failure
from ctseg.io.dicom.enhanced import frame_header, frames_of, holds_frames, named_as_frame
from ctseg.io.dicom.geometry import Stack, check_placed, describe, places, stack_of, to_canonical
from ctseg.io.dicom.header import SliceHeader, header_of, integer, number, refuse_inflating, text
from ctseg.io.dicom.no_slices import why_not_a_slice
from ctseg.io.dicom.one_series import about_one, check_person
from ctseg.io.dicom.pixels import slice_values
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.dicom.rescaled import about_rescale
from ctseg.io.dicom.said_twice import disagreements
from ctseg.io.dicom.series import stackable_groups
from ctseg.io.dicom.traits import about_series
from ctseg.io.extent import check_voxels
from ctseg.io.hu_check import check_hu
from ctseg.io.identity import case_name, pseudonym
from ctseg.io.source import Source
from ctseg.io.volume import Volume

__all__ = ["case_name", "pseudonym", "read_series"]

ENCODINGS = {
    (True, True): ImplicitVRLittleEndian,
    (True, False): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""Transfer syntax by (implicit VR, little endian)."""
FRAMES = "slices are the frames of one enhanced object"
PIXEL_TAGS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class _Slice:
    """One slice while its series is put together."""

    def __init__(
        self, dataset: Dataset, source: Source, domain: str, *, part_of: tuple[str, str, int] | None = None
    ) -> None:
        self.part_of = part_of
        """SOPClassUID, SOPInstanceUID and number of frames of the object that the slice is a frame of."""
        self.header: SliceHeader = (header_of if part_of is None else frame_header)(dataset, source)
        reason = why_not_a_slice(self.header, domain)
        if reason:
            raise CaseError(f"{source}: {reason}; leave it out")
        self.values: NDArray[np.float32]
        self.values, self.notes = slice_values(dataset, str(source), domain)
        for name in PIXEL_TAGS:
            if name in dataset:
                delattr(dataset, name)
        self.dataset = dataset

    def named(self) -> Dataset:
        """The header by which other objects name the slice: of a frame its object's UID and its own number."""
        if self.part_of is None:
            return self.dataset
        kind, uid, count = self.part_of
        self.dataset.add_new("NumberOfFrames", "IS", count)
        return named_as_frame(self.dataset, kind, uid, self.header.frame)


def _slices(source: Source, domain: str, wanted: Collection[int]) -> list[_Slice]:
    """The slice of a file, or those of an enhanced object: the frames that are wanted, or all.

    Raises:
        CaseError: if one is broken or none of a scan.
    """
    dataset = read_dataset(source)
    try:
        if not holds_frames(dataset):
            return [_Slice(dataset, source, domain)]
        frames = list(frames_of(dataset, str(source), wanted))
        own = text(dataset, "SOPClassUID"), text(dataset, "SOPInstanceUID"), integer(dataset, "NumberOfFrames")
        slices = [_Slice(frame, source, domain, part_of=own) for frame in frames]
    except CaseError:
        raise
    except Exception as error:  # pydicom raises whatever a broken element makes Python raise
        reason = system_failure(error) or f"broken DICOM header ({unquoted(error, dataset)}); copy the file again"
        raise CaseError(f"{source}: {reason}") from None
    groups, strays = stackable_groups([item.header for item in slices])
    if len(groups) != 1 or strays:
        raise CaseError(
            f"{source}: its frames make {len(groups) + len(strays)} stacks (phases, orientations?); name the frames of "
            "one, as `ctseg.io.discover.discover` does"
        )
    return slices


def read_dataset(source: Source) -> Dataset:
    """A whole DICOM file, whose file meta information names its encoding.

    Raises:
        CaseError: if it is missing, broken or unpacks to too much.
    """
    try:
        with source.open() as stream:
            refuse_inflating(stream)
            whole = BytesIO(stream.read())  # a third faster than through a stream that counts its bytes
            dataset = pydicom.dcmread(whole, force=True)
            dataset.buffer = dataset.fileobj_type = None  # a closed stream cannot be sent to another process
    except FileNotFoundError:
        raise CaseError(f"{source}: no such file") from None
    except Exception as error:  # pydicom raises whatever a broken element makes Python raise
        reason = system_failure(error) or f"broken or cut short ({unquoted(error)}); copy it again"
        raise CaseError(f"{source}: {reason}") from None
    return with_transfer_syntax(dataset)


def with_transfer_syntax(dataset: Dataset) -> Dataset:
    """A dataset whose file meta information names its encoding; old exports and stored network messages have none.

    What was found while reading is written down: implicit or explicit VR, little or big endian.
    """
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        meta = dataset.file_meta = FileMetaDataset()
    if not meta.get("TransferSyntaxUID"):
        is_implicit, is_little = dataset.original_encoding
        meta.TransferSyntaxUID = ENCODINGS[bool(is_implicit), is_little is not False]
    return dataset


def read_series(
    files: Sequence[Path | str],
    *,
    domain: str = "ct",
    case_id: str | None = None,
    zip_file: Path | None = None,
    notes: Sequence[str] = (),
    frames: Collection[int] = (),
) -> Volume:
    """Read the slices of one series into a volume; CT is checked to be HU.

    The native grid is (columns, rows, slices) with the slices in order along their normal; `frames` are in that order
    and hold no pixels.

    Args:
        files: the slices in any order; member names where `zip_file` is given.
        domain: 'ct' or 'mr'.
        case_id: name of the case; by default made of the pseudonym and a hash of the series.
        zip_file: the archive that `files` are members of.
        notes: what is already known about the case.
        frames: numbers, from 1, of the frames to read of an enhanced object; empty for all.

    Raises:
        CaseError: if a slice is broken, has no position, or the slices do not make one stack or have voxels of an
            impossible size.
    """
    if not files:
        raise CaseError(f"{case_id or 'series'}: has no files")
    sources = [Source(str(zip_file), str(name)) if zip_file else Source(str(name)) for name in files]
    slices = list(chain.from_iterable(_slices(source, domain, frames) for source in sources))
    check_placed([item.header for item in slices])
    check_person([item.dataset for item in slices], str(sources[0]))
    slices, repeats = _in_order(slices)
    rescaled = _about_rescale(slices) if domain == "ct" else []
    volume = _volume(slices, domain, case_id, (*notes, *repeats, *_about_bits(slices), *rescaled))
    check_voxels(volume)
    return check_hu(volume) if domain == "ct" else volume


def _in_order(slices: list[_Slice]) -> tuple[list[_Slice], list[str]]:
    """Slices in order along the normal, one a position, and what was dropped.

    Raises:
        CaseError: if many different slices lie at one position.
    """
    stacked: dict[int, list[_Slice]] = {}
    for number_, item in sorted(zip(places([item.header for item in slices]), slices, strict=True), key=lambda p: p[0]):
        stacked.setdefault(number_, []).append(item)
    kept = [max(group, key=lambda item: item.header.order) for group in stacked.values()]
    same = [all(np.array_equal(group[0].values, item.values) for item in group[1:]) for group in stacked.values()]
    if len(kept) == 1 and len(slices) > 1 and not same[0]:
        raise CaseError(
            f"{slices[0].header.source}: all {len(slices)} slices of its series lie at one position "
            "(bolus tracking or perfusion?), so they make no volume; leave the series out"
        )
    _refuse_ambiguous(list(stacked.values()), same)
    return kept, _about_repeats(list(stacked.values()), same)


def _refuse_ambiguous(groups: Sequence[Sequence[_Slice]], same: Sequence[bool]) -> None:
    """Refuse slices of one place that differ, unless acquisition, time or (but for frames) number tell the last.

    Args:
        groups: the slices of each place.
        same: whether those of each place are equal.

    Raises:
        CaseError: naming the first two.
    """
    differing = [group for group, equal in zip(groups, same, strict=True) if not equal]
    ambiguous = [group for group in differing if len(set(map(_acquired, group))) < len(group)]
    if not ambiguous:
        return
    first, source = ambiguous[0], ambiguous[0][0].header.source
    more = f", as at {len(ambiguous) - 1} more places" if len(ambiguous) > 1 else ""
    if first[0].part_of is None:
        raise CaseError(
            f"{source}: lies where {first[1].header.source} does, and differs{more}, and nothing in their headers "
            "tells which is the later one; keep one of them"
        )
    one, other = sorted(item.header.frame for item in first)[:2]
    raise CaseError(
        f"{source}: its frames {one} and {other} lie at one place and differ{more}, and nothing in it tells which "
        "belong together; export each phase as a series of its own"
    )


def _acquired(item: _Slice) -> tuple[int | str, ...]:
    """What tells which of several slices of one place is the last."""
    return item.header.order if item.part_of is None else item.header.order[:2]


def _about_repeats(groups: Sequence[Sequence[_Slice]], same: Sequence[bool]) -> list[str]:
    identical = sum(len(group) - 1 for group, equal in zip(groups, same, strict=True) if equal)
    differing = sum(len(group) - 1 for group, equal in zip(groups, same, strict=True) if not equal)
    notes = []
    if identical:
        notes.append(f"{identical} identical copies of slices dropped")
    if differing:
        notes.append(f"{differing} differing slices at positions taken twice dropped; the last acquired are kept")
    return notes


def _about_bits(slices: Sequence[_Slice]) -> list[str]:
    """What slices say about their pixels, each once, with the number of slices."""
    counts = Counter(note for item in slices for note in item.notes)
    return [f"{note} ({count} of {len(slices)} slices)" for note, count in counts.items()]


def _about_rescale(slices: Sequence[_Slice]) -> list[str]:
    names = [str(item.header.source) for item in slices]
    return about_rescale([item.values for item in slices], [item.dataset for item in slices], names)


def _volume(slices: Sequence[_Slice], domain: str, case_id: str | None, notes: Sequence[str]) -> Volume:
    headers = [item.header for item in slices]
    first = slices[0].dataset
    name = case_id or case_name(headers[0].patient, headers[0].series_uid)
    thickness = _thickness_mm(first)
    stack = stack_of(headers, thickness)
    try:
        grid, geometry = to_canonical(stack)
    except CaseError as error:
        raise CaseError(f"{name}: {error}") from None
    native = np.stack([item.values for item in slices]).transpose(2, 1, 0)  # (columns, rows, slices), as it is stored
    keys = tuple(range(grid.shape[grid.axes[0]]))[:: -1 if grid.flips[0] else 1]
    return Volume(
        voxels=np.ascontiguousarray(grid.to_canonical(native)),
        origins_mm=geometry.origins_mm,
        row_step_mm=geometry.row_step_mm,
        col_step_mm=geometry.col_step_mm,
        domain=domain,
        case_id=name,
        patient_id=pseudonym(headers[0].patient),
        series_id=headers[0].series_uid,
        slice_ids=_ids(slices, keys, name, is_axial=grid.axes[0] == 2),
        slice_keys=keys,
        native=grid,
        notes=(*notes, *_about(slices, stack, domain)),
        frames=tuple(item.named() for item in slices),  # behind the notes, which compare the frames' own names
        thickness_mm=thickness,
    )


def _is_object(slices: Sequence[_Slice]) -> bool:
    """Whether any slice is a frame of an enhanced object, which has no UID of its own."""
    return any(item.part_of is not None for item in slices)


def _ids(slices: Sequence[_Slice], keys: Sequence[int], name: str, *, is_axial: bool) -> tuple[str, ...]:
    """The slices' own UIDs; names where they are frames, or lie across the slices that were taken."""
    has_own = is_axial and not _is_object(slices)
    return tuple(slices[key].header.sop_uid if has_own else f"{name}_{key:03d}" for key in keys)


def _thickness_mm(first: Dataset) -> float | None:
    """Nominal thickness of a slice; where the header gives none, the distance of slices that it states."""
    said = (abs(number(first, name, 0.0)) for name in ("SliceThickness", "SpacingBetweenSlices"))
    return next((value for value in said if value), None)


def _about(slices: Sequence[_Slice], stack: Stack, domain: str) -> tuple[str, ...]:
    """What is odd about the series and where its slices lie."""
    first = slices[0].dataset
    return (
        *([FRAMES] if _is_object(slices) else []),
        *about_series(first, domain),
        *([] if to_canonical(stack)[0].axes[0] == 2 else ["sagittal or coronal slices, turned to axial"]),
        *describe(stack, number(first, "GantryDetectorTilt", 0.0)),
        *disagreements([item.dataset for item in slices], stack),
        *about_one([item.dataset for item in slices], stack),
    )
