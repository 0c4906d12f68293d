"""Enhanced multi-frame CT: frames in any order, with their own slope and place, and what makes them no volume."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from enhanced_frames import NEEDED, shuffled
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless, RLELossless, generate_uid

from ctseg.errors import CaseError
from ctseg.io.dicom.reader import read_series
from ctseg.io.discover import discover, read_case
from ctseg.io.source import Source
from ctseg.io.volume import Volume

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
Write = Callable[..., list[Path]]
Places = list[tuple[float, ...]]
Pair = Callable[..., tuple[Path, Volume]]
Change = Callable[[Dataset], None]


@pytest.fixture
def pair(tmp_path: Path, write_series: Write, head_ct: np.ndarray, straight: Places) -> Pair:
    """`pair(change, positions)` writes a series as one enhanced object, and reads its single slices."""

    def write(change: Change = lambda made: None, places: Places = straight) -> tuple[Path, Volume]:
        slopes = (1, 2) * 3
        files = write_series(head_ct // 2 * 2, places, "single", InstanceNumber=tuple(range(1, 7)), **NEEDED)
        single = read_series(files, case_id="scan")
        slices = sorted((pydicom.dcmread(file) for file in files), key=lambda item: int(item.InstanceNumber))
        for dataset, slope in zip(slices, slopes, strict=True):
            dataset.RescaleSlope = slope
            dataset.PixelData = (np.frombuffer(dataset.PixelData, "<i2") // slope).astype("<i2").tobytes()
        made = LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1)
        change(made)
        (tmp_path / "object").mkdir()
        made.save_as(tmp_path / "object" / "a.dcm")
        return tmp_path / "object" / "a.dcm", single

    return write


def with_class(made: Dataset) -> None:
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = ENHANCED_CT


def shared_orientation(made: Dataset) -> None:
    for group in made.PerFrameFunctionalGroupsSequence:
        if "PlaneOrientationSequence" in group:
            made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence = group.PlaneOrientationSequence
            del group.PlaneOrientationSequence


def rle(made: Dataset) -> None:
    made.compress(RLELossless, generate_instance_uid=False)


def jpeg_ls(made: Dataset) -> None:
    made.compress(JPEGLSLossless, generate_instance_uid=False)


def tilted(count: int = 6) -> Places:
    return [(-4.0, -6.0 - 1.5 * k, 5.0 * k) for k in range(count)]


def same(volume: Volume, single: Volume) -> None:
    np.testing.assert_array_equal(volume.voxels, single.voxels)
    np.testing.assert_allclose(volume.origins_mm, single.origins_mm)
    np.testing.assert_allclose(volume.row_step_mm, single.row_step_mm)
    np.testing.assert_allclose(volume.slab_mm, single.slab_mm)


@pytest.mark.parametrize("change", [shuffled, with_class, shared_orientation, rle, jpeg_ls])
def test_it_is_read_as_its_single_slices_are(pair: Pair, change: Change) -> None:
    path, single = pair(change)
    (case,) = discover(path.parent, "ct").cases
    volume = read_case(case)
    same(volume, single)
    whole = pydicom.dcmread(path)
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in whole.PerFrameFunctionalGroupsSequence]
    assert {frame.SOPInstanceUID for frame in volume.frames} == {whole.SOPInstanceUID}
    for frame, origin in zip(volume.frames, volume.origins_mm, strict=True):
        np.testing.assert_allclose(np.array(places[frame.InstanceNumber - 1], float), origin)
    assert volume.slice_ids[0] == f"{case.case_id}_000"
    assert any("frames of one enhanced object" in note for note in volume.notes)
    assert not any("SOPInstanceUID" in note for note in volume.notes)


@pytest.mark.parametrize("places", [tilted(), [(-4.0, -6.0, z) for z in (0.0, 5.0, 10.0, 20.0, 25.0, 30.0)]])
def test_tilt_and_missing_slices_stay_as_they_are(pair: Pair, places: Places) -> None:
    path, single = pair(shuffled, places)
    volume = read_case(discover(path, "ct").cases[0])
    same(volume, single)
    assert any("tilted" in note or "missing" in note for note in volume.notes)


def test_it_is_read_from_a_zip(pair: Pair, tmp_path: Path) -> None:
    path, single = pair()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "folder/a.dcm")
    same(read_case(discover(tmp_path / "a.zip", "ct").cases[0]), single)


def lost_place(made: Dataset) -> None:
    del made.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


def lost_group(made: Dataset) -> None:
    made.PerFrameFunctionalGroupsSequence = Sequence(made.PerFrameFunctionalGroupsSequence[:-1])


def cut(made: Dataset) -> None:
    made.PixelData = made.PixelData[:-200]


def fewer(made: Dataset) -> None:
    made.NumberOfFrames = 5


def two_stacks(made: Dataset) -> None:
    for group in list(made.PerFrameFunctionalGroupsSequence)[3:]:
        group.PlaneOrientationSequence = Sequence([Dataset()])
        group.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def own_orientation(made: Dataset) -> None:
    two_stacks(made)
    shared = made.SharedFunctionalGroupsSequence[0]
    if "PlaneOrientationSequence" in shared:
        for group in list(made.PerFrameFunctionalGroupsSequence)[:3]:
            group.PlaneOrientationSequence = shared.PlaneOrientationSequence


def no_groups(made: Dataset) -> None:
    made.pop("PerFrameFunctionalGroupsSequence")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lost_place, "no usable ImagePositionPatient"),
        (lost_group, "says 6 frames and describes 5"),
        (cut, "bytes of pixels where 6 frames need"),
        (fewer, "says 5 frames and describes 6"),
        (no_groups, "says 6 frames and describes 0; export the series as single slices"),
    ],
)
def test_frames_that_make_no_volume_are_refused(pair: Pair, change: Change, words: str) -> None:
    path, _ = pair(change)
    with pytest.raises(CaseError, match=words):
        read_case(discover(path, "ct").cases[0])


def test_frames_of_two_orientations_are_two_scans(pair: Pair) -> None:
    path, single = pair(own_orientation)
    first, second = discover(path, "ct").cases
    assert (first.frames, second.frames) == ((1, 2, 3), (4, 5, 6))
    volume = read_case(first)
    at = [int(np.abs(single.origins_mm - origin).sum(axis=1).argmin()) for origin in volume.origins_mm]
    np.testing.assert_array_equal(volume.voxels, single.voxels[at])
    assert "one of 2 parts of its series" in " ".join(second.notes)
    with pytest.raises(CaseError, match="all 3 slices of its series lie at one position"):
        read_case(second)


def test_a_broken_element_is_one_line_that_quotes_nothing(pair: Pair) -> None:
    path, _ = pair()
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x32\x00DS")  # ImagePositionPatient of the first frame
    path.write_bytes(data[: at + 4] + b"HS" + data[at + 6 :])
    with pytest.raises(CaseError, match=r"broken DICOM header \(.*\); copy the file again") as caught:
        read_case(discover(path, "ct").cases[0])
    assert "-6.0" not in str(caught.value)


def test_an_object_beside_single_slices_is_a_case_of_its_own(pair: Pair) -> None:
    path, single = pair()
    cases = discover(path.parent.parent, "ct").cases
    assert sorted(len(case.files) for case in cases) == [1, 6]
    for case in cases:
        same(read_case(case), single)


@pytest.mark.parametrize("packed", [False, True])
def test_an_object_is_opened_once_while_scans_are_looked_for(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """It had been opened a second time for its frames."""
    file, _ = pair(with_class)
    if packed:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(file, "a.dcm")
        file = tmp_path / "a.zip"
    opened, own = [], Source.open
    monkeypatch.setattr(Source, "open", lambda source: opened.append(source.name) or own(source))
    assert [case.kind for case in discover(file).cases] == ["dicom"]
    assert len(opened) == 1
