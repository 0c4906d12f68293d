"""Enhanced objects that hold several scans: phases, energies and stacks, by what each frame says."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from enhanced_frames import NEEDED, shuffled
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import RLELossless, generate_uid

from ctseg.errors import CaseError
from ctseg.io.case import Case
from ctseg.io.dicom.reader import read_series
from ctseg.io.digest import input_digest
from ctseg.io.discover import discover, read_case
from ctseg.parallel import Failure, attempt

pytestmark = pytest.mark.slow

Write = Callable[..., list[Path]]
Place = tuple[float, ...]
Make = Callable[..., Path]
Say = Callable[[Dataset, int, int], None]
"""Changes the functional groups of a frame of the scan `number`, at the place `k`."""


def volume_of(head_ct: np.ndarray, number: int) -> np.ndarray:
    """The voxels of one of the scans: tissue takes up a contrast agent."""
    return np.where(head_ct > -500, head_ct + 12 * number, head_ct)


@pytest.fixture
def make(tmp_path: Path, write_series: Write, head_ct: np.ndarray, straight: list[Place]) -> Make:
    """`make(count, say)` writes some scans of the same places as one enhanced object, beside their single slices."""

    def write(
        count: int, say: Say, *, places: Callable[[int], list[Place]] = lambda number: straight,
        change: Callable[[Dataset], None] = shuffled, about: Callable[[Dataset], None] = lambda made: None,
    ) -> Path:  # fmt: skip
        slices: list[Dataset] = []
        for number in range(count):
            numbers = tuple(range(6 * number + 1, 6 * number + 7))
            files = write_series(
                volume_of(head_ct, number), places(number), f"single/{number}", InstanceNumber=numbers, **NEEDED
            )
            slices += [pydicom.dcmread(file) for file in files]
        slices.sort(key=lambda item: int(item.InstanceNumber))
        made = LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1)
        order = {item.SOPInstanceUID: place for place, item in enumerate(slices)}
        for group in made.PerFrameFunctionalGroupsSequence:  # highdicom sorts them by their places
            group.setdefault("FrameContentSequence", Sequence([Dataset()]))
            source = group.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID
            say(group, *divmod(order[source], 6))
        about(made)
        change(made)
        path = tmp_path / "object" / "a.dcm"
        path.parent.mkdir()
        made.save_as(path)
        return path

    return write


def content(**values: Callable[[int, int], Any]) -> Say:
    """Says values of the scan and the place in each frame's content."""

    def say(group: Dataset, number: int, k: int) -> None:
        for name, value in values.items():
            setattr(group.FrameContentSequence[0], name, value(number, k))

    return say


def energy(group: Dataset, number: int, k: int) -> None:
    item = Dataset()
    item.KVP = (80, 140, 120)[number % 3]
    group.CTXRayDetailsSequence = Sequence([item])


def phase_and_energy(group: Dataset, number: int, k: int) -> None:
    energy(group, number // 2, k)
    group.FrameContentSequence[0].TemporalPositionIndex = number % 2 + 1


def indexed(made: Dataset) -> None:
    """An index of two dimensions: which contrast agent, and which place."""
    items = []
    for name in ("ContrastBolusAgentNumber", "InStackPositionNumber"):
        item = Dataset()
        item.DimensionIndexPointer = Tag(name)
        items.append(item)
    made.DimensionIndexSequence = Sequence(items)


def nothing(group: Dataset, number: int, k: int) -> None:
    """Only the order of the frames tells the scans apart."""


def unchanged(made: Dataset) -> None:
    pass


def compressed(made: Dataset) -> None:
    shuffled(made)
    made.compress(RLELossless, generate_instance_uid=False)


FORMS: dict[str, tuple[int, Say, dict[str, Any], str]] = {
    "TemporalPositionIndex": (2, content(TemporalPositionIndex=lambda number, _: number + 1), {}, ""),
    "StackID": (3, content(StackID=lambda number, _: str(number + 1)), {}, ""),
    "AcquisitionNumber": (2, content(FrameAcquisitionNumber=lambda number, _: 7 - number), {}, ""),
    "AcquisitionTime": (2, content(FrameAcquisitionDateTime=lambda number, _: f"2020010210111{number}"), {}, ""),
    "KVP": (2, energy, {}, ""),
    "TemporalPositionIndex and KVP": (4, phase_and_energy, {}, ""),
    "ContrastBolusAgentNumber": (
        2, content(DimensionIndexValues=lambda number, k: [number + 1, k + 1]), {"about": indexed}, "",
    ),
    "the order of its frames": (2, nothing, {"change": unchanged}, ""),
    "packed": (2, content(TemporalPositionIndex=lambda number, _: number + 1), {"change": compressed},
               "TemporalPositionIndex"),
}  # fmt: skip


def numbers_of(path: Path, cases: tuple[Case, ...]) -> None:
    """Every frame belongs to one case, and its pixels are those that SimpleITK reads at its number."""
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert sorted(number for case in cases for number in case.frames) == list(range(1, len(frames) + 1))
    for case in cases:
        volume = read_case(case)
        named = [frame.InstanceNumber for frame in volume.frames]
        assert sorted(named) == list(case.frames)
        np.testing.assert_array_equal(volume.voxels, np.maximum(frames[np.array(named) - 1], -1024))


@pytest.mark.parametrize("form", FORMS)
def test_each_scan_is_a_case_with_the_voxels_of_its_single_slices(make: Make, tmp_path: Path, form: str) -> None:
    count, say, options, word = FORMS[form]
    path = make(count, say, **options)
    found = discover(path, "ct")
    assert found.rejected == ()
    cases = found.cases
    assert len(cases) == count == len({case.case_id for case in cases}) == len({input_digest(case) for case in cases})
    single = [read_series(sorted((tmp_path / "single" / str(number)).iterdir())) for number in range(count)]
    left = list(range(count))
    for case in cases:
        volume = read_case(case)
        (number,) = [number for number in left if np.array_equal(volume.voxels, single[number].voxels)]
        left.remove(number)
        np.testing.assert_allclose(volume.origins_mm, single[number].origins_mm)
        said = f"the object visits its positions {count} times; split by {word or form}"
        if form == "StackID":
            said = f"the object holds {count} stacks in one place; split by StackID"
        assert said in volume.notes
        assert {frame.NumberOfFrames for frame in volume.frames} == {6 * count}
    if form != "packed":  # SimpleITK 2.5 reads the first frame of RLE alone
        numbers_of(path, cases)


def test_the_cases_are_the_same_in_a_zip_and_beside_another_object(make: Make, tmp_path: Path) -> None:
    count, say, options, _ = FORMS["TemporalPositionIndex"]
    path = make(count, say, **options)
    alone = discover(path, "ct").cases
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "b/c.dcm")
    zipped = discover(tmp_path / "a.zip", "ct").cases
    assert [(case.case_id, case.frames, input_digest(case)) for case in zipped] == [
        (case.case_id, case.frames, input_digest(case)) for case in alone
    ]
    np.testing.assert_array_equal(read_case(zipped[1]).voxels, read_case(alone[1]).voxels)
    other = pydicom.dcmread(path)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    other.save_as(path.with_name("0.dcm"))
    both = discover(path.parent, "ct").cases
    named = {input_digest(case): case.case_id for case in both}
    assert len(named) == len(set(named.values())) == 4
    path.with_name("0.dcm").rename(path.with_name("z.dcm"))
    assert {input_digest(case): case.case_id for case in discover(path.parent, "ct").cases} == named


def test_stacks_between_each_other_are_two_scans_and_one_beyond_the_other_are_one(make: Make, tmp_path: Path) -> None:
    say = content(StackID=lambda number, _: str(number + 1))
    cases = discover(make(2, say, places=lambda number: [(-4.0, -6.0, 5.0 * k + 2.5 * number) for k in range(6)])).cases
    assert [len(case.frames) for case in cases] == [6, 6]
    assert [np.diff(read_case(case).z_mm).tolist() for case in cases] == [[5.0] * 5] * 2
    (tmp_path / "object" / "a.dcm").rename(tmp_path / "between.dcm")
    (tmp_path / "object").rmdir()
    path = make(2, say, places=lambda number: [(-4.0, -6.0, 5.0 * k + 30.0 * number) for k in range(6)])
    (case,) = discover(path).cases
    assert case.frames == ()
    assert "the object holds 2 stacks (StackID), one beyond the other; taken as one scan" in case.notes
    assert len(read_case(case).z_mm) == 12


def test_frames_that_nothing_tells_apart_are_refused_by_their_numbers(make: Make) -> None:
    path = make(2, nothing)
    (case,) = discover(path, "ct").cases
    places: dict[float, list[int]] = {}
    for number, group in enumerate(pydicom.dcmread(path).PerFrameFunctionalGroupsSequence, start=1):
        places.setdefault(float(group.PlanePositionSequence[0].ImagePositionPatient[2]), []).append(number)
    with pytest.raises(
        CaseError, match=r"its frames \d+ and \d+ lie at one place and differ, as at 5 more places"
    ) as err:
        read_case(case)
    first, second = (int(word) for word in str(err.value).split() if word.isdecimal() and int(word) != 5)
    assert [first, second] in places.values()


def test_of_frames_of_a_repeated_part_the_last_by_their_times_are_kept(make: Make) -> None:
    def say(group: Dataset, number: int, k: int) -> None:
        group.FrameContentSequence[0].FrameAcquisitionDateTime = f"202001021011{number}{k}"
        if number and k > 2:  # the second scan goes on where the first ends
            at = group.PlanePositionSequence[0].ImagePositionPatient
            group.PlanePositionSequence[0].ImagePositionPatient = [at[0], at[1], at[2] + 15.0]

    (case,) = discover(make(2, say), "ct").cases
    volume = read_case(case)
    assert len(volume.z_mm) == 9
    assert "3 differing slices at positions taken twice dropped; the last acquired are kept" in volume.notes
    medians = [float(np.median(plane[plane > -500])) for plane in volume.voxels]
    assert medians[0] > medians[3] + 6


def test_frames_of_a_scout_are_left_out_and_named(make: Make) -> None:
    def say(group: Dataset, number: int, k: int) -> None:
        kind = Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if number else "AXIAL", "NONE"]
        group.CTImageFrameTypeSequence = Sequence([kind])

    path = make(2, say, change=unchanged)
    found = discover(path, "ct")
    assert [case.frames for case in found.cases] == [(1, 2, 3, 4, 5, 6)]
    assert [str(item) for item in found.rejected] == [
        f"{path} (frame 7) and 5 more of its frames: localiser (scout view)"
    ]
    assert len(read_case(found.cases[0]).z_mm) == 6


@pytest.mark.parametrize("frames", [(1, 2, 3, 99), (13,)])
def test_frames_that_are_not_there_any_more_are_named(make: Make, frames: tuple[int, ...]) -> None:
    path = make(2, content(TemporalPositionIndex=lambda number, _: number + 1))
    with pytest.raises(CaseError, match=f"holds 12 frames, and no longer frame {max(frames)}; call again"):
        read_series([path], frames=frames)


def test_a_whole_object_of_several_scans_is_not_read_as_one(make: Make) -> None:
    path = make(2, content(TemporalPositionIndex=lambda number, _: number + 1))
    with pytest.raises(CaseError, match=r"its frames make 2 stacks \(phases, orientations\?\); name the frames of one"):
        read_series([path])


@pytest.mark.parametrize(("tag", "value"), list(product(
    ["DimensionIndexPointer", "DimensionIndexValues", "StackID", "TemporalPositionIndex"], [b"\xff\xff", b"\0\0"],
)))  # fmt: skip
def test_a_broken_dimension_is_no_end_of_a_discovery(make: Make, tag: str, value: bytes) -> None:
    path = make(2, FORMS["ContrastBolusAgentNumber"][1], about=indexed)
    whole = pydicom.dcmread(path)
    for place, group in enumerate(whole.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].StackID, group.FrameContentSequence[0].TemporalPositionIndex = "1", place + 1
    whole.save_as(path)
    data = path.read_bytes()
    element = Tag(tag)
    start = data.index(element.group.to_bytes(2, "little") + element.element.to_bytes(2, "little"))
    path.write_bytes(data[: start + 8] + value + data[start + 10 :])
    outcomes = [attempt(read_case, case) for case in discover(path, "ct").cases]
    assert outcomes
    assert all(not isinstance(outcome, Failure) or "\n" not in outcome.error for outcome in outcomes)
