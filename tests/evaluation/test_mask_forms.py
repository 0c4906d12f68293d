"""References and predictions in NRRD and MetaImage are measured as the same masks in NIfTI are."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctseg.errors import InputError
from ctseg.evaluation.cases import match_cases, matching_digests
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings

sitk = pytest.importorskip("SimpleITK")
pytestmark = pytest.mark.slow

FAST = EvaluationSettings(resamples=200, permutations=200, pictured_cases=1)

SUFFIXES = (".nrrd", ".mha", ".mhd", ".seg.nrrd")


def as_itk(path: Path, suffix: str) -> Path:
    """A NIfTI mask in another form, by SimpleITK; it takes the place of the first."""
    other = path.with_name(path.name.removesuffix(".nii.gz") + suffix)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(other))
    path.unlink()
    return other


def cut(path: Path, extra: str = "") -> Path:
    """A NIfTI mask as 3D Slicer saves it: cut down to the lesion."""
    image = sitk.ReadImage(str(path))
    marked = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
    first, end = (marked.min(axis=0), marked.max(axis=0) + 1) if len(marked) else (np.zeros(3, int), np.full(3, 2))
    part = image[tuple(slice(int(a), int(b)) for a, b in zip(first, end, strict=True))]
    part.SetMetaData("Segmentation_ReferenceImageExtentOffset", " ".join(map(str, first)))
    part.SetMetaData("Segment0_LabelValue", "1")
    other = path.with_name(path.name.removesuffix(".nii.gz") + ".seg.nrrd")
    sitk.WriteImage(part, str(other), True)
    assert b"Segmentation_ReferenceImageExtentOffset:=" in other.read_bytes()
    path.unlink()
    return other


def numbers(found):
    return found.cases.drop(columns=["model", "message"]).to_csv(float_format="%.9g")


@pytest.mark.parametrize("side", ["ref", "pred"])
def test_the_numbers_are_those_of_nifti(cohort, side):
    expected = evaluate(cohort / "pred", cohort / "ref", cohort / "one", settings=FAST)
    for path, suffix in zip(sorted((cohort / side).glob("*.nii.gz")), SUFFIXES, strict=True):
        as_itk(path, suffix)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "two", settings=FAST)
    assert found.failed == ()
    assert numbers(found) == numbers(expected)
    assert [note for note in found.notes if "not read" in note] == []


@pytest.mark.parametrize("side", ["ref", "pred"])
def test_a_cut_segmentation_is_measured_on_the_whole_grid(cohort, side):
    expected = evaluate(cohort / "pred", cohort / "ref", cohort / "one", settings=FAST)
    for path in sorted((cohort / side).glob("*.nii.gz")):
        cut(path)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "two", settings=FAST)
    assert found.failed == ()
    assert numbers(found) == numbers(expected)
    page = (cohort / "two/report.html").read_text()
    assert page.count('class="viewer"') == (cohort / "one/report.html").read_text().count('class="viewer"')


def test_a_cut_segmentation_elsewhere_fails_by_name(cohort):
    path = cut(cohort / "ref/a_1.nii.gz")
    image = sitk.ReadImage(str(path))
    image.SetOrigin([value + 1.2 for value in image.GetOrigin()])
    sitk.WriteImage(image, str(path))
    cut(cohort / "ref/b_1.nii.gz")
    (cohort / "pred/b_1.nii.gz").unlink()
    found = evaluate(
        cohort / "pred", cohort / "ref", cohort / "out", settings=FAST.model_copy(update={"missing": "empty"})
    )
    messages = found.cases.set_index("case")["message"]
    assert "ref/a_1.seg.nrrd: has marked voxels that lie up to" in messages["a_1"]
    assert "pred/a_1.nii.gz" in messages["a_1"]
    assert "ref/b_1.seg.nrrd: holds a part of its scan's grid" in messages["b_1"]
    assert len(found.failed) == 2


def test_two_forms_of_one_case_are_refused(cohort):
    image = sitk.ReadImage(str(cohort / "ref/a_1.nii.gz"))
    sitk.WriteImage(image, str(cohort / "ref/a_1.nrrd"))
    with pytest.raises(InputError, match=r"holds a_1\.nii\.gz and a_1\.nrrd of one case; keep one of them"):
        evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)


def test_voxels_beside_a_header_are_in_the_digests(cohort):
    path = as_itk(cohort / "ref/a_1.nii.gz", ".mhd")
    before = matching_digests(match_cases([cohort / "pred"], cohort / "ref"), {})
    voxels = bytearray(path.with_suffix(".raw").read_bytes())
    voxels[0] ^= 1
    path.with_suffix(".raw").write_bytes(voxels)
    after = matching_digests(match_cases([cohort / "pred"], cohort / "ref"), {})
    assert before["reference"] != after["reference"]
    assert before["predictions"] == after["predictions"]


def test_which_values_count_is_said(cohort):
    for case in ("a_1", "a_2"):
        image = nib.load(cohort / f"ref/{case}.nii.gz")
        values = np.asarray(image.dataobj).copy()
        values[tuple(np.argwhere(values)[0])] = 2
        nib.save(nib.Nifti1Image(values, image.affine, image.header), cohort / f"ref/{case}.nii.gz")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "one", settings=FAST)
    said = "references: label values found: 1 (3 cases), 2 (2 cases); as lesion count "
    assert f"{said}all above 0; --set reference_labels=[1] chooses" in found.notes
    chosen = FAST.model_copy(update={"reference_labels": (2,)})
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "two", settings=chosen)
    assert f"{said}2" in found.notes
    assert found.cases.set_index("case")["tp"].to_dict()["a_1"] == 1
    assert json.loads((cohort / "two/summary.json").read_text())["settings"]["reference_labels"] == [2]
    plain = evaluate(cohort / "pred", cohort / "pred", cohort / "three", settings=FAST)
    assert not any("label values" in note for note in plain.notes)


def test_predictions_in_forms_that_are_not_read_are_said(cohort):
    (cohort / "pred/b_1.nii.gz").rename(cohort / "pred/b_1.mgz")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    words = "pred: 1 file in forms that are not read (1 FreeSurfer), such as b_1.mgz; write"
    assert any(note.startswith(words) for note in found.notes)
