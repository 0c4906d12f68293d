"""Names for patients and scans that tell nothing about the patient, and the patient that a scan's name tells."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

END = r"(?![0-9A-Za-z])"
"""The patient's part of a name ends where letters and digits do."""
DICOM_NAME = "ctseg's DICOM"
TIME_WORDS = "ses|session|week|wk|fu|follow-?up|tp|time-?point|visit|baseline"
"""What follow-ups of a patient are called, in a pattern."""
CONVENTIONS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern + END, re.IGNORECASE))
    for name, pattern in (
        (DICOM_NAME, r"(?P<patient>P[0-9a-f]{10})(?=_[0-9a-f]{6}(?:-[0-9a-f]+)*$)_[0-9a-f]{6}"),
        ("BIDS", r"(?P<patient>sub-[0-9A-Za-z]+)"),
        ("BraTS", r"(?P<patient>BraTS(?:20\d\d)?-[A-Z]+-\d+)"),  # BraTS-GLI-00004-100
        ("BraTS", r"BraTS(?:20)?1\d_(?P<patient>(?!Training|Validation|Testing)\w+_\w+?)_\d+"),  # BraTS19_CBICA_AAB_1
        ("BraTS", r"(?P<patient>BraTS(?:20)?2\d_(?:(?:Training|Validation|Testing)_)?\d+)"),  # BraTS20_Training_001
        ("Decathlon", r"(?P<patient>BRATS_\d+)"),  # BRATS_001
        ("UCSF-PDGM", r"(?P<patient>UCSF-PDGM-\d+)"),  # UCSF-PDGM-0004_FU001d
        ("UPENN-GBM", r"(?P<patient>UPENN-GBM-\d+)"),  # UPENN-GBM-00001_11
        ("UCSD-PTGBM", r"(?P<patient>UCSD-PTGBM-\d+)"),
        ("RHUH-GBM", r"(?P<patient>RHUH-(?:GBM-)?\d+)"),
        ("TCGA", r"(?P<patient>TCGA-[0-9A-Z]{2}-[0-9A-Z]{4})"),
        ("OASIS", r"(?P<patient>OAS[0-9]{5})"),
        ("ISBI 2015", r"(?P<patient>(?:training|test)\d\d)(?=_\d\d)_\d\d"),
        ("LUMIERE", r"(?P<patient>Patient-\d+)"),  # Patient-001_week-000
        (
            "time point",
            rf"(?P<patient>[^\W_].*?)[_\-. ]+(?:{TIME_WORDS})[_\-. ]*\d*[a-z]?",
        ),
    )
)
"""Which part of a case's name is the patient, by the convention's name; the first that fits counts.

Sources: synapse.org (BraTS 2017 to 2024), bids-specification.readthedocs.io, medicaldecathlon.com, and the collections'
pages at cancerimagingarchive.net. BraTS 2017 to 2019 share patients, so their edition is no part of the patient.
"""
LONGEST = 255
"""Letters of the longest name that a file system takes; what is longer, in a table, names no scan."""
FOLDERS_UP = 4
"""How far above a file its folders are asked for the patient: sub-01/ses-02/anat/flair.nii.gz."""


def pseudonym(patient_id: str) -> str:
    """A stable name for a DICOM PatientID: "P" and ten hex digits of its BLAKE2b hash.

    Patient numbers are short enough to be guessed from a plain hash; with `CTSEG_PSEUDONYM_KEY` set in the environment
    the hash is keyed, so only the holder of the key can link the name back.
    """
    return "P" + keyed_digest(patient_id.strip(), 5)


def keyed_digest(text: str, size: int = 3) -> str:
    """`size` bytes of the BLAKE2b hash of a text as hex digits, keyed with `CTSEG_PSEUDONYM_KEY` where it is set."""
    key = os.environ.get("CTSEG_PSEUDONYM_KEY", "").encode()[:64]
    return blake2b(text.encode(errors="surrogateescape"), digest_size=size, key=key).hexdigest()


def case_name(patient_id: str, series_uid: str) -> str:
    """File-name-safe name of one series: the patient's pseudonym and six hex digits of the SeriesInstanceUID's hash."""
    return f"{pseudonym(patient_id)}_{blake2b(series_uid.strip().encode(), digest_size=3).hexdigest()}"


def convention_of(name: str) -> tuple[str, str] | None:
    """(convention, patient) of a case's name; None where no known convention fits."""
    for convention, pattern in CONVENTIONS if len(name) <= LONGEST else ():
        match = pattern.match(name)
        if match is not None:
            return convention, match["patient"]
    return None


def patient_of(name: str) -> str | None:
    """The patient of a scan by its name, so that follow-ups of one patient have one; None where no convention fits.

    `BraTS-GLI-00004-100` and `BraTS-GLI-00004-101` are both of `BraTS-GLI-00004`.
    """
    found = convention_of(name)
    return None if found is None else found[1]


def patient_of_file(file: Path, name: str = "") -> tuple[str, str] | None:
    """(convention, patient) of a file, by its case's name, its own, or those of the folders above it.

    `Patient-001/week-000/FLAIR.nii.gz` is of `Patient-001`. Of folders, names that a whole data set may have, such as
    `BRATS_2019`, tell nothing.
    """
    for text in (name, file.name):
        found = convention_of(text) if text else None
        if found is not None and found[0] != "time point":
            return found
    for folder in file.parents[:FOLDERS_UP]:
        found = convention_of(folder.name)
        if found is not None and found[0] not in ("time point", "Decathlon", DICOM_NAME):
            return found
    return _in_other_letters(file) or convention_of(name or file.name)


def _in_other_letters(file: Path) -> tuple[str, str] | None:
    """The patient of a name with letters that are not ASCII: its case's name has lost them."""
    for text in (file.name, *(folder.name for folder in file.parents[:FOLDERS_UP])):
        found = None if text.isascii() else convention_of(unicodedata.normalize("NFC", text))
        if found is not None and not found[1].isascii():
            kept = "".join(letter for letter in found[1] if letter.isascii() and letter.isalnum())
            return found[0], f"{kept or 'patient'}-{keyed_digest(folded(found[1]))}"
    return None


def patients_of(names: Sequence[str]) -> dict[str, str]:
    """Name -> patient; a name of no known convention is its own patient. Upper and lower case make no difference."""
    return same_spelling({name: patient_of(name) or name for name in names})


def same_spelling(patients: dict[str, str]) -> dict[str, str]:
    """The same patients under one spelling each, the first in order; see `folded`."""
    spelling: dict[str, str] = {}
    for patient in sorted(set(patients.values())):
        spelling.setdefault(folded(patient), patient)
    return {name: spelling[folded(patient)] for name, patient in patients.items()}


def folded(patient: str) -> str:
    """What spellings of one patient have in common.

    They may differ in upper and lower case, and in whether letters with accents are one character (NFC) or two (NFD, as
    on a Mac).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", patient).casefold())


def patient_rule(conventions: Iterable[str | None], flag: str) -> str:
    """One sentence that says by which rule cases belong to patients.

    Args:
        conventions: of each case, or None where a case is a patient of its own.
        flag: the option that names patients instead.
    """
    found = list(conventions)
    known = [item for item in found if item is not None]
    names = " and ".join(f"{name} case names" for name in dict.fromkeys(known))
    if not known:
        return f"each case is a patient of its own; give {flag} where a patient has several"
    if len(known) == len(found):
        return f"patients from {names}"
    return f"patients from {names} for {len(known)} cases, the other {len(found) - len(known)} a patient each"
