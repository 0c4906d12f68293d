"""RT structure sets and structured reports: read back, drawn again, and checked by dciodvfy where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pydicom
import pytest
from scipy.ndimage import gaussian_filter
from segment_helpers import NAME, NUMBER, Head, NonAirIsBrain, bright_models
from skimage.draw import polygon2mask

from ctseg.inference.dicom_objects import write_dicom_objects
from ctseg.inference.dicom_rtstruct import outlines, write_rtstruct
from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.inference.dicom_sr import NOTICE
from ctseg.inference.measure import measure
from ctseg.inference.outputs import write_case
from ctseg.inference.predict import predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.polygons import filled
from ctseg.outputs.changed import changed, looks

pytestmark = pytest.mark.slow

ALGORITHM = SegAlgorithm("bright", parameters={"threshold": "0.5"})
SETTINGS = SegmentSettings(rtstruct=True, sr=True)
IDENTITY = (NAME, NUMBER, "19610203", "ACC99", "Gregory")


@pytest.fixture(scope="module")
def found(dicom_folder):
    scan = read_case(discover(dicom_folder).cases[0])
    return predict_volume(scan, bright_models(), SegmentSettings(), NonAirIsBrain())


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    """Folders of one case, with and without identity."""

    @cache
    def write(deidentify):
        folder = tmp_path_factory.mktemp("objects")
        settings = SETTINGS.model_copy(update={"deidentify": deidentify})
        assert write_dicom_objects(folder, "case", found, settings, ALGORITHM) == []
        return folder

    return write


def drawn(path, scan):
    """The mask that the outlines of a structure set enclose, by the even-odd rule, on the planes of a scan."""
    mask = np.zeros(scan.voxels.shape, bool)
    steps = np.stack([scan.row_step_mm, scan.col_step_mm])
    for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence:
        k = scan.slice_ids.index(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        points = np.array(contour.ContourData, float).reshape(-1, 3) - scan.origins_mm[k]
        np.testing.assert_allclose(points @ scan.normal, 0, atol=1e-3)
        mask[k] ^= polygon2mask(mask.shape[1:], points @ (steps / (steps**2).sum(axis=1, keepdims=True)).T)
    return mask


def test_outlines_enclose_the_mask_on_a_tilted_uneven_series(written, found):
    np.testing.assert_array_equal(drawn(written(False) / "case_rtstruct.dcm", found.volume), found.mask)


@pytest.mark.parametrize("deidentify", [False, True])
def test_objects_made_again_look_the_same_and_corrected_ones_do_not(written, found, tmp_path, deidentify):
    settings = SETTINGS.model_copy(update={"deidentify": deidentify})
    names = sorted(path.name for path in written(deidentify).iterdir())
    assert len(names) == 4
    seen = looks(written(deidentify), names)
    time.sleep(1.1)  # objects say when they were made
    assert write_dicom_objects(tmp_path, "case", found, settings, ALGORITHM) == []
    assert looks(tmp_path, names) == seen
    assert changed(tmp_path, seen) == []
    for name in names:
        read = pydicom.dcmread(tmp_path / name)
        if "PixelData" in read:  # as in a viewer: the number of bytes is the same
            read.PixelData = bytes([read.PixelData[0] ^ 1]) + read.PixelData[1:]
        else:
            read.SeriesDescription = "corrected"
        read.save_as(tmp_path / name)
    assert changed(tmp_path, seen) == names


def test_holes_corners_and_the_edge_of_the_picture_come_back(found, tmp_path):
    mask = np.zeros_like(found.mask)
    mask[2, 10:20, 10:20] = True
    mask[2, 13:16, 13:16] = False
    mask[2, 14, 14] = True
    mask[3, 0:2, 0:3] = mask[3, -1, -1] = mask[3, 30, 30] = mask[3, 31, 31] = True
    write_rtstruct(tmp_path / "odd.dcm", found.volume, mask, ALGORITHM)
    np.testing.assert_array_equal(drawn(tmp_path / "odd.dcm", found.volume), mask)
    assert len(outlines(found.volume, mask, 2)) == 2  # the hole is part of the outline around it


def test_any_mask_comes_back_and_no_channel_leaves_it(found):
    """Textures with parts in holes in parts; a pixel whose centre is on an outline would count."""
    rng = np.random.default_rng(0)
    scan = found.volume
    mask = np.zeros_like(found.mask)
    for k in range(12):
        texture = gaussian_filter(rng.normal(size=mask.shape[1:]), rng.uniform(0.3, 2.5))
        mask[k] = texture > np.quantile(texture, rng.uniform(0.2, 0.8))
        back = np.zeros_like(mask[k])
        for points in outlines(scan, mask, k):
            steps = np.stack([scan.row_step_mm, scan.col_step_mm], axis=1)
            area = filled((points - scan.origins_mm[k]) @ np.linalg.pinv(steps).T, (1e-6, 1e-6))
            whole = np.zeros((mask.shape[1] + 2, mask.shape[2] + 2), bool)
            part = tuple(slice(axis.start + 1, axis.stop + 1) for axis in area.part)
            whole[part] = area.inside | area.path
            assert not (back & whole[1:-1, 1:-1]).any()  # no outline lies in another: holes are part of theirs
            back |= whole[1:-1, 1:-1]
        np.testing.assert_array_equal(back, mask[k])


def measurements(sr):
    """(code value, derivation) -> number, of every NUM item below a report."""
    items, found = list(sr.ContentSequence), {}
    while items:
        item = items.pop()
        below = list(item.get("ContentSequence", []))
        if item.ValueType == "NUM":
            kind = next((sub.ConceptCodeSequence[0].CodeMeaning for sub in below if sub.ValueType == "CODE"), "")
            value = item.MeasuredValueSequence[0]
            found[item.ConceptNameCodeSequence[0].CodeValue, kind] = float(value.NumericValue)
        items += below
    return found


def texts(sr):
    comment = "121106"
    return [item.TextValue for item in sr.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == comment]


def test_the_report_says_what_was_measured_and_of_which_segment(written, found):
    sr, seg = (pydicom.dcmread(written(False) / name) for name in ("case_sr.dcm", "case.dcm"))
    measures = found.measures
    assert measurements(sr) == {
        ("118565006", ""): round(measures.ml, 4), ("ABC2", ""): round(measures.abc2_ml, 4),
        ("LARGEST", ""): round(measures.largest_ml, 4), ("LESIONS", ""): measures.lesions,
    }  # fmt: skip
    assert measures.ml == pytest.approx(Head().blood_ml, rel=0.1)
    assert texts(sr)[0].startswith(f"Haemorrhage of {measures.ml:.1f} mL in 1 lesion")
    assert texts(sr)[-1] == NOTICE
    named = str(sr)
    assert seg.SOPInstanceUID in named
    assert seg.SegmentSequence[0].TrackingUID in named


def test_an_empty_mask_has_a_report_and_no_segmentation(found, tmp_path):
    none = np.zeros_like(found.mask)
    empty = replace(found, mask=none, measures=measure(none, found.volume))
    remarks = write_dicom_objects(tmp_path, "case", empty, SETTINGS, ALGORITHM)
    assert remarks == ["no DICOM SEG: nothing segmented", "no DICOM RTSTRUCT: nothing segmented"]
    assert [path.name for path in tmp_path.iterdir()] == ["case_sr.dcm"]
    sr = pydicom.dcmread(tmp_path / "case_sr.dcm")
    assert measurements(sr)["118565006", ""] == 0
    assert texts(sr)[0] == "No haemorrhage segmented."
    assert faults(tmp_path / "case_sr.dcm") == []


def test_what_is_asked_of_a_scan_that_is_not_dicom_is_said(found, tmp_path):
    plain = replace(found, volume=replace(found.volume, frames=()))
    remarks = write_case(tmp_path, "case", plain, SETTINGS.model_copy(update={"preview": False}), ALGORITHM)
    assert remarks == [
        "no DICOM RTSTRUCT: the scan is no series of DICOM slices",
        "no DICOM SR: the scan is no series of DICOM slices",
    ]
    assert not list(tmp_path.glob("*.dcm"))


def test_uids_follow_from_content(written, found, tmp_path):
    write_dicom_objects(tmp_path, "case", found, SETTINGS, ALGORITHM)
    other = replace(found, mask=np.roll(found.mask, 1, axis=2))
    (tmp_path / "other").mkdir()
    write_dicom_objects(tmp_path / "other", "case", other, SETTINGS, ALGORITHM)
    for name in ("case.dcm", "case_resampled.dcm", "case_rtstruct.dcm", "case_sr.dcm"):
        first, again, moved = (
            pydicom.dcmread(folder / name) for folder in (written(False), tmp_path, tmp_path / "other")
        )
        assert first.SOPInstanceUID == again.SOPInstanceUID != moved.SOPInstanceUID
        assert first.SeriesInstanceUID == again.SeriesInstanceUID != moved.SeriesInstanceUID
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in written(False).glob("*.dcm")}
    assert len(uids) == 4


@pytest.mark.parametrize("name", ["case_rtstruct.dcm", "case_sr.dcm"])
def test_identity_is_that_of_the_scan_and_goes_with_deidentify(written, found, name):
    known, hidden = written(False) / name, written(True) / name
    assert (str(pydicom.dcmread(known).PatientName), pydicom.dcmread(known).PatientID) == (NAME, NUMBER)
    assert pydicom.dcmread(known).StudyInstanceUID == found.volume.frames[0].StudyInstanceUID
    assert [text for text in IDENTITY if text.encode() in hidden.read_bytes()] == []
    assert pydicom.dcmread(hidden).PatientID == found.volume.patient_id
    assert pydicom.dcmread(hidden).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("name", ["case_rtstruct.dcm", "case_sr.dcm"])
def test_dciodvfy_finds_no_fault(written, name, deidentify):
    assert faults(written(deidentify) / name) == []


def faults(path):
    """Errors and warnings of dciodvfy, but for the two that docs/segment.md names.

    It knows no coding scheme of anybody's own, and misses the study's date, time and number after `--deidentify`.
    """
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stderr + done.stdout).splitlines()
    assert {"RTStructureSet", "ComprehensiveSR"} & set(lines), lines
    known = ("Unrecognized defined term <99CTSEG>", "needed to build DICOMDIR")
    return [line for line in lines if line.startswith(("Error", "Warning")) and not any(text in line for text in known)]
