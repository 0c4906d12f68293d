"""References and predictions that have changed places are noticed; masks that are only alike are not."""

from __future__ import annotations

import json
import shutil

import pytest

from ctseg.cli.main import main
from ctseg.errors import InputError
from ctseg.evaluation.cases import match_cases, matching_digests
from ctseg.evaluation.roles import check_roles, same_notes
from ctseg.inference.results import SCHEMA, files_of
from ctseg.outputs import Mark
from ctseg.outputs.mark import write_mark

CASES = ("a_1", "a_2", "b_1", "b_2")


def segmented(folder, *, marked=True, cases=CASES):
    """Give a folder what `ctseg segment` leaves beside its masks."""
    rows = [{"case": case, "status": "ok"} for case in cases]
    (folder / "volumes.json").write_text(json.dumps({"schema": SCHEMA, "models": [], "cases": rows}))
    if marked:
        write_mark(folder, Mark("segment", tuple(files_of(cases))))


def roles(cohort, pred="pred", ref="ref", **more):
    return check_roles(match_cases([cohort / pred], cohort / ref, **more))


def test_masks_of_other_programs_and_people_are_taken_as_they_are_given(cohort):
    assert roles(cohort) == []
    assert roles(cohort, "ref", "pred") == []


@pytest.mark.parametrize("marked", [True, False])
def test_a_segmentation_behind_ref_is_refused_where_no_prediction_is_a_models(cohort, marked):
    segmented(cohort / "pred", marked=marked)
    assert roles(cohort) == []
    with pytest.raises(InputError, match=r"--ref .*pred: 4 of 4 references were made by `ctseg segment`, .* swap"):
        roles(cohort, "ref", "pred")


def test_the_mark_alone_tells_too(cohort):
    write_mark(cohort / "pred", Mark("segment", tuple(files_of(CASES))))
    with pytest.raises(InputError, match="swap --pred and --ref"):
        roles(cohort, "ref", "pred")


def test_masks_of_a_bids_app_are_told_by_the_mark_above_them(cohort):
    place = cohort / "derivatives" / "sub-01" / "ct"
    place.parent.mkdir(parents=True)
    shutil.move(cohort / "pred", place)
    write_mark(place.parent, Mark("bids", ("ct/*.nii.gz",)))
    with pytest.raises(InputError, match="made by `ctseg bids`"):
        roles(cohort, "ref", "derivatives/sub-01/ct")


def test_one_file_and_a_table_are_looked_at_too(cohort):
    segmented(cohort / "pred")
    with pytest.raises(InputError, match="1 of 1 references was made"):
        check_roles(match_cases([cohort / "ref" / "a_1.nii.gz"], cohort / "pred" / "a_1.nii.gz"))
    (cohort / "t.csv").write_text("case,ref,pred\none,pred/a_1.nii.gz,ref/a_1.nii.gz\n")
    with pytest.raises(InputError, match="swap --pred and --ref"):
        check_roles(match_cases([cohort], cohort, table=cohort / "t.csv"))


def test_two_models_may_be_compared_and_it_is_said(cohort):
    segmented(cohort / "pred")
    segmented(cohort / "ref")
    assert roles(cohort) == [
        "4 of 4 references were made by a model, too: the numbers say how far models agree, not who is right"
    ]


def test_corrected_masks_are_a_reference_once_they_lie_alone(cohort):
    segmented(cohort / "pred")
    shutil.copytree(cohort / "pred", cohort / "corrected", ignore=shutil.ignore_patterns("volumes.*", ".ctseg.json"))
    assert roles(cohort, "ref", "corrected") == []


def test_a_mask_that_was_laid_beside_a_segmentation_is_not_taken_for_its_own(cohort):
    segmented(cohort / "pred", cases=("other",))
    assert roles(cohort, "ref", "pred") == []


def test_the_truth_of_a_phantom_is_no_prediction(cohort):
    truth = cohort / "phantom" / "truth" / "iph" / "test"
    truth.parent.mkdir(parents=True)
    shutil.move(cohort / "ref", truth)
    write_mark(cohort / "phantom", Mark("phantom", tuple(f"truth/iph/test/{case}.nii.gz" for case in CASES)))
    assert roles(cohort, "pred", truth.relative_to(cohort)) == []
    assert roles(cohort, truth.relative_to(cohort), truth.relative_to(cohort)) == []
    with pytest.raises(InputError, match=r"--pred .*test: is the truth of `ctseg phantom`; swap"):
        roles(cohort, truth.relative_to(cohort), "pred")


def test_the_same_masks_twice_are_said(cohort):
    shutil.copytree(cohort / "pred", cohort / "copy")
    matching = match_cases([cohort / "ref", cohort / "copy"], cohort / "pred")
    assert same_notes(matching_digests(matching, {})) == [
        "copy: every prediction is its reference, byte for byte; is --ref the right folder?"
    ]


def test_the_command_says_it_in_one_line_and_leaves_nothing(cohort, capsys):
    segmented(cohort / "pred")
    out = cohort / "out"
    assert main(["evaluate", "--pred", str(cohort / "ref"), "--ref", str(cohort / "pred"), "-o", str(out)]) == 2
    _, err = capsys.readouterr()
    assert len(err.splitlines()) == 1, err
    assert not out.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"cases": 3}', '{"schema": "ctseg-volumes/1", "cases": [3, {"case": 1}]}'])
def test_a_broken_list_of_cases_decides_nothing(cohort, text):
    (cohort / "pred" / "volumes.json").write_text(text)
    assert roles(cohort, "ref", "pred") == []
