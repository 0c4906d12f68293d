"""What enhanced objects that tests make have in common."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

NEEDED = {
    "StudyDate": "20200102", "StudyTime": "101112", "AccessionNumber": "", "StudyID": "", "ReferringPhysicianName": "",
    "PatientBirthDate": "", "PatientSex": "", "Manufacturer": "", "SeriesNumber": 1, "AcquisitionNumber": 1,
    "FrameOfReferenceUID": "1.2.3", "PositionReferenceIndicator": "", "SeriesDate": "20200102",
}  # fmt: skip
"""What highdicom asks of single slices."""


def shuffled(made: Dataset) -> None:
    """Put the frames of an uncompressed object into no order."""
    groups, size = list(made.PerFrameFunctionalGroupsSequence), made.Rows * made.Columns * 2
    order = np.random.default_rng(0).permutation(len(groups))
    made.PerFrameFunctionalGroupsSequence = Sequence([groups[place] for place in order])
    pixels = made.PixelData
    made.PixelData = b"".join(pixels[place * size : (place + 1) * size] for place in order)
