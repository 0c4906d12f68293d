"""Slices of one series that are not of one scan or person, and what headers say of sides, body and pixels besides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ctseg.errors import CaseError
from ctseg.io.dicom.reader import read_series
from ctseg.io.discover import discover

Write = Callable[..., list[Path]]
Places = list[tuple[float, ...]]


@pytest.mark.parametrize("values", [("a",) * 3 + ("b",) * 3, ("a", "b") * 3, ("a",) * 5 + ("b",)])
@pytest.mark.parametrize("tag", ["PatientName", "PatientBirthDate", "PatientSex"])
def test_slices_of_several_people_are_refused(
    write_series: Write, head_ct: np.ndarray, straight: Places, tag: str, values: tuple[str, ...]
) -> None:
    words = {"a": "19500101", "b": "19700101"} if tag == "PatientBirthDate" else {"a": "M", "b": "F"}
    files = write_series(head_ct, straight, **{tag: tuple(words[value] for value in values)})
    with pytest.raises(CaseError, match=f"are of 2 people by their {tag}; export") as caught:
        read_series(files)
    assert not any(word in str(caught.value).split(": ", 1)[1] for word in ("19500101", "19700101"))


def test_one_person_spelt_in_several_ways_is_one(write_series: Write, head_ct: np.ndarray, straight: Places) -> None:
    names = ("Doe^Jane", "DOE^JANE", "Doe^Jane^^^", "Doe Jane", "", "doe, jane")
    assert read_series(write_series(head_ct, straight, PatientName=names)).notes == ()


@pytest.mark.parametrize(("tag", "values"), [
    ("StudyDate", ("20200101", "20200102")), ("SeriesNumber", (1, 2)), ("PatientPosition", ("HFS", "FFS")),
    ("ConvolutionKernel", ("H31s", "H60f")), ("KVP", (120, 100)), ("GantryDetectorTilt", (0, 0.5)),
    ("ImageType", (["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY"])), ("ReconstructionDiameter", (12, 12.5)),
    ("Manufacturer", ("X", "Y")), ("TemporalPositionIdentifier", (1, 2)), ("AcquisitionDate", ("20200101", "20210101")),
])  # fmt: skip
@pytest.mark.parametrize("block", [False, True])
def test_slices_that_may_be_of_several_scans_are_said(
    write_series: Write, head_ct: np.ndarray, straight: Places, tag: str, values: tuple[Any, ...], block: bool
) -> None:
    each = tuple(values[k // 3 if block else k % 2] for k in range(6))
    (note,) = read_series(write_series(head_ct, straight, **{tag: each})).notes
    assert note == f"the slices differ in {tag}: are they of one scan?"


def mapping(slope: float) -> Sequence:
    item = Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, 0.0
    return Sequence([item])


@pytest.mark.parametrize(("tags", "word"), [
    ({"PatientOrientation": ["R", "P"]}, "PatientOrientation says other sides"),
    ({"PatientOrientation": ["L", "A"]}, "PatientOrientation says other sides"),
    ({"PatientOrientation": ["P", "F"]}, "PatientOrientation says other sides"),
    ({"PatientOrientation": ["L", "P"]}, ""),
    ({"PatientOrientation": ["LP", "PH"]}, ""),
    ({"PatientOrientation": ""}, ""),
    ({"PatientOrientation": ["x", "y"]}, ""),
    ({"AnatomicalOrientationType": "QUADRUPED"}, "four-legged"),
    ({"AnatomicalOrientationType": "BIPED"}, ""),
    ({"BurnedInAnnotation": "YES"}, "text is burned into the pixels"),
    ({"BurnedInAnnotation": "NO"}, ""),
    ({"BodyPartExamined": "CHEST"}, "other than the head"),
    ({"BodyPartExamined": "L-SPINE"}, "other than the head"),
    ({"BodyPartExamined": "HEAD"}, ""),
    ({"BodyPartExamined": "Jane Doe"}, ""),
    ({"ImagesInAcquisition": 12}, "says 12 slices, 6 are here"),
    ({"NumberOfSeriesRelatedInstances": 8}, "says 8 slices, 6 are here"),
    ({"ImagesInAcquisition": 6}, ""),
    ({"ImagesInAcquisition": 12, "AcquisitionNumber": (1, 1, 1, 2, 2, 2)}, ""),
    ({"SOPInstanceUID": "1.2.3"}, "6 slices share a SOPInstanceUID"),
    ({"RealWorldValueMappingSequence": mapping(2.0)}, "RealWorldValueMappingSequence says other values"),
    ({"RealWorldValueMappingSequence": mapping(1.0)}, ""),
])  # fmt: skip
def test_what_the_header_says_besides_is_said_where_it_does_not_fit(
    write_series: Write, head_ct: np.ndarray, straight: Places, tags: dict[str, Any], word: str
) -> None:
    notes = read_series(write_series(head_ct, straight, **tags)).notes
    assert len(notes) == bool(word)
    assert all(word in note for note in notes)


@pytest.mark.parametrize("tag", [
    "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "BitsStored", "HighBit", "PixelRepresentation",
])  # fmt: skip
def test_a_value_that_is_several_or_none_is_not_taken_for_a_missing_one(
    write_series: Write, head_ct: np.ndarray, straight: Places, tag: str
) -> None:
    with pytest.raises(CaseError, match=f"its {tag} is not one number"):
        read_series(_with_two(write_series, head_ct, straight, tag))


def _with_two(write_series: Write, head_ct: np.ndarray, straight: Places, tag: str) -> list[Path]:
    """A series whose first slice has the tag's value twice."""
    import pydicom

    files = write_series(head_ct, straight)
    whole = pydicom.dcmread(files[0])
    value = whole.get(tag, 1)
    whole.add_new(tag, whole[tag].VR if tag in whole else "SS", [value, value])
    whole.save_as(files[0], enforce_file_format=True)
    return files


@pytest.mark.parametrize("signed", [0, 1])
def test_pixels_with_swapped_bytes_are_refused(
    write_series: Write, head_ct: np.ndarray, straight: Places, signed: int
) -> None:
    offset = 0 if signed else 1024
    swapped = (head_ct + offset).astype(np.int16).byteswap().view(np.int16 if signed else np.uint16)
    files = write_series(
        swapped, straight, BitsStored=12, HighBit=11, PixelRepresentation=signed, RescaleIntercept=-offset
    )
    with pytest.raises(CaseError, match="two bytes of its pixels are swapped"):
        read_series(files)


def test_floating_point_pixels_name_the_way_out(write_series: Write, head_ct: np.ndarray, straight: Places) -> None:
    import pydicom

    files = write_series(head_ct, straight)
    for file in files:
        whole = pydicom.dcmread(file)
        whole.FloatPixelData = whole.pixel_array.astype("<f4").tobytes()
        del whole.PixelData
        whole.save_as(file, enforce_file_format=True)
    with pytest.raises(CaseError, match="floating point, which is not read; convert it"):
        read_series(files)


def test_slices_without_a_frame_of_reference_belong_to_the_others(
    write_series: Write, head_ct: np.ndarray, straight: Places
) -> None:
    folder = write_series(head_ct, straight, FrameOfReferenceUID=("1.2.3", "") * 3)[0].parent
    (case,) = discover(folder, "ct").cases
    assert (len(case.files), case.notes) == (6, ())


def test_a_series_of_two_frames_of_reference_says_that_it_was_split(
    write_series: Write, head_ct: np.ndarray, straight: Places
) -> None:
    folder = write_series(head_ct, straight, FrameOfReferenceUID=("1.2.3",) * 3 + ("1.2.4",) * 3)[0].parent
    found = discover(folder, "ct").cases
    assert [case.notes for case in found] == [("the series holds 2 frames of reference; split by them",)] * 2


@pytest.mark.parametrize("modality", ["", "OT", None])
def test_a_ct_image_whose_modality_is_lost_is_listed_as_a_scan(
    write_series: Write, head_ct: np.ndarray, straight: Places, modality: str | None
) -> None:
    folder = write_series(head_ct, straight, SeriesInstanceUID="1.2.9")[0].parent
    write_series(head_ct, straight, "ct/lost", Modality=modality)
    (left,) = discover(folder, "ct").rejected
    assert left.broken
    assert "its SOPClassUID says so" in left.reason


@pytest.mark.parametrize("block", [False, True])
def test_a_field_of_view_that_was_moved_is_said(
    write_series: Write, head_ct: np.ndarray, straight: Places, block: bool
) -> None:
    moved = [(x + 20.0 * (k // 3 if block else k % 2), y, z) for k, (x, y, z) in enumerate(straight)]
    volume = read_series(write_series(head_ct, moved))
    assert any("mm beside a straight line" in note for note in volume.notes)
    assert not any("uneven" in note for note in volume.notes)
