"""References and predictions as DICOM SEG are measured as the same masks in NIfTI are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from measured_masks import FAST, SAGITTAL, as_read, done, numbers, predicted, save, slices_in_order
from seg_files import NAME, TILTED, UNEVEN, changed, ct, lesions, scan_of, seg

from ctseg.errors import InputError
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.grids import TWO_PARTS

pytestmark = pytest.mark.slow


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A reader's SEG `ref/a.dcm`, the same as `nifti/a.nii.gz`, and a prediction `pred/a.nii.gz` of the whole scan."""
    sources = ct(tmp_path / "ct")
    seg(tmp_path / "ref" / "a.dcm", sources, lesions())
    save(tmp_path / "nifti", scan_of(tmp_path / "ct"), lesions())
    save(tmp_path / "pred", scan_of(tmp_path / "ct"), predicted())
    return tmp_path


@pytest.mark.parametrize("chosen", [(), (1,), (2,)])
def test_a_reader_s_segmentation_has_the_numbers_of_nifti(cohort: Path, chosen: tuple[int, ...]) -> None:
    one, other = (done(cohort, ref, reference_labels=chosen) for ref in ("ref", "nifti"))
    assert one.failed == ()
    assert numbers(one) == numbers(other)
    assert one.summary["models"] == other.summary["models"]
    assert one.cases["slices"].tolist() == [9]
    for file in (cohort / "out ref pred").iterdir():
        assert NAME.encode() not in file.read_bytes()
        assert b"SECRET" not in file.read_bytes()


@pytest.mark.parametrize(
    "geometry",
    [
        {"origins": UNEVEN}, {"origins": TILTED}, {"along": (-1, 0, 0)},
        {"origins": SAGITTAL, "along": (0, 1, 0), "down": (0, 0, -1)},
    ],
    ids=["uneven", "tilted", "mirrored", "sagittal"],
)  # fmt: skip
def test_it_is_measured_on_the_slices_of_any_scan(tmp_path: Path, geometry: dict) -> None:
    sources = ct(tmp_path / "ct", **geometry)
    seg(tmp_path / "ref" / "a.dcm", sources, lesions())
    volume = scan_of(tmp_path / "ct")
    for name, mask in (("nifti", lesions()), ("pred", predicted())):
        save(tmp_path / name, volume, as_read(mask, sources, volume))
    one, other = done(tmp_path, "ref"), done(tmp_path, "nifti")
    assert one.failed == ()
    assert numbers(one) == numbers(other)
    assert one.cases["message"].tolist() == [""]


def test_two_segmentations_are_measured_on_the_slices_of_both(cohort: Path) -> None:
    seg(cohort / "other" / "a.dcm", slices_in_order(cohort / "ct"), predicted(), segments=1)
    found = done(cohort, "ref", "other")
    assert found.failed == ()
    whole = done(cohort, "nifti", "pred")
    for name in ("dice", "nsd", "hd95_mm", "ref_ml", "pred_ml", "fp_ml", "lesions_tp"):
        assert found.cases[name].tolist() == pytest.approx(whole.cases[name].tolist(), rel=1e-6), name
    assert found.cases["slices"].tolist() == [7]
    assert found.cases["message"].tolist() == [TWO_PARTS]
    assert any(note.startswith("other: 1 case: both masks leave out") for note in found.notes)


def test_masks_of_two_scans_are_no_pair(cohort: Path) -> None:
    seg(cohort / "other" / "a.dcm", ct(cohort / "second"), lesions())
    found = done(cohort, "ref", "other")
    assert "lies in another frame of reference" in found.failed[0]
    changed(cohort / "other/a.dcm", cohort / "other/a.dcm", lambda data: data.pop("FrameOfReferenceUID"))
    found = done(cohort, "ref", "other", "again")
    assert found.failed == ()
    assert "its mask names another series" in found.cases["message"][0]
    found = done(cohort, "other", "pred", "third")
    assert found.failed == ()
    assert found.cases["message"].tolist() == [
        "its mask names another series, which lies in the same place; is it the mask of this scan?"
    ]


def test_what_lies_elsewhere_fails_by_name(cohort: Path) -> None:
    def moved(data):
        for group in data.PerFrameFunctionalGroupsSequence:
            place = group.PlanePositionSequence[0]
            place.ImagePositionPatient = [place.ImagePositionPatient[0] + 0.3, *place.ImagePositionPatient[1:]]

    changed(cohort / "ref/a.dcm", cohort / "ref/a.dcm", moved)
    (failed,) = done(cohort, "ref").failed
    assert f"{cohort}/ref/a.dcm: has marked voxels that lie up to 0.30 mm from the nearest of its scan" in failed
    assert str(cohort / "pred/a.nii.gz") in failed


def test_a_table_names_segmentations_of_any_name(cohort: Path) -> None:
    shutil.copy(cohort / "ref/a.dcm", cohort / "ref/1.2.840.113")
    (cohort / "cases.csv").write_text("case,ref,pred\nx,1.2.840.113,a.nii.gz\n")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, cases=cohort / "cases.csv")
    assert found.failed == ()
    assert found.cases["dice"].tolist() == done(cohort, "nifti").cases["dice"].tolist()


def test_a_segmentation_of_any_name_belongs_to_the_scan_that_it_names(cohort: Path) -> None:
    """References named by UIDs, and predictions by the pseudonyms of the scans."""
    (cohort / "ref/a.dcm").rename(cohort / "ref/1.2.840.113.dcm")
    (cohort / "pred/a.nii.gz").rename(cohort / f"pred/{scan_of(cohort / 'ct').case_id}.nii.gz")
    (cohort / "pred/a.json").rename(cohort / f"pred/{scan_of(cohort / 'ct').case_id}.json")
    found = done(cohort, "ref")
    assert (found.failed, found.cases["case"].tolist()) == ((), [scan_of(cohort / "ct").case_id])
    shutil.copytree(cohort / "ref", cohort / "second")
    (cohort / "second/1.2.840.113.dcm").rename(cohort / "second/x.dcm")
    both = done(cohort, "ref", "second")
    assert both.failed == ()
    assert both.cases["dice"].tolist() == [1.0]
    shutil.copy(cohort / "ref/1.2.840.113.dcm", cohort / "ref/2.dcm")
    with pytest.raises(InputError, match=r"holds 1\.2\.840\.113\.dcm and 2\.dcm of one scan; keep one of them"):
        done(cohort, "ref", out="third")


def test_two_files_of_one_case_are_refused(cohort: Path) -> None:
    shutil.copy(cohort / "nifti/a.nii.gz", cohort / "ref")
    with pytest.raises(InputError, match=r"holds a\.dcm and a\.nii\.gz of one case; keep one of them"):
        done(cohort, "ref")
