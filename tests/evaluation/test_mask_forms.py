"""References and predictions in NRRD and MetaImage are measured as the same masks in NIfTI are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
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


def give_one_voxel(mask, value):
    """The first voxel of a mask gets another label value."""
    image = nib.load(mask)
    values = np.asarray(image.dataobj).copy()
    values[tuple(np.argwhere(values)[0])] = value
    nib.save(nib.Nifti1Image(values, image.affine, image.header), mask)


def test_which_values_count_is_said(cohort):
    for case in ("a_1", "a_2"):
        give_one_voxel(cohort / f"ref/{case}.nii.gz", 2)
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


def test_which_values_of_a_prediction_count_is_said(cohort):
    """All segments of a model with several had counted as lesion without a word."""
    give_one_voxel(cohort / "pred/a_1.nii.gz", 7)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "one", settings=FAST)
    said = "pred: label values found: 1 (2 cases), 7 (1 case); as lesion count "
    assert f"{said}all above 0; --set prediction_labels=[1] chooses" in found.notes
    chosen = FAST.model_copy(update={"prediction_labels": (7,)})
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "two", settings=chosen)
    assert f"{said}7" in found.notes
    assert found.cases.set_index("case")["tp"].to_dict()["a_1"] == 1


def test_predictions_in_forms_that_are_not_read_are_said(cohort):
    (cohort / "pred/b_1.nii.gz").rename(cohort / "pred/b_1.mgz")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    words = "pred: 1 file in forms that are not read (1 FreeSurfer), such as b_1.mgz; write"
    assert any(note.startswith(words) for note in found.notes)


def nested(folder):
    """The masks of a folder as `CASE/mask.nii.gz`, with what lies beside them."""
    for path in sorted(folder.glob("*.nii.gz")):
        place = folder / path.name.removesuffix(".nii.gz")
        place.mkdir()
        path.rename(place / "mask.nii.gz")
        if (beside := folder / f"{place.name}.json").is_file():
            beside.rename(place / "mask.json")
    return folder


def test_masks_in_folders_of_their_own_are_those_of_the_cases(cohort):
    """They were listed as not read."""
    flat = evaluate(cohort / "pred", cohort / "ref", cohort / "flat", settings=FAST, group=cohort / "group.csv")
    nested(cohort / "pred")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "one", settings=FAST, group=cohort / "group.csv")
    nested(cohort / "ref")
    both = evaluate(cohort / "pred", cohort / "ref", cohort / "two", settings=FAST, group=cohort / "group.csv")
    for made in (found, both):
        pd.testing.assert_frame_equal(made.cases, flat.cases)
        assert (made.failed, made.notes) == (flat.failed, flat.notes)
        assert made.summary["inputs"]["predictions"] == flat.summary["inputs"]["predictions"]


def test_where_it_is_open_which_mask_is_meant_a_table_names_it(cohort):
    flat = evaluate(cohort / "pred", cohort / "ref", cohort / "flat", settings=FAST)
    for place in sorted(nested(cohort / "pred").iterdir()):
        shutil.copy(place / "mask.nii.gz", place / "brain.nii.gz")
    with pytest.raises(InputError, match=r"4 folders in forms .*or name them in a table \(--cases of"):
        evaluate(cohort / "pred", cohort / "ref", cohort / "one", settings=FAST)
    rows = [f"{case},{case}.nii.gz,{case}/mask.nii.gz" for case in flat.cases["case"]]
    (cohort / "cases.csv").write_text("\n".join(["case,ref,pred", *rows]))
    table = evaluate(cohort / "pred", cohort / "ref", cohort / "two", settings=FAST, cases=cohort / "cases.csv")
    pd.testing.assert_frame_equal(table.cases, flat.cases)
