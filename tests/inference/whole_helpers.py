"""Extractors for `test_whole`, in a module of their own, so that spawned worker processes can unpickle them."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from segment_helpers import NonAirIsBrain

from ctseg.files import _temporary


class KilledWriting:
    """Ends its process on one case, in the middle of a file of it and with another one whole."""

    def __init__(self, case_id: str, out: Path) -> None:
        self.case_id, self.out = case_id, out

    def __call__(self, volume):
        if volume.case_id == self.case_id:
            (self.out / f"{self.case_id}.png").touch()
            _temporary(self.out / f"{self.case_id}.nii.gz", [], [])
            os._exit(9)
        return NonAirIsBrain()(volume)


class NoRoom:
    """From one case on, the disk takes no file of its process any more."""

    def __init__(self, case_id: str) -> None:
        self.case_id = case_id

    def __call__(self, volume):
        if volume.case_id == self.case_id:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
        return NonAirIsBrain()(volume)
