"""Cases in worker processes, missing predictions that count as empty, and scans that are not there."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from killed_worker import DeadlyPath

from ctseg.evaluation.cases import Job, Matching, match_cases
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.pictures import load_example
from ctseg.evaluation.scans import Scans
from ctseg.evaluation.settings import EvaluationSettings

pytestmark = pytest.mark.slow

FAST = EvaluationSettings(resamples=200, permutations=200, pictured_cases=0)


def write_scan(path, shape=(16, 16, 4), shift_mm=0.0):
    """On the grid of the masks, or beside it by `shift_mm` to the left."""
    path.parent.mkdir(exist_ok=True)
    affine = np.diag([-0.5, -0.5, 5.0, 1.0])
    affine[0, 3] = -shift_mm
    nib.save(nib.Nifti1Image(np.full(shape, 40, np.int16), affine), path)


def test_worker_processes_change_nothing(cohort):
    (cohort / "pred" / "a_2.nii.gz").write_bytes(b"broken")
    found = [evaluate(cohort / "pred", cohort / "ref", cohort / f"out{n}", settings=FAST, workers=n) for n in (0, 2)]
    assert found[0].cases.equals(found[1].cases)
    assert found[0].failed == found[1].failed != ()
    assert (cohort / "out0" / "summary.json").read_bytes() == (cohort / "out2" / "summary.json").read_bytes()


@pytest.mark.slow
def test_a_killed_worker_costs_one_case(cohort, monkeypatch):
    def with_a_deadly_case(*arguments, **more):
        matching = match_cases(*arguments, **more)
        first, *rest = matching.jobs
        return replace(matching, jobs=(replace(first, ref=DeadlyPath(first.ref)), *rest))

    monkeypatch.setattr("ctseg.evaluation.evaluate.match_cases", with_a_deadly_case)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, workers=2)
    (failed,) = found.failed
    assert failed.startswith("pred: a_1: a worker process was killed")
    assert list(found.cases["status"]) == ["failed", "ok", "ok", "ok"]


def test_a_missing_prediction_counts_as_empty_where_asked_for(cohort):
    (cohort / "pred" / "a_1.nii.gz").unlink()
    (cohort / "pred" / "b_2.nii.gz").unlink()
    settings = FAST.model_copy(update={"missing": "empty"})
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=settings)
    table = found.cases.set_index("case")
    assert found.failed == ()
    assert "pred: 2 references without a prediction scored as empty" in found.notes
    assert (table.loc["a_1", "dice"], table.loc["a_1", "pred_ml"], table.loc["a_1", "lesions_fn"]) == (0, 0, 1)
    assert table.loc["a_1", "message"] == "no prediction: scored as empty"
    assert np.isnan(table.loc["b_2", "dice"])
    model = found.summary["models"][0]
    assert model["by_volume"]["dice"]["mean"]["value"] == pytest.approx((0 + 2 / 3 + 0) / 3)
    assert (model["cases"], model["missed_cases"], model["both_empty"]) == (4, 2, 1)


def test_a_broken_prediction_stays_a_failure(cohort):
    (cohort / "pred" / "a_1.nii.gz").write_bytes(b"broken")
    settings = FAST.model_copy(update={"missing": "empty"})
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=settings)
    assert len(found.failed) == 1


def test_scans_that_are_not_there_are_said(cohort):
    write_scan(cohort / "scans" / "a_1.nii.gz")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, images=cohort / "scans")
    (note,) = [note for note in found.notes if note.startswith("scans:")]
    assert note.startswith("scans: no scan for 3 of 4 cases, such as a_2;")
    assert note in (cohort / "out" / "report.html").read_text()


def test_a_scan_on_another_grid_or_broken_is_said_below_its_picture(cohort):
    write_scan(cohort / "scans" / "a_1.nii.gz")
    write_scan(cohort / "scans" / "a_2.nii.gz", (8, 8, 4))
    (cohort / "scans" / "b_1.nii.gz").write_bytes(b"broken")
    write_scan(cohort / "scans" / "b_2.nii.gz", shift_mm=0.2)
    settings = FAST.model_copy(update={"pictured_cases": 3})
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=settings, images=cohort / "scans")
    assert not any(note.startswith("scans") for note in found.notes)
    page = (cohort / "out" / "report.html").read_text()
    assert "(a_2.nii.gz is on another grid)" in page
    assert "(b_1.nii.gz cannot be read)" in page
    assert "a_1.nii.gz is" not in page
    assert "b_2.nii.gz lies" not in page


def test_a_scan_or_a_mask_of_another_place_is_not_drawn_as_if_it_were_of_this_one(cohort, masks):
    write_scan(cohort / "scans" / "a_1.nii.gz", shift_mm=3.0)
    job = Job("a_1", "a", cohort / "ref" / "a_1.nii.gz", (cohort / "pred" / "a_1.nii.gz",) * 2)
    matching = Matching(("one", "two"), (job,), {}, "")
    beside = load_example(job, matching.models, Scans(matching, [cohort / "scans"]), FAST)
    assert not beside.grey.any()
    assert beside.remark == "a_1.nii.gz lies up to 3 mm from the reference"
    moved = masks.scan()
    above = replace(moved, origins_mm=np.add(moved.origins_mm, [0, 0, 5.0]))
    masks.write(cohort / "moved", "a_1", masks.box(moved), above)
    mixed = replace(job, preds=(job.preds[0], cohort / "moved" / "a_1.nii.gz"))
    write_scan(cohort / "scans" / "a_1.nii.gz")
    drawn = load_example(mixed, matching.models, Scans(matching, [cohort / "scans"]), FAST)
    assert [outline.name for outline in drawn.outlines] == ["reference", "one"]
    assert drawn.grey.all()
    assert not drawn.remark
