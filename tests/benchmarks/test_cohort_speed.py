"""Cohorts: `preprocess` of CT from DICOM files to a slice set, and `phantom`, patient by patient."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from interleaved import Row, least_seconds
from test_reading_speed import head, write_series

from ctseg.io.discover import discover, read_case
from ctseg.phantom.cohort import make_cohort
from ctseg.phantom.settings import PhantomSettings
from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.pipeline import preprocess
from ctseg.preprocess.settings import PreprocessSettings

CORES = 2
GOAL_SLICES_A_SECOND, GOAL_PATIENTS_A_MINUTE = 60, 25
"""Of issue 16, on two cores."""


def preprocess_row(scans: int = 2, slices: int = 30, side: int = 512) -> Row:
    """All of it beside the brain extraction in it, in this process with one thread."""
    with TemporaryDirectory() as name:
        for number in range(scans):
            (Path(name) / "scans" / str(number)).mkdir(parents=True)
            write_series(Path(name) / "scans" / str(number), head(slices, side), 230 / side)
        extractor, settings, numbers = MuschelliExtractor(), PreprocessSettings(), count()
        volumes = [read_case(case) for case in discover(Path(name) / "scans", "ct").cases]

        def whole() -> int:
            out = Path(name) / f"set-{next(numbers)}"
            out.mkdir()
            return preprocess(discover(Path(name) / "scans", "ct"), out, settings, extractor=extractor).slices

        ways: dict[str, Callable[[], object]] = {
            "ctseg preprocess, set written": whole,
            "its brain extraction": lambda: [extractor(volume) for volume in volumes],
        }
        spent, found = least_seconds(ways)
    rate = CORES * scans * slices / spent["ctseg preprocess, set written"]
    assert found["ctseg preprocess, set written"]
    what = f"preprocess CT, {scans} scans of {slices} slices of {side} x {side}"
    return Row(what, spent, f"a part of it; {rate:.0f} slices a second on two cores, goal {GOAL_SLICES_A_SECOND}")


def phantom_row(matrix: int = 512, rounds: int = 2) -> Row:
    """A CT patient beside an MR patient, all files written."""

    def made(folder: Path, numbers: count[int], **sizes: int) -> object:
        out = folder / str(next(numbers))
        out.mkdir()
        none = {"mr_patients": 1, "ct_train_patients": 1, "ct_test_patients": 0, "ct_matrix": matrix}
        return make_cohort(out, PhantomSettings(**{**none, **sizes}), workers=0)

    with TemporaryDirectory() as name:
        numbers = count()
        ways = {
            "2 MR and 2 CT patients": lambda: made(Path(name), numbers, mr_patients=2, ct_train_patients=2),
            "1 MR and 1 CT patient": lambda: made(Path(name), numbers),
        }
        spent, _ = least_seconds(ways, rounds)
    more = spent["2 MR and 2 CT patients"] - spent["1 MR and 1 CT patient"]
    rate = 60 * CORES * 2 / more if more > 0 else float("nan")
    words = f"the files of a smaller one; {rate:.0f} patients a minute on two cores, goal {GOAL_PATIENTS_A_MINUTE}"
    return Row(f"phantom, CT of {matrix} x {matrix}", spent, words)


def rows() -> list[Row]:
    """All comparisons of this file."""
    return [preprocess_row(), phantom_row()]


@pytest.mark.slow
def test_small_cohorts_are_measured() -> None:
    assert preprocess_row(1, 12, 96).ratio > 0
    assert phantom_row(128, 1).ratio > 0
