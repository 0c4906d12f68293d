"""The scans behind the report's pictures: given as `segment` takes them, or remembered by its folder without a name."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))

from segment_helpers import Head, NonAirIsBrain, Stack, bright_models, write_dicom

from ctseg.evaluation.cases import match_cases
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.scans import CHANGED, MOVED, Scans
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.private import deidentified
from ctseg.outputs import guard_output

pytestmark = pytest.mark.slow

PLAIN = SegmentSettings(preview=False, dicom_seg=False)
PATIENT = "Quixotic_Jane_19610203"
STACK = Stack(np.arange(8) * 5.0, tilt_deg=0.0)


def segmented(inputs, out, settings=PLAIN, **more):
    found = discover(inputs, "ct")
    found = deidentified(found) if settings.deidentify else found
    return segment_cases(found.cases, bright_models(), out, settings, extractor=NonAirIsBrain(), **more)


def write_scans(folder):
    """A DICOM series, another one in a zip, and a NIfTI file, in folders that are named after a patient."""
    write_dicom(folder / PATIENT / "series", STACK, Head(), number="1")
    zipped = write_dicom(folder / "unzipped", STACK, Head(blood_centre=(-10, 5, 0)), number="2")
    with zipfile.ZipFile(folder / PATIENT / f"{PATIENT}.zip", "w") as archive:
        for file in sorted(zipped.iterdir()):
            archive.write(file, f"{PATIENT}/{file.name}")
    shutil.rmtree(zipped)
    voxels = np.moveaxis(Head(blood_centre=(0, -20, 3)).hu(STACK.points()), (0, 1, 2), (2, 1, 0))
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([-1.5, -1.5, 5, 1])), folder / "scan_3.nii.gz")
    return folder


@pytest.fixture
def tree(tmp_path):
    """Scans in `scans`, their masks in `masks`."""
    rows = segmented([write_scans(tmp_path / "scans")], tmp_path / "masks")
    assert [row.status for row in rows] == ["ok"] * 3
    return tmp_path


def volumes(tree, **more):
    """Case -> (what `Scans` reads, its remark), of masks that are their own reference."""
    matching = match_cases([tree / "masks"], tree / "masks")
    scans = Scans(matching, **more)
    return {job.case: (scans.volume(job), scans.knows(job)) for job in matching.jobs}


def assert_found(tree, where, **more):
    found = volumes(tree, **more)
    true = {case.case_id: read_case(case) for case in discover([where], "ct").cases}
    assert len(found) == 3
    for name, ((volume, remark), known) in found.items():
        assert remark == ""
        assert known
        np.testing.assert_array_equal(volume.voxels, true[name].voxels)


def test_a_segmentation_remembers_its_scans_without_a_name(tree):
    assert_found(tree, tree / "scans")
    for path in (tree / "masks").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for word in ("Quixotic", "19610203", "series", "000.dcm", "scans/"):
            assert word.encode() not in data
            assert word not in path.name


def test_a_tree_may_be_moved_as_a_whole_or_the_masks_alone(tree):
    shutil.copytree(tree / "masks", tree / "elsewhere" / "masks")
    assert_found(tree / "elsewhere", tree / "scans")
    (tree / "new").mkdir()
    for part in ("scans", "masks"):
        (tree / part).rename(tree / "new" / part)
    assert_found(tree / "new", tree / "new" / "scans")


def test_scans_are_taken_from_what_is_given_by_name_and_else_by_their_bytes(tree):
    shutil.move(tree / "scans", tree / "given")
    assert {remark for (_, remark), _ in volumes(tree).values()} == {MOVED}
    assert_found(tree, tree / "given", images=[tree / "given"])
    (tree / "given" / "scan_3.nii.gz").rename(tree / "given" / "other.nii.gz")
    (volume, remark), known = volumes(tree, images=[tree / "given"])["scan_3"]
    assert (volume.voxels.shape, remark, known) == ((8, 64, 64), "", True)
    (tree / "masks" / ".ctseg.json").unlink()
    (tree / "given" / "other.nii.gz").unlink()
    assert volumes(tree, images=[tree / "given"])["scan_3"] == ((None, "no scan of this name"), False)


def test_another_scan_in_the_place_of_the_first_is_not_shown(tree):
    file = next((tree / "scans" / PATIENT / "series").iterdir())
    file.write_bytes(file.read_bytes()[:-2] + b"\0\4")
    nib.save(nib.Nifti1Image(np.zeros((64, 64, 8), np.int16), np.eye(4)), tree / "scans" / "scan_3.nii.gz")
    remarks = sorted(remark for (_, remark), _ in volumes(tree).values())
    assert remarks == ["", CHANGED, CHANGED]


def test_a_resumed_segmentation_remembers_the_scans_of_all_calls(tree):
    (tree / "more").mkdir()
    shutil.copy(tree / "scans" / "scan_3.nii.gz", tree / "more" / "scan_4.nii.gz")
    segmented([tree / "more"], tree / "masks", resume=True)
    found = volumes(tree)
    assert len(found) == 4
    assert all(volume is not None for (volume, _), _ in found.values())


def test_no_memory_is_kept_where_no_name_may_pass(tree):
    segmented([tree / "scans"], tree / "hidden", PLAIN.model_copy(update={"deidentify": True}))
    assert json.loads((tree / "hidden" / ".ctseg.json").read_text())["inputs"] == {}
    matching = match_cases([tree / "hidden"], tree / "hidden")
    assert not any(Scans(matching).knows(job) for job in matching.jobs)
    given = Scans(matching, [tree / "scans"])
    assert all(given.volume(job)[0] is not None for job in matching.jobs)


BROKEN = (
    None,
    [],
    {"here": 3},
    {"here": [], "folders": [3], "cases": {}},
    {"here": [], "folders": [], "cases": {"scan_3": {"kind": "nifti", "domain": "ct", "files": [[0, ["a"]]]}}},
    {"here": [], "folders": [[]], "cases": {"scan_3": {
        "kind": "nifti", "domain": "ct", "files": [[-1, ["../a"]]], "channel": None, "orientation": None,
        "members": None}}},
)  # fmt: skip


def test_a_broken_mark_is_passed_over(tree):
    mark = json.loads((tree / "masks" / ".ctseg.json").read_text())
    for scans in BROKEN:
        (tree / "masks" / ".ctseg.json").write_text(json.dumps({**mark, "inputs": {"scans": scans}}))
        assert {remark for (_, remark), _ in volumes(tree).values()} == {""}
        assert not any(known for _, known in volumes(tree).values())


def test_the_report_says_where_no_scan_is_known(tree):
    settings = EvaluationSettings(resamples=100, permutations=100, pictured_cases=1)
    found = evaluate(tree / "masks", tree / "masks", tree / "evaluation", settings=settings)
    assert not any("background" in note for note in found.notes)
    (tree / "masks" / ".ctseg.json").unlink()
    found = evaluate(tree / "masks", tree / "masks", tree / "without", settings=settings)
    (note,) = [note for note in found.notes if "background" in note]
    assert note.startswith("no scan is known for 3 of 3 cases, such as")
    assert note in (tree / "without" / "report.html").read_text()


def test_calls_that_share_an_output_remember_the_scans_too(tree):
    place = guard_output(tree / "shared", "segment", share=True)
    rows = segmented([tree / "scans"], place)
    assert [row.status for row in rows] == ["ok"] * 3
    matching = match_cases([tree / "shared"], tree / "shared")
    assert all(Scans(matching).volume(job)[0] is not None for job in matching.jobs)
