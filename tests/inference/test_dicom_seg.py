"""DICOM SEG: read back with pydicom, checked by dciodvfy where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from segment_helpers import NAME, NUMBER, UNEVEN_Z, Head, Stack, write_dicom

from ctseg.inference.dicom_seg import SegAlgorithm, source_order, write_dicom_seg, write_resampled_seg
from ctseg.inference.outputs import write_case
from ctseg.inference.predict import predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.version import __version__

pytestmark = pytest.mark.slow

ALGORITHM = SegAlgorithm("bright", parameters={"threshold": "0.5"})
IDENTITY = (NAME, NUMBER, "19610203", "20200102", "ACC99", "Gregory")


@pytest.fixture(scope="module")
def scan(dicom_folder):
    return read_case(discover(dicom_folder).cases[0])


@pytest.fixture(scope="module")
def blood(tilted):
    return Head().inside_blood(tilted.points())


@pytest.fixture(scope="module")
def seg_path(scan, blood, tmp_path_factory):
    path = tmp_path_factory.mktemp("seg") / "case.dcm"
    write_dicom_seg(path, scan, blood, ALGORITHM)
    return path


def frames_of(seg):
    """(referenced SOPInstanceUID, ImagePositionPatient, pixels) of each frame."""
    pixels = np.asarray(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    for item, plane in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        yield source.ReferencedSOPInstanceUID, item.PlanePositionSequence[0].ImagePositionPatient, plane


def test_every_frame_references_its_slice_on_a_tilted_uneven_series(seg_path, dicom_folder, scan, tilted, blood):
    """Against the source files: the plane that references a file is the truth at that file's own position."""
    sources = {
        header.SOPInstanceUID: header
        for header in (pydicom.dcmread(path, stop_before_pixels=True) for path in dicom_folder.iterdir())
    }
    frames = list(frames_of(pydicom.dcmread(seg_path)))
    assert len(frames) == np.count_nonzero(blood.any(axis=(1, 2)))
    for uid, position, plane in frames:
        assert [float(x) for x in position] == [float(x) for x in sources[uid].ImagePositionPatient]
        k = int(np.abs(tilted.origins[:, 2] - float(position[2])).argmin())
        np.testing.assert_array_equal(plane, blood[k])


def test_it_is_coded_as_haemorrhage_by_a_named_algorithm(seg_path, scan):
    seg = pydicom.dcmread(seg_path)
    segment = seg.SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "50960005"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ctseg bright", __version__)
    assert seg.StudyInstanceUID == scan.frames[0].StudyInstanceUID
    assert seg.SeriesInstanceUID != scan.frames[0].SeriesInstanceUID


def test_it_carries_its_sources_identity_unless_told_otherwise(seg_path, scan, blood, tmp_path):
    seg = pydicom.dcmread(seg_path)
    assert (str(seg.PatientName), seg.PatientID, seg.PatientBirthDate) == (NAME, NUMBER, "19610203")
    write_dicom_seg(tmp_path / "anonymous.dcm", scan, blood, ALGORITHM, deidentify=True)
    content = (tmp_path / "anonymous.dcm").read_bytes()
    for identity in IDENTITY:
        assert identity.encode() in seg_path.read_bytes() or identity == "20200102"
        assert identity.encode() not in content
    anonymous = pydicom.dcmread(tmp_path / "anonymous.dcm")
    assert anonymous.PatientID == scan.patient_id
    assert anonymous.PatientIdentityRemoved == "YES"
    assert [uid for uid, _, _ in frames_of(anonymous)] == [uid for uid, _, _ in frames_of(seg)]


@pytest.mark.parametrize("deidentify", [False, True])
def test_dciodvfy_finds_no_error(scan, blood, tmp_path, deidentify):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    write_dicom_seg(tmp_path / "case.dcm", scan, blood, ALGORITHM, deidentify=deidentify)
    assert errors_of(tmp_path / "case.dcm") == []


def test_dciodvfy_finds_no_error_on_a_real_tilted_scan(real_data, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    scan = read_case(discover(real_data / "ct-ge-tilted").cases[0])
    mask = np.zeros(scan.voxels.shape, bool)
    mask[3:9, 200:240, 210:260] = True
    write_dicom_seg(tmp_path / "case.dcm", scan, mask, ALGORITHM)
    assert errors_of(tmp_path / "case.dcm") == []
    seg = pydicom.dcmread(tmp_path / "case.dcm")
    assert {uid for uid, _, _ in frames_of(seg)} == set(scan.slice_ids[3:9])


def errors_of(path):
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert "Segmentation" in done.stderr + done.stdout
    return [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]


def test_resampled_seg_lies_where_the_blood_is(scan, blood, tmp_path):
    """Read as ITK does: from positions and orientation alone, on one even, right-angled grid."""
    write_resampled_seg(tmp_path / "case.dcm", scan, blood, ALGORITHM)
    seg = pydicom.dcmread(tmp_path / "case.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    across, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    measures = shared.PixelMeasuresSequence[0]
    row_mm, col_mm = (float(x) for x in measures.PixelSpacing)
    positions, planes = [], np.asarray(seg.pixel_array)
    for item, plane in zip(seg.PerFrameFunctionalGroupsSequence, planes, strict=True):
        rows, cols = np.nonzero(plane)
        origin = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        positions.append(origin + rows[:, None] * row_mm * down + cols[:, None] * col_mm * across)
    found = np.concatenate(positions)
    ml = len(found) * row_mm * col_mm * float(measures.SpacingBetweenSlices) / 1000
    assert ml == pytest.approx(Head().blood_ml, rel=0.02)
    np.testing.assert_allclose(found.mean(axis=0), Head().blood_centre, atol=0.4)
    if shutil.which("dciodvfy") is not None:
        assert errors_of(tmp_path / "case.dcm") == []


def test_headers_as_poor_as_rsnas_are_enough(tmp_path):
    """RSNA 2019 has neither SOPClassUID, FrameOfReferenceUID nor the patient and study attributes of type 2."""
    stack = Stack(UNEVEN_Z, 0.0)
    scan = read_case(discover(write_dicom(tmp_path / "series", stack, Head())).cases[0])
    for frame in scan.frames:
        for name in (
            "SOPClassUID", "FrameOfReferenceUID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate",
            "StudyTime", "AccessionNumber", "ReferringPhysicianName", "SliceThickness",
        ):  # fmt: skip
            delattr(frame, name)
    truth = Head().inside_blood(stack.points())
    write_dicom_seg(tmp_path / "case.dcm", scan, truth, ALGORITHM)
    assert "FrameOfReferenceUID" not in scan.frames[0], "the scan's own headers must stay as they are"
    seg = pydicom.dcmread(tmp_path / "case.dcm")
    assert len(list(frames_of(seg))) == np.count_nonzero(truth.any(axis=(1, 2)))
    if shutil.which("dciodvfy") is not None:
        assert errors_of(tmp_path / "case.dcm") == []


def test_mirrored_scanner_rows_are_undone(dicom_folder, scan, blood):
    """A scan whose canonical axes are flips of the file's own: planes must be as the source frames have them."""
    grid = scan.native
    planes, frames = source_order(scan, blood)
    mirrored = replace(scan, native=replace(grid, flips=(not grid.flips[0], grid.flips[1], not grid.flips[2])))
    flipped, same = source_order(mirrored, blood)
    np.testing.assert_array_equal(flipped, planes[:, :, ::-1])
    assert [frame.SOPInstanceUID for frame in same] == [frame.SOPInstanceUID for frame in frames]


def test_unfit_headers_are_a_remark_not_a_failure(scan, tmp_path):
    from segment_helpers import NonAirIsBrain, bright_models

    prediction = predict_volume(scan, bright_models(), SegmentSettings(), NonAirIsBrain())
    broken = replace(prediction, volume=replace(scan, frames=scan.frames[:-1]))
    remarks = write_case(tmp_path, "case", broken, SegmentSettings(preview=False), ALGORITHM)
    assert [remark[:13] for remark in remarks] == ["no DICOM SEG:"]
    assert not (tmp_path / "case.dcm").exists()
    assert (tmp_path / "case.nii.gz").exists()
    nothing = replace(prediction, mask=np.zeros_like(prediction.mask))
    assert write_case(tmp_path, "empty", nothing, SegmentSettings(preview=False), ALGORITHM) == [
        "no DICOM SEG: nothing segmented"
    ]
