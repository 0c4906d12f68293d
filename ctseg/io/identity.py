"""Names for patients and scans that tell nothing about the patient."""

from __future__ import annotations

import os
from hashlib import blake2b


def pseudonym(patient_id: str) -> str:
    """A stable name for a DICOM PatientID: "P" and ten hex digits of its BLAKE2b hash.

    Patient numbers are short enough to be guessed from a plain hash; with `CTSEG_PSEUDONYM_KEY` set in the environment
    the hash is keyed, so only the holder of the key can link the name back.
    """
    key = os.environ.get("CTSEG_PSEUDONYM_KEY", "").encode()[:64]
    return "P" + blake2b(patient_id.strip().encode(), digest_size=5, key=key).hexdigest()


def case_name(patient_id: str, series_uid: str) -> str:
    """File-name-safe name of one series: the patient's pseudonym and six hex digits of the SeriesInstanceUID's hash."""
    return f"{pseudonym(patient_id)}_{blake2b(series_uid.strip().encode(), digest_size=3).hexdigest()}"
