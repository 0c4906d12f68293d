"""Slices of a head that lie in two series, have another matrix, or are there twice with other pixels are no secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from ctseg.errors import CaseError
from ctseg.io.dicom.continued import GOES_ON
from ctseg.io.dicom.two_energies import HALF
from ctseg.io.discover import discover, read_case

Write = Callable[..., list[Path]]


def two_series(write: Write, hu: np.ndarray, first: float, step: float, **tags: Any) -> list[int]:
    """How many scans of a study with a stack of 25 mm, and another that begins at `first`, are said to go on."""
    write(hu, [(0, 0, 5.0 * k) for k in range(6)], "one", FrameOfReferenceUID="1.2.3")
    other = {"FrameOfReferenceUID": "1.2.3", "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.2"} | tags
    folder = write(hu, [(0, 0, first + step * k) for k in range(6)], "two", **other)[0].parent.parent
    return [GOES_ON in case.notes for case in discover(folder).cases]


@pytest.mark.parametrize(("first", "step"), [(30.0, 5.0), (27.5, 2.5), (-32.0, 5.0), (35.0, 5.0)])
def test_a_head_in_two_series_is_said(write_series: Write, head_ct: np.ndarray, first: float, step: float) -> None:
    assert two_series(write_series, head_ct, first, step) == [True, True]


@pytest.mark.parametrize(
    ("first", "step", "tags"),
    [
        (20.0, 5.0, {}), (45.0, 5.0, {}), (30.0, 5.0, {"FrameOfReferenceUID": "1.2.4"}),
        (30.0, 5.0, {"StudyInstanceUID": "1.2.5"}), (30.0, 5.0, {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]}),
    ],
)  # fmt: skip
def test_other_series_do_not_go_on(
    write_series: Write, head_ct: np.ndarray, first: float, step: float, tags: dict[str, Any]
) -> None:
    assert two_series(write_series, head_ct, first, step, **tags) == [False, False]


def test_a_whole_head_beside_a_neck_is_not_in_parts(write_series: Write, head_ct: np.ndarray) -> None:
    assert sorted(two_series(write_series, head_ct, 30.0, 30.0)) == [False, True]


@pytest.mark.parametrize(
    ("tags", "shared", "said"),
    [
        ({}, {}, True), ({"KVP": 80}, {}, False), ({"AcquisitionTime": "101533.5"}, {}, False),
        ({"StudyInstanceUID": "1.2"}, {}, False), ({"FrameOfReferenceUID": "1.2.4"}, {}, False),
        ({"SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1"}, {}, True),
        ({}, {"AcquisitionTime": "000000.00"}, False), ({}, {"AcquisitionTime": ""}, False),
    ],
)  # fmt: skip
def test_halves_of_a_dual_energy_scan_are_said(
    write_series: Write, head_ct: np.ndarray, tags: dict[str, Any], shared: dict[str, Any], said: bool
) -> None:
    """The half at 140 kV looks like any scan by its own header."""
    places = [(0, 0, 5.0 * k) for k in range(6)]
    own = {"FrameOfReferenceUID": "1.2.3", "AcquisitionTime": "101532.5"}
    one = own | {"KVP": 80, "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1"} | shared
    other = own | {"KVP": 140, "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.2"} | shared | tags
    write_series(head_ct, places, "one", **one)
    folder = write_series(head_ct, places, "two", **other)[0].parent.parent
    cases = discover(folder).cases
    assert len(cases) == 2
    assert [HALF in case.notes for case in cases] == [said, said]


def test_a_slice_of_another_matrix_is_said(write_series: Write, head_ct: np.ndarray) -> None:
    places = [(0, 0, 5.0 * k) for k in range(6)]
    folder = write_series(head_ct, places)[0].parent
    write_series(head_ct[:1, ::2, ::2], [(0, 0, 30.0)], "ct/more", PixelSpacing=[1.0, 0.8])
    (case,) = discover(folder).cases
    assert case.notes == ("left out of its series, as of another matrix or spacing: 1 slice parallel to the others",)


def test_one_slice_with_two_contents_is_refused(write_series: Write, head_ct: np.ndarray) -> None:
    """Its later version cannot be known; the first by its file's name had been kept as the last acquired."""
    files = write_series(head_ct, [(0, 0, 5.0 * k) for k in range(6)])
    changed = pydicom.dcmread(files[2])
    changed.PixelData = np.frombuffer(changed.PixelData, "<i2")[::-1].tobytes()
    (files[0].parent / "copy").mkdir()
    changed.save_as(files[0].parent / "copy/one.dcm")
    (case,) = discover(files[0].parent).cases
    with pytest.raises(CaseError, match="copy/one.dcm does, and differs, and nothing in their headers tells which is"):
        read_case(case)
