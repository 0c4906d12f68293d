"""What a mask says of the scan that it was drawn on, and whether a scan can be that one.

DICOM objects name the slices that they were made from, and the frame of reference in which their positions count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ctseg.errors import CaseError
from ctseg.io.dicom.enhanced import is_object
from ctseg.io.dicom.header import floats, identifier, integer, text
from ctseg.io.dicom.one_series import spelled
from ctseg.io.grid import native_grid
from ctseg.io.identity import keyed_digest, pseudonym
from ctseg.io.placing import nearest
from ctseg.io.volume import Volume

SliceName = tuple[str, int]
"""SOPInstanceUID, and the number of the frame where that is an object of many; else 0."""

ANOTHER_SERIES = "its mask names another series, which lies in the same place; is it the mask of this scan?"
ANOTHER_FRAME = (
    "lies in another frame of reference than its scan: is it the mask of another scan? Where it is not, write it as "
    "NIfTI on the grid of the scan"
)
OWN_FRAME = "its mask names this scan and another frame of reference; taken where its positions say: does it lie right?"
ANOTHER_SLICE = (
    "names another slice of its scan than the one where it lies, so one of the two is wrong; export it again"
)
UNNAMED = ("PatientBirthDate", "StudyInstanceUID")
OWNER = ("PatientID", "PatientName", *UNNAMED)
Owner = Mapping[str, tuple[str, ...]]
"""Element of `OWNER` that is given -> digests of its value, and of what `ctseg segment --deidentify` has there."""
ANOTHER_OWNER = "its mask has another {} than its scan; is it the mask of this scan?"


@dataclass(frozen=True)
class Acquired:
    """The frames of a mask that was turned to axial, as they were; or the planes of its outlines."""

    normal: NDArray[np.float64]
    """(3,) unit normal of its frames."""
    heights_mm: NDArray[np.float64]
    """(n,) place of each along it."""
    sources: tuple[frozenset[SliceName], ...]
    """(n,) the slices of the scan that each was made from."""


@dataclass(frozen=True)
class DrawnOn:
    """What a DICOM SEG says of its scan, slice by slice of the mask that was read from it."""

    is_frame: NDArray[np.bool_]
    """(K,) whether the slice is in the file; others lie between its slices and are empty."""
    sources: tuple[frozenset[SliceName], ...]
    """(K,) the slices of the scan that each was made from."""
    series_uids: frozenset[str]
    frame_of_reference_uid: str
    """Empty where it does not say."""
    step_mm: float | None
    """From slice to slice of the scan, as far as the file tells."""
    is_even: bool
    """Whether its slices are some of an even stack, so that what lies between them is known."""
    acquired: Acquired | None = None
    """Of a mask that was turned to axial, whose slices are no frames."""
    owner: Owner = field(default_factory=dict)
    """Whose it is, by `owner_of`."""


def owner_of(dataset: Dataset) -> Owner:
    """Whose a scan or a mask is."""
    given = {name: value for name in OWNER if (value := spelled(dataset, name))}
    name = pseudonym(text(dataset, "PatientID") or text(dataset, "StudyInstanceUID")).casefold()
    return {
        tag: tuple(keyed_digest(word, 16) for word in (value, value if tag in UNNAMED else name))
        for tag, value in given.items()
    }


def about_owner(own: Owner, scan: Volume) -> list[str]:
    """A note where a mask is of another person or study than its scan, or another mask, as far as both say it.

    Args:
        own: of the mask, by `owner_of`.
        scan: the scan, or another mask of it.
    """
    known = scan.drawn.owner if scan.drawn is not None else owner_of(scan.frames[0]) if scan.frames else {}
    both = [name for name in OWNER if name in own and name in known]
    odd = [name for name in both if own[name][0] not in known[name] and known[name][0] not in own[name]]
    return [ANOTHER_OWNER.format(", ".join(odd))] if odd else []


def slice_names(scan: Volume) -> tuple[SliceName, ...]:
    """(K,) the names by which DICOM objects know the slices of a scan; empty where it came from no DICOM series.

    Of a scan that was turned to axial they are those of its series, in no order.
    """
    are_frames = is_object(scan.frames)
    names = [
        (identifier(frame, "SOPInstanceUID"), integer(frame, "InstanceNumber") if are_frames else 0)
        for frame in scan.frames
    ]
    is_stack = native_grid(scan).axes[0] == 2 and len(names) == len(scan.origins_mm)
    return tuple(names[key] for key in scan.slice_keys) if is_stack and scan.slice_keys else tuple(names)


def check_drawn_on(drawn: DrawnOn, scan: Volume, names: Sequence[SliceName]) -> list[str]:
    """Compare the names that a mask and a scan give, as far as both are known.

    Args:
        drawn: what the mask says.
        scan: the scan, or another mask of it.
        names: of its slices, see `slice_names`.

    Returns:
        A note where it names another series, or this scan and another frame of reference; and one where it is of
        another person or study.

    Raises:
        CaseError: without a file's name, if its frame of reference is another one, and it names no slice of the scan,
            nor its series alone.
    """
    own, other = drawn.frame_of_reference_uid, frame_of_reference(scan)
    is_elsewhere = bool(own and other) and own != other
    notes = about_owner(drawn.owner, scan)
    if _names_it(drawn, scan, names, by_slices=is_elsewhere):
        return [*notes, *([OWN_FRAME] if is_elsewhere else [])]
    if is_elsewhere:
        raise CaseError(ANOTHER_FRAME)
    is_known = bool(names) and (any(drawn.sources) or bool(drawn.series_uids))
    return [*notes, *([ANOTHER_SERIES] if is_known else [])]


def _names_it(drawn: DrawnOn, scan: Volume, names: Sequence[SliceName], *, by_slices: bool) -> bool:
    """Whether a mask names a slice of a scan, or its series; with `by_slices` not the series and other slices."""
    named = frozenset[SliceName]().union(*drawn.sources)
    if named & set(names):
        return True
    if by_slices and named and names and scan.drawn is None:  # of a mask, the slices are not all of the scan
        return False
    return bool(drawn.series_uids & ({scan.series_id} if scan.drawn is None else scan.drawn.series_uids))


def check_acquired(own: Acquired | None, scan: Volume, names: Sequence[SliceName]) -> None:
    """Refuse a mask of a turned series with a frame that names another slice than the one where it lies.

    Args:
        own: the frames, or the planes of outlines; None where they were not turned.
        scan: the scan, or another mask of it.
        names: of its series' slices, see `slice_names`.

    Raises:
        CaseError: without a file's name.
    """
    frames = [floats(frame, "ImagePositionPatient", 3) for frame in scan.frames]
    if own is None or native_grid(scan).axes[0] == 2 or not frames or len(frames) != len(names) or None in frames:
        return
    heights = np.array(frames, dtype=float) @ own.normal
    order = np.argsort(heights)
    at = order[nearest(own.heights_mm, heights[order])]
    known = set(names)
    if any(sources & known and names[place] not in sources for sources, place in zip(own.sources, at, strict=True)):
        raise CaseError(ANOTHER_SLICE)


def same_scan(one: Volume, other: Volume) -> list[str]:
    """As `check_drawn_on`, of two masks; nothing is known where one of them says nothing of its scan."""
    if one.drawn is None or other.drawn is None:
        return []
    return check_drawn_on(one.drawn, other, sorted(frozenset().union(*other.drawn.sources)))


def frame_of_reference(scan: Volume) -> str:
    """FrameOfReferenceUID of a DICOM scan, or of a mask that says it; empty where it is not known."""
    if scan.drawn is not None:
        return scan.drawn.frame_of_reference_uid
    return text(scan.frames[0], "FrameOfReferenceUID") if scan.frames else ""


def named_as(drawn: DrawnOn, slices: NDArray[np.intp], places: NDArray[np.intp], names: Sequence[SliceName]) -> bool:
    """Whether slices of a mask name the slices of the scan in whose places they lie.

    Args:
        drawn: what the mask says.
        slices: (n,) of the mask.
        places: (n,) of the scan, where they lie.
        names: (K,) of all slices of the scan; empty where they are not known.

    Raises:
        CaseError: without a file's name, if one names another slice of the scan.
    """
    known = set(names)
    named = [(drawn.sources[index] & known, names[place]) for index, place in zip(slices, places, strict=True) if known]
    if any(sources and name not in sources for sources, name in named):
        raise CaseError(ANOTHER_SLICE)
    return bool(named) and all(sources for sources, _ in named)
