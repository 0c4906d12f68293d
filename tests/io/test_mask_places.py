"""Files of one name belong together where their folders do not speak against it; labels, where there is one."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctseg.errors import InputError
from ctseg.evaluation.cases import match_cases
from ctseg.evaluation.evaluate import _scan_notes
from ctseg.evaluation.scans import APART as APART_SCAN
from ctseg.evaluation.scans import SEVERAL, Scans
from ctseg.io.case import Case
from ctseg.io.discover import discover
from ctseg.preprocess.masks import given_masks

APART = {
    "sessions": (["ses-1/a"], ["ses-2/a"]),
    "BIDS": (["sub-01/ses-1/anat/sub-01_ses-1_mask"], ["sub-01/ses-2/anat/sub-01_ses-1_mask"]),
    "patients": (["BraTS-GLI-00000-001/x-seg"], ["BraTS-GLI-00000-000/x-seg"]),
    "times": (["baseline/a"], ["FollowUp/a"]),
    "days": (["2020-01-01/a"], ["2021-05-05/a"]),
    "readers": (["readerA/a"], ["readerB/a"]),
    "folds": (["fold_0/a", "fold_1/b"], ["fold_1/a", "fold_0/b"]),
    "crossed": (["anna/one", "ben/two"], ["anna/two", "ben/one"]),
    "one of many": (["ses-1/a", "ses-1/b"], ["ses-1/a", "ses-2/b"]),
}
TOGETHER = {
    "folds and none": (["fold_0/validation/a", "fold_1/validation/b"], ["labelsTr/a", "labelsTr/b"]),
    "a reader": (["a", "b"], ["reader1/a", "reader1/b"]),
    "leading zeros": (["ses-01/a"], ["ses-1/labels/a"]),
    "upper case": (["SES-1/a"], ["ses-1/a"]),
    "folders' names": (["anna/mask", "ben/mask"], ["fold_1/anna", "fold_2/ben"]),
    "BIDS": (["sub-01/anat/sub-01_mask"], ["sub-01/ses-1/anat/sub-01_mask"]),
}


def fill(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


@pytest.mark.parametrize("name", APART)
def test_masks_in_folders_that_disagree_are_no_pair(tmp_path: Path, name: str) -> None:
    pred, ref = (fill(tmp_path / side, names) for side, names in zip(("pred", "ref"), APART[name], strict=True))
    with pytest.raises(InputError, match=r"pred/.*: has the name of .*ref/.*, and .* is not .*--cases"):
        match_cases([pred], ref)


@pytest.mark.parametrize("name", TOGETHER)
def test_masks_in_folders_that_agree_are_pairs(tmp_path: Path, name: str) -> None:
    pred, ref = (fill(tmp_path / side, names) for side, names in zip(("pred", "ref"), TOGETHER[name], strict=True))
    matching = match_cases([pred], ref)
    assert all(job.preds[0] is not None for job in matching.jobs)
    assert matching.elsewhere == ()


def test_masks_in_folders_of_other_names_are_said(tmp_path: Path) -> None:
    pred, ref = fill(tmp_path / "pred", ["anna/one"]), fill(tmp_path / "ref", ["ben/one"])
    assert match_cases([pred], ref).elsewhere == (
        "pred: 1 pair of one name in folders of other names, such as anna/one.nii.gz and ben/one.nii.gz; are they of "
        "one scan?",
    )


def test_a_file_that_a_table_names_twice_is_said(tmp_path: Path) -> None:
    pred, ref, table = fill(tmp_path / "pred", ["a", "b"]), fill(tmp_path / "ref", ["a", "b"]), tmp_path / "pairs.csv"
    rows = {"copied": "a,a.nii.gz,a.nii.gz\nb,b.nii.gz,a.nii.gz\n", "own": "a,a.nii.gz,a.nii.gz\nb,b.nii.gz,b.nii.gz\n"}
    for name, said in (("copied", ("pairs.csv: names a.nii.gz for several cases; is that meant?",)), ("own", ())):
        table.write_text(f"case,ref,pred\n{rows[name]}")
        assert match_cases([pred], ref, table=table).elsewhere == said


def test_a_mask_of_another_session_is_not_its_scans(tmp_path: Path) -> None:
    masks = fill(tmp_path / "masks", ["ses-1/a", "ses-1/b", "all/c"])
    scans = {"a": "ses-2/a.nii.gz", "b": "ses-1/b.nii.gz", "c": "ses-3/c.nii.gz"}
    cases = [Case(name, name, "nifti", "ct", (tmp_path / "scans" / file,)) for name, file in scans.items()]
    found, left = given_masks(masks, cases)
    assert sorted(found) == ["b", "c"]
    assert [str(item) for item in left] == [
        f"{masks / 'ses-1/a.nii.gz'}: a mask in ses-1 of a scan in ses-2; put it into the folder of masks itself, if "
        "it is this scan's"
    ]


def save(folder: Path, *names: str) -> None:
    """Volumes, those with a word for a mask in their path as masks."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.zeros((8, 8, 4), np.uint8)
        values[2:4, 2:4, 2] = 1
        if not any(word in name for word in ("mask", "seg", "label")):
            values = np.random.default_rng(0).normal(30, 5, values.shape).astype(np.int16)
            values[0] = -1000
        nib.save(nib.Nifti1Image(values, np.diag([20.0, 20.0, 5.0, 1.0])), path)


@pytest.mark.parametrize(
    "labels",
    [("a_seg.nii", "a_seg.nii.gz"), ("a_seg.nii.gz", "a_mask.nii.gz"), ("labels/a.nii.gz", "masks/a.nii.gz")],
)
def test_a_scan_of_two_labels_has_none(tmp_path: Path, labels: tuple[str, ...]) -> None:
    scan = "images/a.nii.gz" if "/" in labels[0] else "a.nii.gz"
    save(tmp_path, scan, *labels)
    found = discover(tmp_path)
    assert [case.label_file for case in found.cases] == [None]
    reason = "one of several labels of its scan, which has none then; keep one of them"
    assert {str(item) for item in found.rejected} == {f"{tmp_path / name}: {reason}" for name in labels}


def test_labels_of_training_and_test_are_of_their_own_images(tmp_path: Path) -> None:
    save(tmp_path, *(f"{kind}{split}" for split in ("Tr/a.nii.gz", "Ts/a.nii.gz") for kind in ("images", "labels")))
    found = {case.files[0].parent.name: case.label_file for case in discover(tmp_path).cases}
    assert found == {f"images{split}": tmp_path / f"labels{split}/a.nii.gz" for split in ("Tr", "Ts")}


def test_scans_of_one_name_are_said(tmp_path: Path) -> None:
    save(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "a_seg.nii.gz", "b.nii.gz")
    said = "another scan beside it has the same name but for contrast, channel or suffix; each counts as a scan"
    assert {case.case_id: case.notes for case in discover(tmp_path).cases} == {
        "a_0000": (said,), "a_0001": (said,), "b": ()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mask", "scans", "refused"),
    [
        ("ses-1/a.nii.gz", ["ses-2/a.nii.gz"], APART_SCAN.format("ses-2", "ses-1")),
        ("baseline/a.nii.gz", ["follow-up/a.nii.gz"], APART_SCAN.format("follow-up", "baseline")),
        ("ses-1/a.nii.gz", ["ses-01/a.nii.gz"], ""),
        ("ses-1/a.nii.gz", ["a.nii.gz"], ""),
        ("a.nii.gz", ["ses-2/a.nii.gz"], ""),
        ("a.nii.gz", ["ses-1", "ses-2"], SEVERAL),
        ("a.nii.gz", ["ses-1/a.nii.gz", "ses-2/a.nii.gz"], SEVERAL),
        ("a.nii.gz", ["ses-1", "ses-1/a.nii.gz"], ""),
    ],
)
def test_a_scan_of_another_visit_is_not_taken_by_its_name(
    tmp_path: Path, mask: str, scans: list[str], refused: str
) -> None:
    """It had been shown behind the masks, and given its grid to DICOM masks."""
    for side in ("pred_masks", "ref_masks"):
        save(tmp_path, f"{side}/{mask}")
    files = [name if name.endswith(".gz") else f"{name}/a.nii.gz" for name in scans]
    save(tmp_path / "scans", *files)
    images = [tmp_path / "scans"] if len(scans) == 1 else [tmp_path / "scans" / name for name in scans]
    matching = match_cases([tmp_path / "pred_masks"], tmp_path / "ref_masks")
    found = Scans(matching, images)
    (job,) = matching.jobs
    assert found.knows(job) is (refused == "")
    assert found.volume(job)[1] == refused
    assert (found.volume(job)[0] is None) is (refused != "")
    said = [f"scans: no scan for 1 of 1 cases, such as a; their pictures have a black background ({refused})"]
    if len(images) == 1:
        assert _scan_notes(matching, found) == (said if refused else [])
