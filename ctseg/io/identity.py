"""Names for patients and scans that tell nothing about the patient."""

from __future__ import annotations

import os
from hashlib import blake2b


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
