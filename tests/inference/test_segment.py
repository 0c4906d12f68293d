"""`segment_cases` end to end with a network that outlines what is bright."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pydicom
import pytest
from model_files import card_of
from segment_helpers import (
    NAME,
    NUMBER,
    UNEVEN_Z,
    BrightIsLesion,
    Head,
    KilledOn,
    NonAirIsBrain,
    Stack,
    bright_header,
    bright_model,
    bright_models,
    write_dicom,
    write_nifti,
)

import ctseg
from ctseg.cli.main import main
from ctseg.errors import InputError, OutputExistsError
from ctseg.files import write_json
from ctseg.inference import results
from ctseg.inference.label_tables import TABLES
from ctseg.inference.results import CaseResult, ResultTable
from ctseg.inference.scans import find_scans
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case
from ctseg.io.nifti.volumes import load_mask
from ctseg.models.card_files import CARD_SCHEMA
from ctseg.outputs import MARK, new_folder
from ctseg.preprocess.pipeline import preprocess
from ctseg.runs import save_model

PLAIN = SegmentSettings(preview=False, dicom_seg=False)


def run(inputs, out, settings=PLAIN, **more):
    cases = discover(inputs).cases
    return segment_cases(cases, bright_models(), out, settings, extractor=NonAirIsBrain(), **more)


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_tilted_uneven_dicom_is_outlined_where_the_blood_is(dicom_folder, tilted, tmp_path):
    (result,) = run([dicom_folder], tmp_path / "out")
    assert result.status == "ok"
    mask, volume = load_mask(tmp_path / "out" / f"{result.case}.nii.gz")
    truth = Head().inside_blood(tilted.points())
    assert mask.shape == truth.shape
    np.testing.assert_allclose(volume.origins_mm, tilted.origins, atol=1e-4)
    assert dice(mask > 0, truth) > 0.97
    assert result.ml == pytest.approx(Head().blood_ml, rel=0.02)
    assert result.lesions == 1
    assert result.slices == len(UNEVEN_Z)
    assert result.ml == pytest.approx(result.largest_ml)


def test_dicom_sidecar_names_the_slices_in_order(dicom_folder, tmp_path):
    (result,) = run([dicom_folder], tmp_path / "out")
    sidecar = json.loads((tmp_path / "out" / f"{result.case}.json").read_text())
    volume = read_case(discover(dicom_folder).cases[0])
    assert tuple(sidecar["slice_ids"]) == volume.slice_ids
    assert sidecar["tilt_deg"] == pytest.approx(18.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_axis_order_and_flip_of_nifti(axes, signs, tmp_path):
    lps = write_nifti(tmp_path / "head.nii.gz", Head(), axes, signs, (3.0, 3.0, 5.0), (32, 32, 24))
    run([tmp_path / "head.nii.gz"], tmp_path / "out")
    mask, source = nib.load(tmp_path / "out" / "head.nii.gz"), nib.load(tmp_path / "head.nii.gz")
    np.testing.assert_array_equal(mask.affine, source.affine)
    assert mask.shape == source.shape
    assert dice(np.asarray(mask.dataobj) > 0, Head().inside_blood(lps)) > 0.93


def test_mask_is_exactly_the_blood_where_model_pixels_are_native_pixels(tmp_path):
    """64 pixels of 1.5 mm both in the scan and in the model: nothing is resampled, so every voxel must be right."""
    lps = write_nifti(tmp_path / "head.nii.gz", Head())
    run([tmp_path / "head.nii.gz"], tmp_path / "out")
    mask = np.asarray(nib.load(tmp_path / "out" / "head.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, Head().inside_blood(lps))


def test_a_bad_case_is_a_row_and_the_others_finish(dicom_folder, tmp_path):
    scans = tmp_path / "John Smith"
    scans.mkdir()
    write_nifti(scans / "a.nii.gz", Head())
    write_nifti(scans / "c.nii.gz", Head())
    cases = list(discover([scans, dicom_folder]).cases)
    (scans / "a.nii.gz").write_bytes((scans / "c.nii.gz").read_bytes()[:500])
    seen = []
    results = segment_cases(
        cases, bright_models(), tmp_path / "out", PLAIN, extractor=NonAirIsBrain(), on_case=seen.append
    )
    assert sorted(result.status for result in results) == ["failed", "ok", "ok"]
    assert seen == results
    assert [result.case for result in results] == [case.case_id for case in cases]
    failed = next(result for result in results if result.case == "a")
    assert (failed.status, failed.ml) == ("failed", None)
    assert "a.nii.gz" in failed.error
    table = {row["case"]: row for row in csv.DictReader((tmp_path / "out" / "volumes.csv").open())}
    assert table["a"]["error"] == failed.error
    assert float(table["c"]["ml"]) == pytest.approx(Head().blood_ml, rel=0.02)
    assert "John Smith" not in (tmp_path / "out" / "volumes.csv").read_text()
    assert "John Smith" not in (tmp_path / "out" / "volumes.json").read_text()
    assert not (tmp_path / "out" / "a.nii.gz").exists()


def test_a_crashing_extractor_keeps_its_traceback_for_the_log(tmp_path):
    def crash(volume):
        raise ZeroDivisionError("in the extractor")

    write_nifti(tmp_path / "head.nii.gz", Head())
    cases = discover(tmp_path / "head.nii.gz").cases
    (result,) = segment_cases(cases, bright_models(), tmp_path / "out", PLAIN, extractor=crash)
    assert result.error == "ZeroDivisionError: in the extractor"
    assert "raise ZeroDivisionError" in result.traceback
    assert "Traceback" not in (tmp_path / "out" / "volumes.json").read_text()


def test_a_case_that_fails_while_writing_leaves_no_file(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    write_nifti(tmp_path / "head.nii.gz", Head())
    monkeypatch.setattr("ctseg.inference.outputs.save_mask", full)
    (result,) = run([tmp_path / "head.nii.gz"], tmp_path / "out", SegmentSettings(probabilities=True))
    assert (result.status, result.error) == ("failed", "OSError: No space left on device")
    files = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(files) == [MARK, "volumes.csv", "volumes.json"]


def test_resume_keeps_rows_and_files_of_finished_cases(tmp_path):
    for name in "abc":
        write_nifti(tmp_path / f"{name}.nii.gz", Head())
    inputs, out = [tmp_path / f"{name}.nii.gz" for name in "abc"], tmp_path / "out"
    first = run(inputs[:2], out)
    before = (out / "a.nii.gz").stat().st_mtime_ns
    (out / "b.nii.gz").unlink()
    second = run(inputs, out, resume=True)
    assert [result.resumed for result in second] == [True, False, False]
    assert second[0] == first[0]
    assert (out / "a.nii.gz").stat().st_mtime_ns == before
    assert {path.name for path in out.iterdir()} == {
        MARK,
        "a.nii.gz",
        "b.nii.gz",
        "c.nii.gz",
        "volumes.csv",
        "volumes.json",
    }


def test_resume_does_a_case_again_whose_input_is_another_scan(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", Head())
    out = tmp_path / "out"
    (first,) = run([tmp_path / "a.nii.gz"], out)
    assert first.input == sha256((tmp_path / "a.nii.gz").read_bytes()).hexdigest()[:12]
    write_nifti(tmp_path / "a.nii.gz", Head(blood_mm=(8.0, 8.0, 8.0)), shape=(64, 64, 26))
    (second,) = run([tmp_path / "a.nii.gz"], out, resume=True)
    assert not second.resumed
    assert second.slices == 26
    assert second.ml < first.ml / 2
    assert nib.load(out / "a.nii.gz").shape[2] == 26
    (third,) = run([tmp_path / "a.nii.gz"], out, resume=True)
    assert third.resumed


def emptied(path):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine, image.header), path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("damage", [emptied, cut, lambda path: path.write_bytes(b"")])
def test_resume_does_a_case_again_whose_mask_is_damaged(damage, tmp_path):
    write_nifti(tmp_path / "a.nii.gz", Head())
    (first,) = run([tmp_path / "a.nii.gz"], tmp_path / "out")
    damage(tmp_path / "out" / "a.nii.gz")
    (second,) = run([tmp_path / "a.nii.gz"], tmp_path / "out", resume=True)
    assert (second.resumed, second.ml) == (False, first.ml)
    assert np.asarray(nib.load(tmp_path / "out" / "a.nii.gz").dataobj).any()


FILES = ["{}.png", "3d/{}.png", "{}.dcm", "{}_resampled.dcm", "{}_rtstruct.dcm", "{}_sr.dcm", "{}.json"]


@pytest.mark.parametrize("file", [*FILES, "probabilities/{}.nii.gz", "probabilities/{}.json"])
def test_resume_does_a_case_again_whose_file_is_gone(file, dicom_folder, tmp_path):
    settings = SegmentSettings(probabilities=True, rtstruct=True, sr=True)
    (first,) = run([dicom_folder], tmp_path / "out", settings)
    gone = tmp_path / "out" / file.format(first.case)
    gone.unlink()
    (second,) = run([dicom_folder], tmp_path / "out", settings, resume=True)
    assert (second.resumed, second.ml) == (False, first.ml)
    assert gone.exists()
    (third,) = run([dicom_folder], tmp_path / "out", settings, resume=True)
    assert third.resumed


def test_a_row_names_the_files_of_its_case_and_those_of_an_earlier_scan_are_gone(tmp_path):
    stack = Stack(np.arange(0, 64, 4.0), 0.0)
    settings, out = SegmentSettings(probabilities=True, rtstruct=True, sr=True, label_tables=True), tmp_path / "out"
    write_dicom(tmp_path / "scan", stack, Head())
    (first,) = run([tmp_path / "scan"], out, settings)
    for path in (tmp_path / "scan").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelData = np.minimum(np.frombuffer(dataset.PixelData, np.uint16), 1064).tobytes()  # 40 HU
        dataset.save_as(path)
    (second,) = run([tmp_path / "scan"], out, settings, resume=True)
    assert second.case == first.case
    assert {*first.files.split()} - {*second.files.split()} == {f"{first.case}.dcm", f"{first.case}_rtstruct.dcm"}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {*second.files.split()} == there - {MARK, *TABLES, "volumes.csv", "volumes.json"}


@pytest.mark.parametrize("files", ["", "other.nii.gz", "{}.nii.gz ../head.nii.gz", "{}.nii.gz /etc/hostname"])
def test_resume_believes_no_list_of_files_that_is_not_the_case_s(files, tmp_path):
    write_nifti(tmp_path / "head.nii.gz", Head())
    (first,) = run([tmp_path / "head.nii.gz"], tmp_path / "out")
    table = tmp_path / "out" / "volumes.json"
    data = json.loads(table.read_text())
    data["cases"][0]["files"] = files.format(first.case)
    table.write_text(json.dumps(data))
    (second,) = run([tmp_path / "head.nii.gz"], tmp_path / "out", resume=True)
    assert (second.resumed, second.files) == (False, first.files)


def test_resume_keeps_a_case_that_has_no_dicom_object(tilted, tmp_path):
    write_dicom(tmp_path / "scan", tilted, Head(blood_mm=(0.1, 0.1, 0.1)))
    settings = SegmentSettings(rtstruct=True)
    (first,) = run([tmp_path / "scan"], tmp_path / "out", settings)
    assert "no DICOM SEG" in first.note
    (second,) = run([tmp_path / "scan"], tmp_path / "out", settings, resume=True)
    assert second.resumed


def test_an_interrupted_run_resumes_with_the_rows_it_had(tmp_path):
    for name in "abc":
        write_nifti(tmp_path / f"{name}.nii.gz", Head())
    inputs, out = [tmp_path / f"{name}.nii.gz" for name in "abc"], tmp_path / "out"
    run([inputs[0], inputs[2]], out)

    def interrupt(result):
        if result.case == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(inputs, out, resume=True, on_case=interrupt)
    rows = json.loads((out / "volumes.json").read_text())["cases"]
    assert [row["case"] for row in rows] == ["a", "b", "c"]


def test_resume_refuses_other_settings_and_overwrite_removes_old_files(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", Head())
    write_nifti(tmp_path / "b.nii.gz", Head())
    out = tmp_path / "out"
    run([tmp_path / "a.nii.gz"], out)
    (out / "own notes.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="--resume"):
        run([tmp_path / "b.nii.gz"], out)
    with pytest.raises(InputError, match="other settings"):
        run([tmp_path / "b.nii.gz"], out, PLAIN.model_copy(update={"threshold": 0.3}), resume=True)
    run([tmp_path / "b.nii.gz"], out, overwrite=True)
    assert {path.name for path in out.iterdir()} == {MARK, "b.nii.gz", "own notes.txt", "volumes.csv", "volumes.json"}


def test_worker_processes_give_the_same_rows(dicom_folder, tmp_path):
    write_nifti(tmp_path / "a.nii.gz", Head())
    inputs = [tmp_path / "a.nii.gz", dicom_folder]
    here, there = run(inputs, tmp_path / "here"), run(inputs, tmp_path / "there", workers=1)
    assert [replace(row, seconds=0) for row in here] == [replace(row, seconds=0) for row in there]


@pytest.mark.slow
def test_a_killed_worker_costs_one_case(tmp_path):
    for name in "abc":
        write_nifti(tmp_path / f"{name}.nii.gz", Head())
    cases = discover([tmp_path]).cases
    rows = segment_cases(cases, bright_models(), tmp_path / "out", PLAIN, extractor=KilledOn("b"), workers=1)
    assert [(row.case, row.status) for row in rows] == [("a", "ok"), ("b", "failed"), ("c", "ok")]
    assert "a worker process left with exit code 9" in rows[1].error
    assert not (tmp_path / "out" / "b.nii.gz").exists()


@pytest.mark.slow
def test_the_mask_is_the_last_file_and_each_is_written_once(dicom_folder, tmp_path, monkeypatch):
    written = []
    replace_file = Path.replace

    def note(self, target):
        written.append(Path(target).relative_to(tmp_path / "out").as_posix())
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", note)
    (result,) = run([dicom_folder], tmp_path / "out", SegmentSettings(probabilities=True))
    own = [name.replace(result.case, "CASE") for name in written if result.case in name]
    assert own[-2:] == ["CASE.json", "CASE.nii.gz"]
    assert sorted(own) == sorted({*own})


class _Registry:
    """The look-ups that `ctseg.segment` makes."""

    build_from_header = staticmethod(lambda header: BrightIsLesion())
    version_of = staticmethod(lambda header: header.package_version)

    def __init__(self):
        self.entries = {}

    def of_kind(self, kind):
        return []

    def get(self, kind, name):
        assert (kind, name) == ("brain_extractor", "muschelli")
        return self

    def extractor(self, settings):
        return NonAirIsBrain()


def test_python_and_command_give_the_same_numbers(dicom_folder, tmp_path, monkeypatch):
    save_model(tmp_path / "model.safetensors", BrightIsLesion(), bright_header())
    monkeypatch.setattr("ctseg.api._registry", _Registry)
    prediction = ctseg.segment(dicom_folder, tmp_path, threshold=0.3)
    (result,) = run([dicom_folder], tmp_path / "out", PLAIN.model_copy(update={"threshold": 0.3}))
    assert round(prediction.measures.ml, 4) == result.ml
    assert round(prediction.measures.abc2_ml, 4) == result.abc2_ml
    assert prediction.measures.lesions == result.lesions
    mask, _ = load_mask(tmp_path / "out" / f"{result.case}.nii.gz")
    np.testing.assert_array_equal(prediction.mask, mask > 0)


def zipped(folder, path):
    with ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def windowed(path):
    """A NIfTI with neither air nor a word such as ct in its name: by a guess, MR."""
    write_nifti(path, Head())
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.clip(np.asarray(image.dataobj), 0, 100), image.affine), path)
    return path


def slice_set(scan, folder):
    with new_folder(folder) as made:
        settings = bright_model().preprocessing.model_copy(update={"split": (1.0,)})
        preprocess(discover(scan, "ct"), made, settings, extractor=NonAirIsBrain())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["dicom", "zip", "nifti", "slices"])
def test_python_and_command_read_the_same_scan(layout, dicom_folder, tmp_path, monkeypatch):
    scan = {
        "dicom": lambda: dicom_folder,
        "zip": lambda: zipped(dicom_folder, tmp_path / "scan.zip"),
        "nifti": lambda: windowed(tmp_path / "head.nii.gz"),
        "slices": lambda: slice_set(dicom_folder, tmp_path / "set"),
    }[layout]()
    save_model(tmp_path / "model.safetensors", BrightIsLesion(), bright_header())
    monkeypatch.setattr("ctseg.api._registry", _Registry)
    monkeypatch.setattr("ctseg.cli.common.registry", _Registry)
    prediction = ctseg.segment(scan, tmp_path)
    out = str(tmp_path / "out")
    assert main(["segment", str(scan), "--model", str(tmp_path), "-o", out, "--workers", "0", "--device", "cpu"]) == 0
    (row,) = csv.DictReader((tmp_path / "out" / "volumes.csv").open())
    assert float(row["ml"]) == round(prediction.measures.ml, 4) > 1
    mask, _ = load_mask(tmp_path / "out" / f"{row['case']}.nii.gz")
    np.testing.assert_array_equal(prediction.mask, mask > 0)


@pytest.mark.parametrize(
    ("flags", "is_corrected", "high"),
    [
        ([], True, 2.0),
        (["--set", "tta=true"], True, 2.0),
        (["--set", "threshold=0.6"], False, 2.0),
        (["--set", "grow_mm=0"], True, 2.0),
        (["--set", "grow_mm=2"], False, 2.0),
        ([], True, 1e5),
    ],
)
def test_a_card_with_the_bias_corrects_the_volume(flags, is_corrected, high, tmp_path, monkeypatch, capsys):
    scan = windowed(tmp_path / "head.nii.gz")
    weights = save_model(tmp_path / "mine" / "bright.safetensors", BrightIsLesion(), bright_header())
    digest = sha256(weights.read_bytes()).hexdigest()
    item = {"factor": 1.25, "low": 0.9, "high": high, "cases": 30}
    small = {**item, "up_to_ml": 0.01, "factor": 1.5}
    card = {
        "schema": CARD_SCHEMA, "summary": "x", "sha256": digest, "licence": "CC0-1.0", "ct_labels": False,
        "made": {"command": "x", "machine": "x"}, "training_data": [{"name": "x", "licence": "CC0-1.0"}],
        "measured": [], "limits": ["x"], "volumes": {"data": "heads", "level": 0.8, "bins": [small, item]},
    }  # fmt: skip
    write_json(weights.with_suffix(".json"), card)
    monkeypatch.setattr("ctseg.cli.common.registry", _Registry)
    out = str(tmp_path / "out")
    line = ["segment", str(scan), "--model", str(weights), "-o", out, "--workers", "0", "--device", "cpu", *flags]
    assert main(line) == 0
    (row,) = csv.DictReader((tmp_path / "out" / "volumes.csv").open())
    found = [row[name] for name in ("ml_corrected", "ml_corrected_low", "ml_corrected_high")]
    expected = [min(float(row["ml"]) * factor, float(row["brain_ml"])) for factor in (1.25, 0.9, high)]
    assert [float(value) for value in found] == pytest.approx(expected, rel=1e-3) if is_corrected else found == [""] * 3
    assert row["ml_corrected_level"] == ("0.8" if is_corrected else "")
    assert ("(80 %: " in capsys.readouterr().err) == is_corrected


def test_a_slice_set_beside_other_paths_is_refused(dicom_folder, tmp_path):
    found = slice_set(dicom_folder, tmp_path / "set")
    with pytest.raises(InputError, match="set: is a slice set; segment it in a call of its own"):
        find_scans([found, dicom_folder])


def test_python_passes_over_no_broken_file(dicom_folder, tmp_path, monkeypatch):
    write_nifti(tmp_path / "scans" / "a.nii.gz", Head())
    (tmp_path / "scans" / "b.zip").write_bytes(b"PK garbage")
    save_model(tmp_path / "model.safetensors", BrightIsLesion(), bright_header())
    monkeypatch.setattr("ctseg.api._registry", _Registry)
    with pytest.raises(InputError, match=r"holds 2 scans \(a, .*b.zip: not a readable zip"):
        ctseg.segment(tmp_path / "scans", tmp_path)


def test_python_names_the_scans_of_a_folder_with_several(dicom_folder, tmp_path, monkeypatch):
    write_nifti(tmp_path / "a.nii.gz", Head())
    write_nifti(tmp_path / "b.nii.gz", Head())
    save_model(tmp_path / "run" / "model.safetensors", BrightIsLesion(), bright_header())
    monkeypatch.setattr("ctseg.api._registry", _Registry)
    with pytest.raises(InputError, match="holds 2 scans"):
        ctseg.segment(tmp_path, tmp_path / "run")


@pytest.mark.slow
def test_no_output_but_the_dicom_seg_names_the_patient(dicom_folder, tmp_path):
    settings = SegmentSettings(probabilities=True, rtstruct=True, sr=True, label_tables=True)
    run([dicom_folder], tmp_path / "out", settings)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".gz", ".json", ".png", ".dcm", ".csv", ".tsv", ".ctbl", ".label"}
    for path in files:
        content = nib.load(path).header.binaryblock if path.suffix == ".gz" else path.read_bytes()
        for identity in (NAME, NUMBER, "19610203", "ACC99", "Gregory"):
            found = identity.encode() in content
            assert found == (path.suffix == ".dcm"), f"{identity} in {path.name}"


@pytest.fixture
def by_card(tmp_path, monkeypatch):
    """Segments a head with a model whose card states a setting, and gives the row and the settings of the output."""

    def segmented(stated, flags, **head):
        write_nifti(tmp_path / "head.nii.gz", Head(**head))
        weights = save_model(tmp_path / "mine" / "bright.safetensors", BrightIsLesion(), bright_header())
        write_json(weights.with_suffix(".json"), card_of(weights, **stated))
        monkeypatch.setattr("ctseg.cli.common.registry", _Registry)
        out = tmp_path / "out"
        line = ["segment", str(tmp_path / "head.nii.gz"), "--model", str(weights), "-o", str(out), "--workers", "0"]
        assert main([*line, "--device", "cpu", *flags]) == 0
        (row,) = csv.DictReader((out / "volumes.csv").open())
        return row, json.loads((out / "volumes.json").read_text())["settings"]

    return segmented


@pytest.mark.parametrize(("flags", "drops"), [([], True), (["--set", "faint_hu=0"], False)])
def test_a_cards_rule_about_faint_lesions_holds_unless_another_is_given(flags, drops, by_card):
    """The head's one lesion is 0.6 mL of 62 HU: less than 40 HU above its brain of 30."""
    row, settings = by_card({"faint_hu": 50}, flags, blood_mm=(5.0, 5.0, 6.0))
    assert (float(row["ml"]) == 0) is drops
    assert (row["note"].endswith("mL dropped") and "faint spots of 0." in row["note"]) is drops
    assert settings["faint_hu"] == (50 if drops else 0)


@pytest.mark.parametrize(
    ("stated", "flags", "grows"),
    [({"grow_mm": 4}, [], True), ({"grow_mm": 4}, ["--set", "grow_mm=0"], False), ({}, ["--set", "grow_mm=4"], True)],
)
def test_a_card_says_how_far_lesions_grow_unless_the_call_does(stated, flags, grows, by_card):
    """At this probability the network finds what is brighter than 72 HU, without the rim: about half of the volume.

    The slices above and below, which show the rim alone, are not grown into.
    """
    row, settings = by_card(stated, ["--threshold", "0.999", *flags], rim_hu=65.0)
    assert settings["grow_mm"] == (4 if grows else 0)
    share = float(row["ml"]) / Head().blood_ml
    assert (0.85 < share < 1.0) if grows else (0.45 < share < 0.6)


@pytest.mark.parametrize(
    ("stated", "flags", "mirrored"),
    [
        ({"tta": True}, [], True),
        ({"tta": True}, ["--no-tta"], False),
        ({"tta": True}, ["--set", "tta=false"], False),
        ({"tta": True}, ["--fast"], False),
        ({}, [], False),
        ({}, ["--tta"], True),
    ],
)
def test_a_card_says_whether_mirror_images_count_unless_the_call_does(stated, flags, mirrored, by_card):
    row, settings = by_card(stated, flags)
    assert settings["tta"] is mirrored
    assert bool(row["agreement"]) is mirrored  # of the members: one member has none


def test_small_lesions_are_dropped_and_an_empty_mask_is_no_failure(tmp_path):
    write_nifti(tmp_path / "head.nii.gz", Head())
    settings = SegmentSettings(min_lesion_ml=100)
    (result,) = run([tmp_path / "head.nii.gz"], tmp_path / "out", settings)
    assert (result.status, result.ml, result.lesions) == ("ok", 0.0, 0)
    assert not np.asarray(nib.load(tmp_path / "out" / "head.nii.gz").dataobj).any()
    assert (tmp_path / "out" / "head.png").exists()


def test_a_head_without_brain_and_a_small_brain_are_said(tmp_path):
    def blind_to_a(volume):
        return NonAirIsBrain()(volume) & (volume.case_id != "a")

    write_nifti(tmp_path / "a.nii.gz", Head())
    write_nifti(tmp_path / "b.nii.gz", Head())
    cases = discover([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]).cases
    failed, small = segment_cases(cases, bright_models(), tmp_path / "out", PLAIN, extractor=blind_to_a)
    assert failed.status == "failed"
    assert "a: no brain found" in failed.error
    assert "brain of 44" in small.note
    assert "look at the preview" in small.note


def test_second_copy_of_a_patient_has_its_own_name(tmp_path):
    write_dicom(tmp_path / "one", Stack(UNEVEN_Z[:5], 0.0, 32, 3.0), Head())
    write_dicom(tmp_path / "two", Stack(UNEVEN_Z[:5], 0.0, 32, 3.0), Head())
    one, two = run([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert one.case.split("_")[0] == two.case.split("_")[0]
    assert one.case != two.case


def test_large_tables_are_written_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], list[float]()

    def write(path: Path, value: object) -> None:
        written.append(clock[0])
        clock[0] += 10.0  # as 150,000 rows would take

    monkeypatch.setattr(results, "write_json", write)
    monkeypatch.setattr(results.time, "monotonic", lambda: clock[0])
    table = ResultTable(tmp_path, {}, [str(place) for place in range(600)], {})
    for place in range(600):
        clock[0] += 1.0
        table.add(CaseResult(str(place), "ok"))
    assert written == [6.0, 217.0, 428.0]
