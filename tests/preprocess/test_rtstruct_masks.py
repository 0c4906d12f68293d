"""`ctseg preprocess --masks` and `ctseg inspect` with RT structure sets give what NIfTI gives, and say what is odd."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mask_heads import head, lesions, slice_set, uneven_series
from rt_files import borders, rtstruct
from seg_files import NAME, ct, scan_of

from ctseg.inspection.inspect import inspect
from ctseg.io.masks import save_mask
from ctseg.io.slices import open_slices

pytestmark = pytest.mark.slow


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A series, and its mask as `rt/RS.1.2.dcm` and as `nifti/CASE.nii.gz`."""
    sources = uneven_series(tmp_path / "ct")
    volume = scan_of(tmp_path / "ct")
    rtstruct(tmp_path / "rt/RS.1.2.dcm", sources, {n: borders(lesions(11) == n) for n in (1, 2)})
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
    for form in ("rt", "nifti"):
        code, _, said = made(cohort, form, f"set {form}", capsys, *chosen)
        assert code == 0, said
        assert ("all of its regions count as lesions (1, 2)" in said) == (form == "rt" and not chosen)
        found[form] = open_slices(cohort / f"set {form}")
        text = b"".join(path.read_bytes() for path in (cohort / f"set {form}").iterdir())
        assert NAME.encode() not in text + said.encode()
    np.testing.assert_array_equal(found["rt"].masks, found["nifti"].masks)
    assert found["rt"].masks.any()


def test_a_structure_set_of_another_scan_fails_by_name(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = scan_of(cohort / "ct").case_id
    other = ct(cohort / "other", [(-96.0, -96.0, 5.0 * k) for k in range(20)], voxels=head(), spacing=(3.0, 3.0))
    (cohort / "rt/RS.1.2.dcm").unlink()
    rtstruct(cohort / f"rt/{case}.dcm", other, {1: borders(lesions(11) > 0)})
    code, _, said = made(cohort, "rt", "set", capsys)
    assert code == 2
    assert f"{cohort}/rt/{case}.dcm: lies in another frame of reference than its scan" in said


@pytest.mark.parametrize("place", ["deep/er/1-1.dcm", "1-1.dcm.gz", "deep/IM7.gz"])
def test_it_is_found_in_folders_below_and_packed(cohort: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert made(cohort, "nifti", "set nifti", capsys)[0] == 0
    data = (cohort / "rt/RS.1.2.dcm").read_bytes()
    (cohort / "rt/RS.1.2.dcm").unlink()
    (cohort / "rt" / place).parent.mkdir(parents=True, exist_ok=True)
    (cohort / "rt" / place).write_bytes(gzip.compress(data) if place.endswith(".gz") else data)
    code, _, said = made(cohort, "rt", "set", capsys)
    assert code == 0, said
    one, other = open_slices(cohort / "set"), open_slices(cohort / "set nifti")
    np.testing.assert_array_equal(one.masks, other.masks)
    found = inspect(cohort / "rt")
    assert (found.kind, [row["values"] for row in found.rows]) == ("masks", [[1, 2]])


def test_a_zip_of_masks_is_refused_with_the_way_out(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(cohort / "masks.zip", "w") as archive:
        archive.write(cohort / "rt/RS.1.2.dcm", "RS.dcm")
    code, _, said = made(cohort, "masks.zip", "set", capsys)
    assert code == 2
    assert "masks.zip: an archive; unpack it and give the folder" in said


def test_inspect_takes_no_tree_of_scans_and_masks_for_masks(cohort: Path) -> None:
    for name in ("ct", "rt"):
        (cohort / name).rename(cohort / "nifti" / name)
    (cohort / "nifti").rename(cohort / "tree")
    for path in [*(cohort / "tree").glob("*.nii.gz"), *(cohort / "tree").glob("*.json")]:
        path.unlink()
    assert inspect(cohort / "tree").kind == "scans"


def test_a_broken_structure_set_is_a_failed_case(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = cohort / "rt/RS.1.2.dcm"
    path.write_bytes(path.read_bytes()[:-400])
    code, _, said = made(cohort, "rt", "set", capsys)
    assert code == 2
    assert path.name in said
    assert "Traceback" not in said


def test_inspect_lists_the_regions(cohort: Path) -> None:
    for path in (cohort / "rt", cohort / "rt/RS.1.2.dcm"):
        found = inspect(path)
        assert found.kind == "masks"
        assert found.rows == [{"case": "RS.1.2", "slices": None, "ml": None, "values": [1, 2]}]
        assert found.problems == []
        assert found.remarks == [
            "RS.1.2: all of its regions count as lesions (1, 2); choose by their numbers where they are none",
            "1 DICOM RTSTRUCT whose slices and mL are known with their scans alone: RS.1.2",
        ]
