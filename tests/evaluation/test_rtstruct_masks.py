"""References and predictions as RT structure sets are measured as the same masks in NIfTI are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measured_masks import SAGITTAL, as_read, done, numbers, predicted, save, slices_in_order
from rt_files import borders, contours, nameless, rtstruct
from seg_files import NAME, TILTED, UNEVEN, ct, lesions, scan_of, seg

from ctseg.errors import InputError
from ctseg.evaluation.grids import TWO_PARTS
from ctseg.inference.dicom_rtstruct import write_rtstruct
from ctseg.inference.dicom_source import SegAlgorithm

pytestmark = pytest.mark.slow


def both_regions() -> dict[int, list]:
    return {number: borders(lesions() == number) for number in (1, 2)}


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A planner's `ref/a.dcm`, the same as `nifti/a.nii.gz`, and a prediction `pred/a.nii.gz` of the whole scan."""
    sources = ct(tmp_path / "ct")
    rtstruct(tmp_path / "ref" / "a.dcm", sources, both_regions())
    scan = scan_of(tmp_path / "ct")
    save(tmp_path / "nifti", scan, lesions())
    save(tmp_path / "pred", scan, predicted())
    return tmp_path


@pytest.mark.parametrize("sidecar", [True, False])
@pytest.mark.parametrize("chosen", [(), (1,), (2,)])
def test_a_structure_set_has_the_numbers_of_nifti(cohort: Path, chosen: tuple[int, ...], sidecar: bool) -> None:
    if not sidecar:  # of another program, which names no slices
        (cohort / "pred/a.json").unlink()
        (cohort / "nifti/a.json").unlink()
    one, other = (done(cohort, ref, reference_labels=chosen) for ref in ("ref", "nifti"))
    assert one.failed == ()
    assert numbers(one) == numbers(other)
    assert one.summary["models"] == other.summary["models"]
    said = "" if chosen else "all of its regions count as lesions (1, 2); choose by their numbers where they are none"
    assert one.cases["message"].tolist() == [said]
    for file in (cohort / "out ref pred").iterdir():
        assert NAME.encode() not in file.read_bytes()
        assert b"SECRET" not in file.read_bytes()


def test_a_structure_set_as_the_prediction(cohort: Path) -> None:
    one, other = done(cohort, "pred", "ref"), done(cohort, "pred", "nifti")
    assert one.failed == ()
    assert numbers(one) == numbers(other)


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
    rtstruct(tmp_path / "ref" / "a.dcm", sources, {1: borders(lesions() > 0)})
    volume = scan_of(tmp_path / "ct")
    for name, mask in (("nifti", lesions()), ("pred", predicted())):
        save(tmp_path / name, volume, as_read(mask, sources, volume))
    one, other = done(tmp_path, "ref"), done(tmp_path, "nifti")
    assert one.failed == ()
    assert numbers(one) == numbers(other)
    assert one.cases["message"].tolist() == [""]


@pytest.mark.parametrize("geometry", [{"origins": TILTED}, {"origins": UNEVEN}], ids=["tilted", "uneven"])
def test_what_segment_writes_is_its_own_mask_again(tmp_path: Path, geometry: dict) -> None:
    """`segment --rtstruct` beside its NIfTI, with a hole and a single pixel: Dice 1 and the same mL."""
    ct(tmp_path / "ct", **geometry)
    volume = scan_of(tmp_path / "ct")
    mask = lesions() > 0
    mask[3, 6, 8], mask[6, 0, 0] = False, True
    save(tmp_path / "nifti", volume, mask.astype(np.uint8), volume.case_id)
    (tmp_path / "objects").mkdir()
    write_rtstruct(tmp_path / "objects" / f"{volume.case_id}_rtstruct.dcm", volume, mask, SegAlgorithm("x"))
    found = done(tmp_path, "nifti", "objects")
    assert found.failed == ()
    assert found.cases["case"].tolist() == [volume.case_id]
    assert found.cases["dice"].tolist() == [1.0]
    assert found.cases["pred_ml"].tolist() == found.cases["ref_ml"].tolist()


def test_beside_a_segmentation_it_is_measured_on_the_slices_of_both(cohort: Path) -> None:
    seg(cohort / "other" / "a.dcm", slices_in_order(cohort / "ct"), predicted(), segments=1)
    whole = done(cohort, "nifti", "pred")
    for pair in (("ref", "other"), ("other", "ref")):
        found = done(cohort, *pair)
        assert found.failed == ()
        assert TWO_PARTS in found.cases["message"][0]
        names = ("dice", "nsd", "hd95_mm") if pair[0] == "other" else ("dice", "nsd", "hd95_mm", "ref_ml", "pred_ml")
        for name in names:
            assert found.cases[name].tolist() == pytest.approx(whole.cases[name].tolist(), rel=1e-6), name


def test_two_structure_sets_have_no_grid(cohort: Path) -> None:
    (failed,) = done(cohort, "ref", "ref").failed
    assert "both are RT structure sets, whose outlines have no pixels of their own; give their" in failed
    assert done(cohort, "ref", "ref", "again", missing="empty").failed == (failed,)


def test_a_structure_set_without_a_prediction_is_no_empty_mask_of_unknown_size(cohort: Path) -> None:
    save(cohort / "pred", scan_of(cohort / "ct"), predicted(), "b")
    save(cohort / "ref", scan_of(cohort / "ct"), lesions(), "b")
    (cohort / "pred/a.nii.gz").unlink()
    (failed,) = done(cohort, "ref", missing="empty").failed
    assert "a.dcm: holds a part of its scan's grid, and no prediction has the whole; segment it, or" in failed


def test_what_lies_elsewhere_fails_by_name(cohort: Path) -> None:
    def moved(made):
        for contour in contours(made):
            points = np.array(contour.ContourData, float).reshape(-1, 3) + np.array([0, 0, 0.3])
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]

    rtstruct(cohort / "ref/a.dcm", slices_in_order(cohort / "ct"), {1: borders(lesions() > 0)}, change=moved)
    (failed,) = done(cohort, "ref").failed
    assert f"{cohort}/ref/a.dcm: has outlines that lie up to 0.30 mm from the nearest slice of its scan" in failed
    assert str(cohort / "pred/a.nii.gz") in failed


def test_a_structure_set_of_any_name_belongs_to_the_scan_that_it_names(cohort: Path) -> None:
    (cohort / "ref/a.dcm").rename(cohort / "ref/RS.1.2.840.113.dcm")
    case = scan_of(cohort / "ct").case_id
    for suffix in ("nii.gz", "json"):
        (cohort / f"pred/a.{suffix}").rename(cohort / f"pred/{case}.{suffix}")
    found = done(cohort, "ref")
    assert (found.failed, found.cases["case"].tolist()) == ((), [case])
    (cohort / "ref/second.dcm").write_bytes((cohort / "ref/RS.1.2.840.113.dcm").read_bytes())
    with pytest.raises(InputError, match=r"holds RS\.1\.2\.840\.113\.dcm and second\.dcm of one scan"):
        done(cohort, "ref", out="second")


def test_without_a_name_of_the_scan_it_is_measured_where_it_lies(cohort: Path) -> None:
    rtstruct(cohort / "ref/a.dcm", slices_in_order(cohort / "ct"), both_regions(), change=nameless)
    assert numbers(done(cohort, "ref")) == numbers(done(cohort, "nifti"))
