"""What a reader found: scans to read later, and what was left out and why."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctseg.harmless import one_line
from ctseg.io.identity import keyed_digest

LONGEST_NAME = 230
"""Letters of a case name: `-` with six digits, a number and `_resampled.dcm` may follow, and 255 bytes are the most."""


@dataclass(frozen=True)
class Case:
    """One scan to read later; cheap and picklable, so that worker processes can read it."""

    case_id: str
    """File-name-safe and unique within its discovery; no patient identity for DICOM."""
    patient_id: str
    """Case name, or the pseudonym of the DICOM PatientID."""
    kind: str
    """'dicom', 'nifti', 'msd' or 'brats'."""
    domain: str
    """'ct' or 'mr'."""
    files: tuple[Path, ...]
    """The slices of a DICOM series, or one NIfTI file; the archive itself for a zip."""
    label_file: Path | None = None
    series_id: str = ""
    notes: tuple[str, ...] = ()
    channel: int | None = None
    """Which volume of a 4-D file: the FLAIR of a Medical Segmentation Decathlon case."""
    orientation: str | None = None
    """Axis codes to assume for a NIfTI whose header carries no orientation, as in `read_nifti`."""
    zip_file: Path | None = None
    is_guess: bool = False
    """Whether the domain is a guess: nothing in the name, the header or the voxels says it."""
    members: tuple[str, ...] = ()
    """The slices' names inside `zip_file`; used as keys only, never as paths."""
    frames: tuple[int, ...] = ()
    """The scan's frames, numbered from 1, where an enhanced object holds several scans; empty for all."""
    unnamed: bool = False
    """Whether the case's name is a digest, so that its file's name must not be said either."""


@dataclass(frozen=True)
class Rejected:
    """Something that was found and is not a scan to read."""

    path_or_series: str
    reason: str
    broken: bool = False
    """Whether it may be a scan that cannot be read, rather than something that is none, as a scout or a mask."""

    def __str__(self) -> str:
        return one_line(f"{self.path_or_series}: {self.reason}")


@dataclass(frozen=True)
class Discovery:
    """All that was found, in a fixed order."""

    cases: tuple[Case, ...]
    rejected: tuple[Rejected, ...]
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many files of each kind that holds no scans were not opened."""

    @property
    def incomplete(self) -> bool:
        """Whether anything was left out that may be a scan."""
        return any(item.broken for item in self.rejected)

    def about_ignored(self) -> list[str]:
        """One line that counts the files that were not opened; none where there are none."""
        if not self.ignored:
            return []
        kinds = sorted(self.ignored.items(), key=lambda kind: (-kind[1], kind[0]))
        parts = ", ".join(f"{name} {count}" for name, count in kinds)
        return [f"not opened, as no scans by their names: {sum(self.ignored.values())} ({parts})"]


def safe_name(name: str) -> str:
    """`name` with everything but ASCII letters, digits, dot, dash and underscore replaced, fit for a file name.

    Where letters or digits are lost, a digest of the name follows, so that other names stay other names.
    """
    name = unicodedata.normalize("NFC", name)  # macOS decomposes file names
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or "case"
    is_lossy = any((character.isalnum() and not character.isascii()) or _is_byte(character) for character in name)
    return f"{safe}-{keyed_digest(name)}" if is_lossy else safe


def _is_byte(character: str) -> bool:
    """Whether it is how Python writes a byte of a file name that is not UTF-8, as an umlaut in Latin-1."""
    return "\udc80" <= character <= "\udcff"


def short_name(name: str) -> str:
    """A name to which every suffix of an output can be added within 255 bytes; a digest replaces what is cut off.

    Args:
        name: of ASCII letters, as `safe_name` makes it.
    """
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 7]}-{keyed_digest(name)}"
