"""DICOM objects of an enhanced CT: they name the object and its frames, and mean the voxels that the mask means."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, generate_uid
from segment_helpers import NAME, NUMBER, UNEVEN_Z, Head, NonAirIsBrain, Stack, blind, bright_models, write_dicom
from skimage.draw import polygon2mask
from test_dicom_objects import faults
from test_other_readers import assert_exact, program, read

from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.inference.outputs import write_case
from ctseg.inference.predict import Prediction, predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask

pytestmark = pytest.mark.slow
STACKS = {
    "even": Stack(np.arange(-30.0, 31.0, 5.0), 0.0), "tilted, uneven": Stack(UNEVEN_Z),
    "the second of two phases": Stack(UNEVEN_Z),
}  # fmt: skip
ALGORITHM = SegAlgorithm("bright")
SETTINGS = SegmentSettings(rtstruct=True, sr=True, preview=False)

Case = tuple[pydicom.Dataset, Prediction, Callable[[bool], Path]]


def enhanced(series: Path, phases: int = 1) -> pydicom.Dataset:
    """A series as one object whose frames are in no order, its slices taken once in each phase."""
    slices = []
    for phase in range(phases):
        for item in sorted(map(pydicom.dcmread, series.iterdir()), key=lambda item: int(item.InstanceNumber)):
            item.Manufacturer, item.PositionReferenceIndicator, item.SeriesDate = "x", "", "20200102"
            if phases > 1:
                item.AcquisitionNumber = phase + 1
                item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            slices.append(item)
    whole = LegacyConvertedEnhancedCTImage(slices, generate_uid(), 1, generate_uid(), 1)
    groups, size, pixels = list(whole.PerFrameFunctionalGroupsSequence), whole.Rows * whole.Columns * 2, whole.PixelData
    order = np.random.default_rng(0).permutation(len(groups))
    whole.PerFrameFunctionalGroupsSequence = Sequence([groups[place] for place in order])
    whole.PixelData = b"".join(pixels[place * size : (place + 1) * size] for place in order)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    return whole


@pytest.fixture(scope="module", params=list(STACKS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """An enhanced object, what was found in it, and the folder of what was written, with or without identity."""
    root = tmp_path_factory.mktemp("enhanced")
    phases = 2 if "phases" in request.param else 1
    whole = enhanced(write_dicom(root / "series", STACKS[request.param], Head()), phases)
    (root / "object").mkdir()
    whole.save_as(root / "object" / "a.dcm", enforce_file_format=True)
    scan = read_case(discover(root / "object").cases[-1])
    assert len(frames_of(scan.frames)) * phases == whole.NumberOfFrames
    found = predict_volume(scan, bright_models(), SegmentSettings(), NonAirIsBrain())

    @cache
    def written(deidentify: bool) -> Path:
        folder = root / f"out {deidentify}"
        folder.mkdir()
        settings = SETTINGS.model_copy(update={"deidentify": deidentify})
        assert write_case(folder, "case", found, settings, ALGORITHM) == []
        return folder

    return whole, found, written


def frames_of(headers: Iterable[pydicom.Dataset]) -> list[int]:
    """The numbers of the frames that some headers are of, in order."""
    return sorted(int(header.InstanceNumber) for header in headers)


def named(path: Path) -> set[int]:
    """The numbers of all frames that an object names, wherever it does."""
    values = [item.value for item in pydicom.dcmread(path).iterall() if item.keyword == "ReferencedFrameNumber"]
    return {int(number) for value in values for number in ([value] if isinstance(value, int) else value)}


def origin_of(whole: pydicom.Dataset, item: pydicom.Dataset) -> np.ndarray:
    """Where the frame lies that a reference names."""
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (whole.SOPClassUID, whole.SOPInstanceUID)
    group = whole.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
    return np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)


@pytest.mark.parametrize("deidentify", [False, True])
def test_a_segmentation_names_the_frames_and_holds_the_mask(case: Case, deidentify: bool) -> None:
    whole, found, written = case
    seg = highdicom.seg.segread(written(deidentify) / "case.dcm")
    mask = np.zeros_like(found.mask)
    for group, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(
            origin_of(whole, group.DerivationImageSequence[0].SourceImageSequence[0]), place, atol=1e-4
        )
        mask[int(np.abs(found.volume.origins_mm - place).sum(axis=1).argmin())] |= plane.astype(bool)
    np.testing.assert_array_equal(mask, found.mask)
    np.testing.assert_array_equal(load_mask(written(deidentify) / "case.nii.gz")[0], found.mask)
    assert [uids[1:] for uids in seg.get_source_image_uids()] == [(whole.SeriesInstanceUID, whole.SOPInstanceUID)]
    frames = frames_of(found.volume.frames)
    by_frame = seg.get_pixels_by_source_frame(
        whole.SOPInstanceUID, frames, combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert by_frame.sum() == found.mask.sum()


def test_outlines_name_their_frames_and_enclose_the_mask(case: Case) -> None:
    whole, found, written = case
    scan, mask = found.volume, np.zeros_like(found.mask)
    steps = np.stack([scan.row_step_mm, scan.col_step_mm])
    structure_set = pydicom.dcmread(written(False) / "case_rtstruct.dcm")
    for contour in structure_set.ROIContourSequence[0].ContourSequence:
        origin = origin_of(whole, contour.ContourImageSequence[0])
        points = np.array(contour.ContourData, float).reshape(-1, 3) - origin
        np.testing.assert_allclose(points @ scan.normal, 0, atol=1e-3)
        k = int(np.abs(scan.origins_mm - origin).sum(axis=1).argmin())
        mask[k] ^= polygon2mask(mask.shape[1:], points @ (steps / (steps**2).sum(axis=1, keepdims=True)).T)
    np.testing.assert_array_equal(mask, found.mask)


def test_a_report_without_a_segmentation_names_the_frames(case: Case, tmp_path: Path) -> None:
    whole, found, _ = case
    empty = predict_volume(found.volume, blind(), SegmentSettings(), NonAirIsBrain())
    write_case(tmp_path, "case", empty, SETTINGS, ALGORITHM)
    report = pydicom.dcmread(tmp_path / "case_sr.dcm")
    (series,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [whole.SOPInstanceUID]
    numbers = [int(item.value) for item in report.iterall() if item.keyword == "ReferencedFrameNumber"]
    assert sorted(numbers) == frames_of(found.volume.frames)


@pytest.mark.parametrize("deidentify", [False, True])
def test_no_object_names_a_frame_of_another_phase(case: Case, deidentify: bool) -> None:
    whole, found, written = case
    frames = frames_of(found.volume.frames)
    assert named(written(deidentify) / "case.dcm") <= set(frames)
    assert named(written(deidentify) / "case_rtstruct.dcm") == set(frames)
    (image,) = pydicom.dcmread(written(deidentify) / "case.dcm").SourceImageSequence
    all_numbers = None if len(frames) == whole.NumberOfFrames else frames
    assert image.get("ReferencedFrameNumber") == all_numbers
    if all_numbers:
        groups = [whole.PerFrameFunctionalGroupsSequence[number - 1] for number in frames]
        assert len({group.FrameContentSequence[0].FrameAcquisitionNumber for group in groups}) == 1


def test_the_objects_of_two_phases_with_one_mask_are_two(tmp_path: Path) -> None:
    whole = enhanced(write_dicom(tmp_path / "series", STACKS["even"], Head()), 2)
    (tmp_path / "object").mkdir()
    whole.save_as(tmp_path / "object" / "a.dcm", enforce_file_format=True)
    uids: list[str] = []
    for number, scan in enumerate(discover(tmp_path / "object").cases):
        found = predict_volume(read_case(scan), bright_models(), SegmentSettings(), NonAirIsBrain())
        (tmp_path / str(number)).mkdir()
        write_case(tmp_path / str(number), "case", found, SETTINGS, ALGORITHM)
        uids += [pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / str(number)).glob("*.dcm")]
    assert len(uids) == len(set(uids)) == 6


@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("name", ["case_rtstruct.dcm", "case_sr.dcm"])
def test_dciodvfy_finds_no_fault(case: Case, name: str, deidentify: bool) -> None:
    assert faults(case[2](deidentify) / name) == []


def test_dciodvfy_finds_no_error_in_the_segmentations(case: Case) -> None:
    for path in case[2](False).glob("case*.dcm"):
        done = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
        assert [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")] == []


def test_identity_goes_with_deidentify(case: Case) -> None:
    for path in case[2](True).glob("*.dcm"):
        assert [text for text in (NAME, NUMBER) if text.encode() in path.read_bytes()] == []


def test_dcmqi_reads_the_segmentation(case: Case, tmp_path: Path) -> None:
    _, found, written = case
    if (written(False) / "case_resampled.dcm").exists():
        pytest.skip("dcmqi holds no tilt; tests/inference/test_other_readers.py reads the resampled object")
    seg = str(written(False) / "case.dcm")
    command = [program("segimage2itkimage"), "--inputDICOM", seg, "--outputDirectory", str(tmp_path), "-t", "nrrd"]
    subprocess.run([*command, "--prefix", "mask"], check=True, capture_output=True)
    assert_exact(found, *read(tmp_path / "mask-1.nrrd"))
