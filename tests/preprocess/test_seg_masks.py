"""`ctseg preprocess --masks` and `ctseg inspect` with DICOM SEG give what NIfTI gives, and say what is not used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_heads import head, lesions, slice_set, uneven_series
from seg_files import NAME, changed, ct, scan_of, seg

from ctseg.inspection.inspect import inspect
from ctseg.io.masks import save_mask
from ctseg.io.slices import open_slices

pytestmark = pytest.mark.slow


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A series, and its mask as `seg/CASE.dcm` and as `nifti/CASE.nii.gz`."""
    sources = uneven_series(tmp_path / "ct")
    volume = scan_of(tmp_path / "ct")
    seg(tmp_path / "seg" / f"{volume.case_id}.dcm", sources, lesions(11))
    (tmp_path / "nifti").mkdir()
    save_mask(tmp_path / "nifti" / f"{volume.case_id}.nii.gz", volume, lesions(11))
    return tmp_path


def made(cohort: Path, masks: str, out: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict, str]:
    """Exit code, summary, and what was said."""
    return slice_set(cohort / "ct", cohort / masks, cohort / out, capsys, *more)


@pytest.mark.parametrize("chosen", [(), ("--lesion-labels", "2"), ("--lesion-labels", "1,2")])
def test_the_slice_set_is_that_of_nifti(
    cohort: Path, chosen: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for form in ("seg", "nifti"):
        code, summary, said = made(cohort, form, f"set {form}", capsys, *chosen)
        assert (code, summary["label_values"]) == (0, {"1": 1, "2": 1}), said
        found[form] = open_slices(cohort / f"set {form}")
        text = b"".join(path.read_bytes() for path in (cohort / f"set {form}").iterdir())
        assert NAME.encode() not in text + said.encode()
    np.testing.assert_array_equal(found["seg"].masks, found["nifti"].masks)
    np.testing.assert_array_equal(found["seg"].images, found["nifti"].images)
    assert found["seg"].masks.any()


def test_a_mask_of_another_scan_fails_by_name(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (cohort / "seg").iterdir()
    seg(
        path,
        ct(cohort / "other", [(-96.0, -96.0, 5.0 * k) for k in range(20)], voxels=head(), spacing=(3.0, 3.0)),
        lesions(11),
    )
    code, _, said = made(cohort, "seg", "set", capsys)
    assert code == 2
    assert f"{path}: lies in another frame of reference than its scan" in said


def test_a_mask_that_lies_off_by_less_than_half_a_voxel_is_noted(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (cohort / "seg").iterdir()

    def moved(data):
        for group in data.PerFrameFunctionalGroupsSequence:
            place = group.PlanePositionSequence[0]
            place.ImagePositionPatient = [*place.ImagePositionPatient[:2], place.ImagePositionPatient[2] + 1.5]

    changed(path, path, moved)
    code, _, said = made(cohort, "seg", "set", capsys)
    assert code == 0
    assert "its mask lies up to 1.5 mm off by its header; taken voxel by voxel" in said


def test_what_is_not_used_is_said(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (cohort / "seg").iterdir()
    changed(path, cohort / "seg" / "other.dcm", lambda data: setattr(data, "PatientID", "another"))
    changed(path, cohort / "seg" / "IM0001", lambda data: data.pop("ReferencedSeriesSequence"))
    code, _, said = made(cohort, "seg", "set", capsys)
    assert code == 0
    assert f"{cohort}/seg/IM0001 and 1 more: a mask without its scan" in said


@pytest.mark.parametrize("name", ["1.2.840.113.dcm", "IM0001", "1-1.DCM"])
def test_a_mask_of_any_name_belongs_to_the_scan_that_it_names(
    cohort: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (cohort / "seg").iterdir()
    for masks in ("seg", "nifti"):
        if masks == "seg":
            path.rename(path.with_name(name))
        assert made(cohort, masks, f"set {masks}", capsys)[0] == 0
    one, other = open_slices(cohort / "set seg"), open_slices(cohort / "set nifti")
    np.testing.assert_array_equal(one.masks, other.masks)
    (cohort / "seg" / "second.dcm").write_bytes((cohort / "seg" / name).read_bytes())
    code, _, said = made(cohort, "seg", "set", capsys)
    assert code == 2
    assert "of one scan; keep one of them" in said


def test_a_broken_segmentation_is_a_failed_case(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (cohort / "seg").iterdir()
    path.write_bytes(path.read_bytes()[:-200])
    code, _, said = made(cohort, "seg", "set", capsys)
    assert code == 2
    assert path.name in said
    assert "Traceback" not in said


def test_inspect_measures_segmentations(cohort: Path) -> None:
    found = inspect(cohort / "seg")
    assert found.kind == "masks"
    (row,) = found.rows
    assert row["values"] == [1, 2]
    assert row["ml"] is None
    assert "1 DICOM SEG of uneven slices, whose mL are known with their scans alone" in found.remarks[-1]
    series = ct(cohort / "even", [(-96.0, -96.0, 5.0 * k) for k in range(20)], voxels=head(), spacing=(3.0, 3.0))
    seg(cohort / "masks" / "a.dcm", series, lesions(11))
    for path in (cohort / "masks", cohort / "masks" / "a.dcm"):
        found = inspect(path)
        assert found.rows[0]["ml"] == pytest.approx((lesions(11) > 0).sum() * 0.045)
        assert found.remarks == [
            "a: leaves out slices between others; its mL rest on the spacing of slices that it states"
        ]
    assert inspect(cohort / "even").kind == "scans"
