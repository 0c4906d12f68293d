"""Each planted fault of a brain extractor is found by the check that is there for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ctseg.conformance import Outcome

Run = Callable[..., Outcome]


class Sound:
    """The largest piece of soft tissue."""

    def __call__(self, volume: Any) -> Any:
        tissue = (volume.voxels > 0) & (volume.voxels < 100)
        labels, count = ndimage.label(tissue)
        return labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else tissue


class GivesNumbers(Sound):
    def __call__(self, volume: Any) -> Any:
        return super().__call__(volume).astype(np.uint8)


class CropsTheGrid(Sound):
    def __call__(self, volume: Any) -> Any:
        return super().__call__(volume)[:, 2:-2, 2:-2]


class WritesIntoTheVolume(Sound):
    def __call__(self, volume: Any) -> Any:
        volume.voxels[volume.voxels < -200] = -200
        return super().__call__(volume)


class TakesTheWholeHead(Sound):
    def __call__(self, volume: Any) -> Any:
        return np.ones(volume.voxels.shape, dtype=bool)


class TakesTheSkullToo(Sound):
    def __call__(self, volume: Any) -> Any:
        return volume.voxels > -50


class FindsNothing(Sound):
    def __call__(self, volume: Any) -> Any:
        return np.zeros(volume.voxels.shape, dtype=bool)


class NeedsBrain(Sound):
    def __call__(self, volume: Any) -> Any:
        tissue = (volume.voxels > 0) & (volume.voxels < 100)
        labels, _ = ndimage.label(tissue)
        return labels == 1 + np.bincount(labels.ravel())[1:].argmax()


class RemembersTheLastScan(Sound):
    seen = 0

    def __call__(self, volume: Any) -> Any:
        self.seen += 1
        return ndimage.binary_dilation(super().__call__(volume), iterations=self.seen)


class HoldsALambda(Sound):
    def __init__(self) -> None:
        self.window = lambda hu: hu > 0


FAULTS = [
    (GivesNumbers, "mask_is_on_the_grid", "mask is uint8, expected bool"),
    (CropsTheGrid, "mask_is_on_the_grid", r"mask is \(12, 60, 60\) on a grid of \(12, 64, 64\)"),
    (WritesIntoTheVolume, "mask_is_on_the_grid", "read-only"),
    (TakesTheWholeHead, "finds_brain_and_no_air", "holds air"),
    (TakesTheSkullToo, "finds_brain_and_no_air", "of the mask is not brain"),
    (FindsNothing, "finds_brain_and_no_air", "only 0% of the brain"),
    (NeedsBrain, "takes_any_scan", "ValueError"),
    (RemembersTheLastScan, "is_repeatable", "another mask the second time"),
    (HoldsALambda, "goes_to_worker_processes", "pickle"),
]


@pytest.mark.parametrize(("factory", "check", "message"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_the_fault_is_found(find_fault: Run, factory: type, check: str, message: str) -> None:
    outcome = find_fault("brain_extractor", check, factory)
    assert outcome.status == "failed"
    assert re.search(message, outcome.detail), outcome.detail


@pytest.mark.parametrize("check", sorted({check for _, check, _ in FAULTS} - {"goes_to_worker_processes"}))
def test_a_sound_extractor_passes(find_fault: Run, check: str) -> None:
    assert find_fault("brain_extractor", check, Sound).status == "passed"


def test_one_that_can_be_pickled_passes(find_fault: Run) -> None:
    from ctseg.preprocess.brain import MuschelliExtractor

    assert find_fault("brain_extractor", "goes_to_worker_processes", MuschelliExtractor).status == "passed"
