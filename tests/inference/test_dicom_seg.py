"""DICOM SEG: read back with pydicom, checked by dciodvfy where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.valuerep import PersonName
from segment_helpers import NAME, NUMBER, UNEVEN_Z, Head, Stack, write_dicom

from ctseg.inference.dicom_seg import write_dicom_seg, write_resampled_seg
from ctseg.inference.dicom_source import SegAlgorithm, source_order
from ctseg.inference.outputs import write_case
from ctseg.inference.predict import predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.dicom.reader import read_series
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


NAMES = {
    ("", "ISO 2022 IR 87"): "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046",
    ("ISO 2022 IR 13", "ISO 2022 IR 87"): "\uff94\uff8f\uff80\uff9e^\uff80\uff9b\uff73=\u5c71\u7530^\u592a\u90ce",
    ("", "ISO 2022 IR 149"): "Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9",
    ("", "ISO 2022 IR 58"): "Zhang^XiaoDong=\u5f20^\u5c0f\u4e1c",
    ("ISO 2022 IR 6", "ISO 2022 IR 100"): "Buc^J\u00e9r\u00f4me",
    ("ISO 2022 IR 100", "ISO 2022 IR 144"): "J\u00e9r\u00f4me^\u041b\u044e\u043ac\u0435\u043c",
    "GB18030": "Wang^XiaoDong=\u738b^\u5c0f\u4e1c",
    "GBK": "Wang^XiaoDong=\u738b^\u5c0f\u4e1c",
    "ISO_IR 100": "M\u00fcller^J\u00f6rg",
    "ISO_IR 101": "Wa\u0142\u0119sa^Lech",
    "ISO_IR 109": "\u0126al^Malta",
    "ISO_IR 110": "\u0100bele^Anna",
    "ISO_IR 126": "\u0394\u03b9\u03bf\u03bd\u03c5\u03c3\u03b9\u03bf\u03c2",
    "ISO_IR 127": "\u0642\u0628\u0627\u0646\u064a^\u0644\u0646\u0632\u0627\u0631",
    "ISO_IR 138": "\u05e9\u05e8\u05d5\u05df^\u05d3\u05d1\u05d5\u05e8\u05d4",
    "ISO_IR 144": "\u041b\u044e\u043ace\u043c\u0431yp\u0433",
    "ISO_IR 148": "\u00c7avu\u015fo\u011flu",
    "ISO_IR 166": "\u0e19\u0e32\u0e22",
    "ISO_IR 13": "\uff94\uff8f\uff80\uff9e",
    "ISO_IR 192": "\u5c71\u7530^M\u00fcller",
    "ISO_IR 6": "Plain^Name",
    "ISO_IR_100": "M\u00fcller^J\u00f6rg",
    "ISO 2022 IR 100": "M\u00fcller^J\u00f6rg",
    None: "Plain^Name",
}


WRITTEN = {
    ("", "ISO 2022 IR 58"): PersonName(
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", ["iso8859", "iso_ir_58"]
    )
}
"""What pydicom cannot write itself, as PS3.5 Annex K has it."""


@pytest.mark.parametrize("charset", list(NAMES), ids=str)
def test_every_character_set_of_a_source_gives_a_seg_with_its_name(charset, dicom_folder, blood, tmp_path):
    for path in dicom_folder.iterdir():
        header = pydicom.dcmread(path)
        if charset is not None:
            header.SpecificCharacterSet = charset if isinstance(charset, str) else list(charset)
        header.PatientName = header.ReferringPhysicianName = WRITTEN.get(charset, NAMES[charset])
        header.StudyDescription = NAMES[charset].split("=")[-1].split("^")[0]
        header.save_as(tmp_path / path.name)
    scan = read_case(discover(tmp_path).cases[0])
    for number, write in enumerate((write_dicom_seg, write_resampled_seg)):
        write(tmp_path / f"seg{number}", scan, blood, ALGORITHM)
        seg = pydicom.dcmread(tmp_path / f"seg{number}")
        assert str(seg.PatientName) == NAMES[charset]
        assert str(seg.ReferringPhysicianName) == NAMES[charset]
        write(tmp_path / f"anonymous{number}", scan, blood, ALGORITHM, deidentify=True)
        assert str(pydicom.dcmread(tmp_path / f"anonymous{number}").PatientName) == f"{scan.patient_id}^"


@pytest.mark.parametrize("charset", ["ISO_IR 999", "UTF-8", "latin1", "", ["", ""], ["ISO_IR 100", "nonsense"]])
def test_a_character_set_that_nobody_knows_stops_no_seg(charset, dicom_folder, blood, tmp_path):
    for path in dicom_folder.iterdir():
        header = pydicom.dcmread(path)
        header.PatientName = "Plain^Name"
        header.add_new("SpecificCharacterSet", "CS", charset)
        header.save_as(tmp_path / path.name)
    scan = read_case(discover(tmp_path).cases[0])
    write_dicom_seg(tmp_path / "seg", scan, blood, ALGORITHM)
    assert str(pydicom.dcmread(tmp_path / "seg").PatientName) == "Plain^Name"


def test_a_single_slice_lies_as_far_from_the_next_as_it_is_thick(dicom_folder, scan, blood, tmp_path):
    slices = [k for k in range(len(blood)) if blood[k].any()][:1]
    frame = scan.frames[scan.slice_keys[slices[0]]]
    source = pydicom.dcmread(next(f for f in dicom_folder.rglob("*.dcm") if _uid(f) == frame.SOPInstanceUID))
    source.SliceThickness = 6.5
    source.save_as(tmp_path / "one.dcm")
    one = read_series([tmp_path / "one.dcm"], case_id="one")
    write_dicom_seg(tmp_path / "seg.dcm", one, blood[slices], SegAlgorithm("unet"))
    size = pydicom.dcmread(tmp_path / "seg.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert size.SliceThickness == size.SpacingBetweenSlices == 6.5


def test_each_frame_is_as_thick_as_its_slice(scan, blood, tmp_path):
    """2.5 mm at the skull base and 5 mm above: highdicom states the first slice's thickness for all."""
    scan, thick = replace(scan, frames=deepcopy(scan.frames)), {}
    for key, frame in enumerate(scan.frames):
        frame.SliceThickness = 2.5 if key < len(scan.frames) // 2 else 5.0
        thick[frame.SOPInstanceUID] = frame.SliceThickness
    write_dicom_seg(tmp_path / "seg.dcm", scan, np.ones_like(blood), SegAlgorithm("unet"))
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    assert "PixelMeasuresSequence" not in made.SharedFunctionalGroupsSequence[0]
    for group in made.PerFrameFunctionalGroupsSequence:
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert group.PixelMeasuresSequence[0].SliceThickness == thick[uid]
        assert group.PixelMeasuresSequence[0].PixelSpacing == scan.frames[0].PixelSpacing


def test_resampled_planes_are_as_thick_as_they_lie_apart(scan, blood, tmp_path):
    """dcmqi and others read the distance that is stated; highdicom put the source's there."""
    scan = replace(scan, frames=deepcopy(scan.frames))
    for frame in scan.frames:
        frame.SliceThickness, frame.SpacingBetweenSlices = 7.0, 7.5
    write_resampled_seg(tmp_path / "seg.dcm", scan, blood, SegAlgorithm("unet"))
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    size = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    groups = made.PerFrameFunctionalGroupsSequence
    places = [list(group.PlanePositionSequence[0].ImagePositionPatient) for group in groups]
    step = float(np.linalg.norm(np.subtract(*places[1::-1])))
    assert float(size.SliceThickness) == float(size.SpacingBetweenSlices) == pytest.approx(step, abs=1e-6)


def test_slices_whose_orientations_differ_in_the_third_digit_get_one_seg(tmp_path):
    """They are one scan with the first slice's orientation, and highdicom takes one orientation for all."""
    stack = Stack(np.arange(-30.0, 31.0, 5.0), 0.0)
    folder = write_dicom(tmp_path / "series", stack, Head())
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        slant = 0.003 * (int(dataset.InstanceNumber) % 2)
        dataset.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(slant), 6), round(np.sin(slant), 6)]
        dataset.save_as(path)
    (case,) = discover(folder).cases
    volume = read_case(case)
    blood = Head().inside_blood(stack.points())
    write_dicom_seg(tmp_path / "case.dcm", volume, blood, ALGORITHM)
    seg = pydicom.dcmread(tmp_path / "case.dcm")
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    assert orientation == volume.frames[0].ImageOrientationPatient
    found = {uid: plane for uid, _, plane in frames_of(seg)}
    for k in np.flatnonzero(blood.any(axis=(1, 2))):
        np.testing.assert_array_equal(found[volume.slice_ids[k]], blood[k])


def _uid(file):
    return pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID
