"""Whole evaluations of small masks written as real files."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctseg.errors import InputError
from ctseg.evaluation.cases import match_cases, model_names
from ctseg.evaluation.evaluate import evaluate
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.nifti.volumes import save_mask, sidecar_path

pytestmark = pytest.mark.slow

FAST = EvaluationSettings(resamples=200, permutations=200, pictured_cases=0)


def row_of(evaluation, case, model="pred"):
    table = evaluation.cases
    return table[(table["case"] == case) & (table["model"] == model)].iloc[0]


def test_numbers_by_hand(cohort):
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, group=cohort / "group.csv")
    assert found.failed == ()
    assert found.notes[0] == "patient from group.csv"
    assert [note.partition(",")[0] for note in found.notes[1:]] == ["no scan is known for 4 of 4 cases"]
    assert row_of(found, "a_1")["dice"] == 1
    assert row_of(found, "a_2")["dice"] == pytest.approx(2 / 3)
    assert row_of(found, "b_1")["dice"] == 0
    assert math.isnan(row_of(found, "b_2")["dice"])
    assert row_of(found, "a_1")["ref_ml"] == pytest.approx(2 * 64 * 0.25 * 5 / 1000)
    model = found.summary["models"][0]
    assert model["by_volume"]["dice"]["mean"]["value"] == pytest.approx((1 + 2 / 3) / 3)
    assert model["by_volume"]["dice"]["median"]["value"] == pytest.approx(2 / 3)
    assert model["pooled"]["dice"]["value"] == pytest.approx(2 * (128 + 64) / (2 * (128 + 64) + 64 + 128))
    assert model["detection"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert model["detection"]["specificity"]["value"] == 1
    assert model["by_volume"]["hd95_mm"]["undefined"] == 1
    assert (model["cases"], model["patients"], model["with_lesion"]) == (4, 2, 3)
    assert (model["both_empty"], model["missed_cases"]) == (1, 1)


def test_a_perfect_specificity_of_one_patient_is_not_given_as_certain(cohort):
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, group=cohort / "group.csv")
    specificity = found.summary["models"][0]["detection"]["specificity"]
    assert (specificity["value"], specificity["high"]) == (1, 1)
    assert specificity["low"] == pytest.approx(0.025)


def test_files_written_are_the_numbers_returned(cohort):
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    table = pd.read_csv(cohort / "out" / "cases.csv")
    assert table["dice"].tolist() == pytest.approx(found.cases["dice"].tolist(), rel=1e-5, nan_ok=True)
    summary = json.loads((cohort / "out" / "summary.json").read_text())
    assert summary == found.summary
    assert summary["schema"] == "ctseg-evaluation/1"
    assert {"tool", "versions", "settings", "metrics", "rules"} <= set(summary)
    assert (cohort / "out" / "report.html").stat().st_size > 10_000


def test_the_same_under_a_seed(cohort):
    for name in ("one", "two"):
        evaluate(cohort / "pred", cohort / "ref", cohort / name, settings=FAST)
    for file in ("cases.csv", "summary.json", "report.html"):
        assert (cohort / "one" / file).read_bytes() == (cohort / "two" / file).read_bytes()


def test_what_is_missing_on_either_side_is_said(cohort, masks):
    (cohort / "pred" / "a_1.nii.gz").unlink()
    masks.write(cohort / "pred", "extra", masks.box(masks.scan()))
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    assert [text for text in found.failed if "a_1: no prediction" in text] == list(found.failed)
    assert found.summary["models"][0]["failed"].keys() == {"a_1"}
    assert found.summary["predictions_without_reference"] == {"pred": ["extra"]}
    assert any("extra" in note for note in found.notes)
    assert found.summary["models"][0]["cases"] == 3
    page = (cohort / "out" / "report.html").read_text()
    assert "a_1: no prediction" in page
    assert "extra" in page


def test_another_grid_fails_that_case_and_names_both_files(cohort, masks):
    wide = masks.scan(shape=(16, 20))
    masks.write(cohort / "pred", "a_1", masks.box(wide), wide)
    moved = replace(masks.scan(), origins_mm=masks.scan().origins_mm + np.array([0, 0, 3.0]))
    masks.write(cohort / "pred", "a_2", masks.box(moved), moved)
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    messages = found.summary["models"][0]["failed"]
    assert "4 x 16 x 20" in messages["a_1"]
    assert "3.00 mm apart" in messages["a_2"]
    for case, message in messages.items():
        assert str(cohort / "pred" / f"{case}.nii.gz") in message
        assert str(cohort / "ref" / f"{case}.nii.gz") in message
    assert found.summary["models"][0]["cases"] == 2


def test_unreadable_masks_fail_their_case_only(cohort):
    (cohort / "pred" / "a_1.nii.gz").write_text("no mask")
    (cohort / "ref" / "b_1.nii.gz").write_bytes((cohort / "ref" / "b_1.nii.gz").read_bytes()[:60])
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    assert set(found.summary["models"][0]["failed"]) == {"a_1", "b_1"}
    assert all("\n" not in text for text in found.failed)


def test_nothing_measured_still_gives_a_report(cohort):
    for path in (cohort / "pred").glob("*.nii.gz"):
        path.write_text("no mask")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    assert len(found.failed) == 4
    assert "No case could be measured" in (cohort / "out" / "report.html").read_text()


def test_uneven_tilted_slices_are_measured_where_they_are(tmp_path, masks):
    volume = masks.scan("one", z=[0, 4.2, 8.4, 9.5, 16.9], tilt=0.3)
    ref, pred = masks.box(volume, slices=slice(1, 2)), masks.box(volume, slices=slice(3, 4))
    masks.write(tmp_path / "ref", "one", ref, volume)
    masks.write(tmp_path / "pred", "one", pred, volume)
    row = row_of(evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out", settings=FAST), "one")
    assert row["ref_ml"] == pytest.approx(64 * 0.25 * 4.2 / 1000)
    assert row["pred_ml"] == pytest.approx(64 * 0.25 * 4.25 / 1000)
    shift = 0.3 * 5.3  # the upper slice lies this much further along the rows
    rows, cols = np.mgrid[4:12, 4:12]
    rim = (rows == 4) | (rows == 11) | (cols == 4) | (cols == 11)
    rim = np.ones_like(rim)  # a slab of one slice is all surface
    points = np.stack([rows[rim], cols[rim]], axis=1) * 0.5
    gap = points[:, None] + [shift, 0] - points[None]
    nearest = np.sqrt((gap**2).sum(-1) + 5.3**2).min(axis=1)
    assert row["hd95_mm"] == pytest.approx(np.percentile(nearest, 95), abs=1e-3)


def test_another_tool_s_mask_without_sidecar_is_compared_on_the_true_positions(tmp_path, masks):
    volume = masks.scan("one", z=[0, 4.2, 8.4, 9.5, 16.9])
    masks.write(tmp_path / "ref", "one", masks.box(volume), volume)
    masks.write(tmp_path / "pred", "one", masks.box(volume), volume)
    sidecar_path(tmp_path / "pred" / "one.nii.gz").unlink()
    row = row_of(evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out", settings=FAST), "one")
    assert row["status"] == "ok"
    assert row["pred_ml"] == row["ref_ml"] == pytest.approx(64 * 0.25 * (4.2 + 2.65) / 1000)


def test_masks_in_another_voxel_order_are_the_same_mask(tmp_path, masks):
    mask = masks.box(masks.scan())
    masks.write(tmp_path / "ref", "one", mask)
    image = nib.load(tmp_path / "ref" / "one.nii.gz")
    (tmp_path / "pred").mkdir()
    turned = image.as_reoriented(nib.orientations.axcodes2ornt(("S", "R", "A")))
    assert turned.shape != image.shape
    nib.save(turned, tmp_path / "pred" / "one.nii.gz")
    row = row_of(evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out", settings=FAST), "one")
    assert row["dice"] == 1


def test_chosen_label_values_are_the_lesion(tmp_path, masks):
    volume = masks.scan("one")
    ref = masks.box(volume) * 2
    ref[0, :3, :3] = 5
    masks.write(tmp_path / "ref", "one", ref, volume)
    masks.write(tmp_path / "pred", "one", masks.box(volume), volume)
    settings = FAST.model_copy(update={"reference_labels": (2,)})
    assert row_of(evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "a", settings=settings), "one")["dice"] == 1
    assert row_of(evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "b", settings=FAST), "one")["dice"] < 1


def test_two_models_are_compared_on_the_cases_both_have(cohort, masks):
    for case in ("a_1", "a_2", "b_1"):
        masks.write(cohort / "better", case, masks.box(masks.scan()))
    found = evaluate([cohort / "pred", cohort / "better"], cohort / "ref", cohort / "out", settings=FAST)
    assert found.failed == ("better: b_2: no prediction; segment this case too, or take its reference out",)
    rows = {row["metric"]: row for row in found.summary["comparisons"]}
    assert (rows["dice_mean"]["first"], rows["dice_mean"]["second"]) == ("pred", "better")
    assert rows["dice_mean"]["difference"] == pytest.approx(1 - (1 + 2 / 3) / 3)
    assert rows["dice_mean"]["cases"] == 3
    assert rows["dice_mean"]["p_value"] == pytest.approx(4 / 8)
    assert rows["hd95_mm_mean"]["cases"] == 2
    assert rows["dice_mean"]["p_holm"] == 1


def rsna_labels(path, labels):
    names = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
    lines = ["ID,Label"]
    for slice_id, found in labels.items():
        lines += [f"{slice_id}_{name},{int(name in found or (name == 'any' and bool(found)))}" for name in names]
    path.write_text("\n".join(lines) + "\n")


def test_negatives_by_subtype_from_rsna_labels(tmp_path, masks):
    volume = masks.scan("p")
    ref = masks.box(volume, slices=slice(1, 2))
    pred = ref.copy()
    pred[2, :2, :2] = 1
    ids = [f"ID_{index}" for index in range(4)]
    masks.write(tmp_path / "ref", "p", ref, volume, ids)
    masks.write(tmp_path / "pred", "p", pred, volume)
    masks.write(tmp_path / "ref", "q", np.zeros_like(ref), volume, [f"ID_q{index}" for index in range(4)])
    masks.write(tmp_path / "pred", "q", np.zeros_like(ref), volume)
    labels = {"ID_0": (), "ID_1": ("intraparenchymal",), "ID_2": ("subarachnoid", "subdural"), "ID_3": ()}
    labels |= {"ID_q0": ("subdural",), "ID_q1": (), "ID_q2": (), "ID_q3": (), "ID_other": ("epidural",)}
    rsna_labels(tmp_path / "labels.csv", labels)
    found = evaluate(
        tmp_path / "pred", tmp_path / "ref", tmp_path / "out", settings=FAST, labels=tmp_path / "labels.csv"
    )
    rows = {(row["by"], row["subtype"]): row for row in found.summary["models"][0]["subtypes"]}
    counts = {key: row["count"] for key, row in rows.items()}
    assert counts[("slice", "none")] == 5
    assert counts[("slice", "subarachnoid")] == 1
    assert counts[("slice", "subdural")] == 2
    assert counts[("slice", "intraparenchymal")] == counts[("slice", "epidural")] == 0
    assert rows[("slice", "subdural")]["specificity"]["value"] == 0.5
    assert rows[("slice", "subarachnoid")]["fp_ml_max"] == pytest.approx(4 * 0.25 * 5 / 1000)
    assert counts[("case", "subdural")] == 1
    assert rows[("case", "subdural")]["specificity"]["value"] == 1


def test_negatives_by_subtype_from_a_table_of_cases(cohort):
    (cohort / "labels.csv").write_text("case,subdural,epidural\na_1,0,0\nb_2,1,0\n")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, labels=cohort / "labels.csv")
    rows = {(row["by"], row["subtype"]): row for row in found.summary["models"][0]["subtypes"]}
    assert rows[("case", "subdural")]["count"] == 1
    assert rows[("case", "none")]["count"] == 0
    assert rows[("slice", "subdural")]["count"] == 0
    assert any("labels.csv: 2 of 4 cases have no label" in note for note in found.notes)


def test_patients_from_ctseg_s_dicom_names_or_the_case_itself(tmp_path, masks):
    for case in ("P0123456789_abcdef", "P0123456789_000000-1a2b3c", "brain_1", "brain_2"):
        masks.write(tmp_path / "ref", case, masks.box(masks.scan()))
    found = match_cases([tmp_path / "ref"], tmp_path / "ref")
    assert found.patient_rule == "patients from ctseg's DICOM case names for 2 cases, the other 2 a patient each"
    assert {job.case: job.patient for job in found.jobs} == {
        "P0123456789_abcdef": "P0123456789",
        "P0123456789_000000-1a2b3c": "P0123456789",
        "brain_1": "brain_1",
        "brain_2": "brain_2",
    }


def test_matching_by_table(cohort):
    (cohort / "pairs.csv").write_text("case,ref,pred\nx,a_1.nii.gz,a_2.nii.gz\ny,a_2.nii.gz,none.nii.gz\n")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST, cases=cohort / "pairs.csv")
    assert row_of(found, "x")["dice"] == pytest.approx(2 / 3)
    assert row_of(found, "y")["status"] == "failed"


def test_references_in_other_forms_are_said_with_the_way_out(cohort):
    """A folder of NIfTI, SEG and MGZ: only the first are read. No file here names ctseg as its maker."""
    for name in ("z_1.dcm", "z_2.mgz", "a_1.dcm", "a_1_rtstruct.dcm", "readme.txt"):
        (cohort / "ref" / name).write_bytes(b"")
    found = evaluate(cohort / "pred", cohort / "ref", cohort / "out", settings=FAST)
    (note,) = [note for note in found.notes if "forms that are not read" in note]
    assert note.startswith("references: 4 files in forms that are not read (3 DICOM, 1 FreeSurfer), such as a_1.dcm;")
    assert "SimpleITK" in note
    (cohort / "segs").mkdir()
    (cohort / "segs" / "a_1.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"no mask .* in it, but 1 file in forms that are not read \(1 DICOM\)"):
        evaluate(cohort / "pred", cohort / "segs", cohort / "again", settings=FAST)


def test_model_names_are_told_apart(tmp_path):
    assert model_names([tmp_path / "one" / "masks", tmp_path / "two" / "masks"]) == ("one/masks", "two/masks")
    with pytest.raises(InputError, match="twice"):
        model_names([tmp_path, tmp_path])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: {"ref": p / "nowhere"}, "no such folder"),
        (lambda p: {"ref": p / "empty"}, "no mask"),
        (lambda p: {"pred": p / "other"}, "rename them"),
        (lambda p: {"group": p / "short.csv"}, "no patient for case a_2"),
        (lambda p: {"group": p / "labels.txt"}, "no column 'case'"),
        (lambda p: {"labels": p / "short.csv"}, "needs a column"),
        (lambda p: {"labels": p / "bad.csv"}, "'maybe' is no label"),
        (lambda p: {"cases": p / "nowhere.csv"}, "no such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(cohort, break_it, message, masks):
    (cohort / "empty").mkdir()
    masks.write(cohort / "other", "z", masks.box(masks.scan()))
    (cohort / "short.csv").write_text("case,patient\na_1,a\n")
    (cohort / "labels.txt").write_text("hello\n1\n")
    (cohort / "bad.csv").write_text("case,any\na_1,maybe\n")
    inputs = {"pred": cohort / "pred", "ref": cohort / "ref", **break_it(cohort)}
    with pytest.raises(InputError, match=message) as error:
        evaluate(inputs.pop("pred"), inputs.pop("ref"), cohort / "out", settings=FAST, **inputs)
    assert "\n" not in str(error.value)
    assert not (cohort / "out").exists()


@pytest.mark.real_data
def test_an_ellipsoid_in_a_real_tilted_uneven_series_has_its_true_volume(real_data, tmp_path):
    case = discover([real_data / "ct-ge-tilted"]).cases[0]
    volume = read_case(case)
    rows, cols = np.mgrid[: volume.voxels.shape[1], : volume.voxels.shape[2]]
    plane = rows[..., None] * volume.row_step_mm + cols[..., None] * volume.col_step_mm
    places = volume.origins_mm[:, None, None] + plane
    centre, radii = places.reshape(-1, 3).mean(axis=0), np.array([35.0, 45.0, 40.0])
    mask = (((places - centre) / radii) ** 2).sum(axis=-1) < 1
    save_mask(tmp_path / "ref" / "one.nii.gz", volume, mask)
    save_mask(tmp_path / "pred" / "one.nii.gz", volume, np.roll(mask, 10, axis=2))
    row = row_of(evaluate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out", settings=FAST), "one")
    assert row["ref_ml"] == pytest.approx(4 / 3 * np.pi * radii.prod() / 1000, rel=0.01)
    assert 0.5 * 10 * volume.spacing_mm[1] < row["hd95_mm"] <= 10 * volume.spacing_mm[1] + 1e-6


def test_the_summary_says_what_was_compared(tmp_path):
    import nibabel as nib
    import numpy as np

    from ctseg.evaluation.evaluate import evaluate as measure

    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
        for case in ("a", "b"):
            mask = np.zeros((8, 8, 4), np.uint8)
            mask[2:5, 2:5, 1:3] = 1
            nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / folder / f"{case}.nii.gz")
    first = measure(tmp_path / "pred", tmp_path / "ref", tmp_path / "one").summary["inputs"]
    assert set(first) == {"reference", "predictions"}
    nib.save(nib.Nifti1Image(np.ones((8, 8, 4), np.uint8), np.eye(4)), tmp_path / "pred" / "b.nii.gz")
    second = measure(tmp_path / "pred", tmp_path / "ref", tmp_path / "two").summary["inputs"]
    assert second["reference"] == first["reference"]
    assert second["predictions"] != first["predictions"]
