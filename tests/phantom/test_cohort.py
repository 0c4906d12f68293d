from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from killed_worker import DeadlyPath

from ctseg.errors import CaseError
from ctseg.io.dicom.reader import case_name
from ctseg.io.discover import discover, read_case
from ctseg.phantom import cohort as module
from ctseg.phantom.cohort import TEST_MIX, TRAIN_MIX, Job, make_cohort
from ctseg.phantom.msd import MrCase, _points
from ctseg.phantom.settings import PhantomSettings

SMALL = {"mr_matrix": 48, "mr_slices": 31, "ct_matrix": 64, "ct_slice_step_mm": 12.0}

pytestmark = pytest.mark.phantom


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _make(folder: Path, mr: int, train: int, test: int, workers: int = 0, **more) -> dict:
    folder.mkdir()
    settings = PhantomSettings(mr_patients=mr, ct_train_patients=train, ct_test_patients=test, **{**SMALL, **more})
    return make_cohort(folder, settings, workers=workers)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    _make(folder, 2, 2, 2)
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def _series(folder: Path) -> dict[str, list[pydicom.Dataset]]:
    series: dict[str, list[pydicom.Dataset]] = {}
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        assert path.stem == dataset.SOPInstanceUID
        series.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    return {uid: sorted(s, key=lambda d: float(d.ImagePositionPatient[2])) for uid, s in series.items()}


def test_msd_layout_to_the_letter(cohort):
    task = cohort / "Task01_BrainTumour"
    contents = json.loads((task / "dataset.json").read_text())
    assert contents["modality"] == {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    assert contents["numTraining"] == 2
    assert contents["training"][0] == {"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}
    for entry in contents["training"]:
        image, label = nib.load(task / entry["image"]), nib.load(task / entry["label"])
        assert image.shape == (48, 48, 31, 4)
        assert label.shape == (48, 48, 31)
        assert set(np.unique(label.dataobj)) <= {0, 1, 2, 3}


def test_mr_is_stripped_and_stored_towards_right_front_and_head(cohort):
    """Exactly 0 outside the brain; the lowest slices hold the cerebellum, so they lie behind the middle ones."""
    image = np.asarray(nib.load(cohort / "Task01_BrainTumour/imagesTr/BRATS_001.nii.gz").dataobj)
    flair = image[..., 0]
    assert image.dtype == np.int16
    assert 0.6 < (flair == 0).mean() < 0.95
    x, y, z = (np.flatnonzero(flair.any(axis=tuple({0, 1, 2} - {a}))) for a in range(3))
    assert abs((x[0] + x[-1]) / 2 - 23.5) < 3
    assert (y[-1] - y[0]) > (x[-1] - x[0]) > 0.5 * (y[-1] - y[0])
    lowest, middle = flair[:, :, z[0] : z[0] + 4], flair[:, :, 15:18]
    assert np.nonzero(lowest)[1].mean() < np.nonzero(middle)[1].mean() - 2


def test_mr_points_follow_decision_3():
    points = _points(MrCase(0, 48, 31, (0,)))
    assert points.shape == (31, 48, 48, 3)
    assert points[0, 0, 0].tolist() == [-117.5, -117.5, -75.5]
    assert (points[-1, -1, -1] - points[0, 0, 0]).tolist() == [235.0, 235.0, 150.0]


def test_glioma_is_brighter_than_brain_on_flair(cohort):
    task = cohort / "Task01_BrainTumour"
    for name in ("BRATS_001", "BRATS_002"):
        flair = np.asarray(nib.load(task / "imagesTr" / f"{name}.nii.gz").dataobj)[..., 0]
        label = np.asarray(nib.load(task / "labelsTr" / f"{name}.nii.gz").dataobj)
        assert (label > 0).sum() > 30
        assert flair[label == 1].mean() > 1.15 * np.median(flair[(flair > 0) & (label == 0)])


def test_rsna_folder_is_flat_and_mixed(cohort):
    series = _series(cohort / "rsna" / "stage_2_train")
    assert len(series) == 2
    for slices in series.values():
        first = slices[0]
        assert first.Modality == "CT"
        assert "PatientName" not in first
        assert (first.Rows, first.Columns) == (64, 64)
        assert len({s.PatientID for s in slices}) == 1
        assert [s.SOPInstanceUID for s in slices] != sorted(s.SOPInstanceUID for s in slices)


def test_labels_are_kaggles_six_rows_a_slice_and_any_is_their_or(cohort):
    slices = {path.stem for path in (cohort / "rsna/stage_2_train").glob("*.dcm")}
    rows = _rows(cohort / "rsna/stage_2_train.csv")
    assert Counter(row["ID"].rsplit("_", 1)[0] for row in rows) == dict.fromkeys(slices, 6)
    table: dict[str, dict[str, int]] = {}
    for row in rows:
        name, subtype = row["ID"].rsplit("_", 1)
        table.setdefault(name, {})[subtype] = int(row["Label"])
    for flags in table.values():
        assert flags["any"] == max(value for key, value in flags.items() if key != "any")


def test_test_split_has_no_labels_outside_truth(cohort):
    named = [path.stem for path in (cohort / "rsna/stage_2_test").glob("*.dcm")]
    assert named
    assert not (cohort / "rsna/stage_2_test.csv").exists()
    assert named[0] not in (cohort / "rsna/stage_2_train.csv").read_text()
    assert named[0] in (cohort / "truth/stage_2_test.csv").read_text()


def test_truth_lies_on_the_readers_grid(cohort):
    """Masks fit what the DICOM reader gives: case names, grid, positions; IPH is bright, brain is no bone."""
    cases = discover(cohort / "rsna" / "stage_2_test", "ct", workers=1).cases
    masks = cohort / "truth" / "iph" / "test"
    assert {case.case_id for case in cases} == {path.name.split(".")[0] for path in masks.glob("*.nii.gz")}
    for case in cases:
        volume = read_case(case)
        image = nib.load(masks / f"{case.case_id}.nii.gz")
        brain = nib.load(cohort / "truth" / "brain" / "test" / f"{case.case_id}.nii.gz")
        mask, inside = (volume.native.to_canonical(np.asarray(i.dataobj)) > 0 for i in (image, brain))
        assert mask.shape == volume.voxels.shape
        sidecar = json.loads((masks / f"{case.case_id}.json").read_text())
        assert np.allclose(sidecar["origins_mm"], volume.origins_mm, atol=1e-4)
        assert np.median(volume.voxels[mask]) > np.median(volume.voxels[inside & ~mask]) + 10
        assert 10 < np.median(volume.voxels[inside]) < 60
        assert 900 < (inside.sum(axis=(1, 2)) * volume.voxel_ml).sum() < 2200


def test_slice_labels_say_where_the_truth_mask_is(cohort):
    labels = {row["ID"]: row["Label"] for row in _rows(cohort / "truth/stage_2_test.csv")}
    for uid, slices in _series(cohort / "rsna/stage_2_test").items():
        case = case_name(slices[0].PatientID, uid)
        mask = np.asarray(nib.load(cohort / "truth" / "iph" / "test" / f"{case}.nii.gz").dataobj)
        flags = [labels[f"{s.SOPInstanceUID}_intraparenchymal"] == "1" for s in slices]
        assert flags == [bool(mask[:, :, k].any()) for k in range(mask.shape[2])]
        assert any(flags)


def test_patients_do_not_depend_on_the_size_of_the_cohort(cohort, tmp_path):
    _make(tmp_path / "one", 1, 1, 1)
    small, large = _files(tmp_path / "one"), _files(cohort)
    for name, data in small.items():
        if name.endswith((".dcm", ".nii.gz")):
            assert large[name] == data, name


def test_no_patient_is_in_two_splits_or_seeds(cohort, tmp_path):
    rows = _rows(cohort / "truth/cases.csv")
    assert len({row["patient"] for row in rows}) == len(rows) == 4
    _make(tmp_path / "other", 0, 1, 0, seed=1)
    other = _rows(tmp_path / "other" / "truth/cases.csv")
    assert other[0]["patient"] not in {row["patient"] for row in rows}


@pytest.mark.slow
def test_files_do_not_depend_on_the_number_of_workers(cohort, tmp_path):
    _make(tmp_path / "parallel", 2, 2, 2, workers=2)
    assert _files(tmp_path / "parallel") == _files(cohort)


@pytest.mark.slow
def test_a_killed_worker_costs_one_patient(tmp_path, monkeypatch):
    def with_a_deadly_patient(*arguments):
        jobs = every_job(*arguments)
        return [replace(job, folder=DeadlyPath(job.folder)) if job.name == "mr-0" else job for job in jobs]

    every_job = module._jobs
    monkeypatch.setattr(module, "_jobs", with_a_deadly_patient)
    counts = _make(tmp_path / "cohort", 2, 1, 0, workers=2)
    assert list(counts["failed"]) == ["mr-0"]
    assert "was killed" in counts["failed"]["mr-0"]
    assert counts["mr_patients"] == 1
    names = [Path(name).name for name in _files(tmp_path / "cohort")]
    assert names.count("BRATS_002.nii.gz") == 2
    assert not any(name == "BRATS_001.nii.gz" or name.startswith(".") for name in names)


def test_progress_counts_every_patient(tmp_path):
    seen = []
    folder = tmp_path / "cohort"
    folder.mkdir()
    settings = PhantomSettings(mr_patients=1, ct_train_patients=1, ct_test_patients=0, **SMALL)
    make_cohort(folder, settings, workers=0, progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_any_stretch_of_the_work_holds_ct_and_mr_in_proportion():
    settings = PhantomSettings(mr_patients=24, ct_train_patients=24, ct_test_patients=12, **SMALL)
    jobs = module._jobs(Path(), settings)
    order = module.mixed(jobs)
    assert sorted(job.name for job in order) == sorted(job.name for job in jobs)
    shares = [sum(job.name.startswith("mr-") for job in order[start : start + 10]) for start in range(0, 60, 10)]
    assert shares == [4] * 6
    assert [job.name for job in module.mixed(jobs[:3])] == [job.name for job in jobs[:3]]  # CT alone


def test_mix_has_every_subtype_mostly_with_iph_and_somebody_well():
    findings = TEST_MIX
    assert sum(f.iph for f in findings) > len(findings) / 2
    assert all(any(getattr(f, name) for f in findings) for name in ("ivh", "sah", "sdh", "edh"))
    assert sum(not f.any for f in findings) >= len(findings) / 3
    assert sum(not f.any for f in TRAIN_MIX) >= len(TRAIN_MIX) / 3
    assert any(f.any and not f.iph for f in TRAIN_MIX)


def test_a_worker_without_the_cohorts_disk_makes_no_disk_of_its_own(tmp_path: Path) -> None:
    """It had made the folder where it was, so the call counted patients whose files nobody had."""
    job = Job(tmp_path / "out", MrCase(0, 48, 31, (0, 1, 0)))
    with pytest.raises(CaseError, match="out: no such folder on the worker's machine .*; workers need the same disk"):
        job.run()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_goes_on_after_the_call_has_ended_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def late(part: Path, case: MrCase) -> dict[str, int]:
        shutil.rmtree(out)  # by the call, which was stopped
        part.mkdir(parents=True)
        (part / "a.nii.gz").touch()
        return {"slices": case.slices}

    monkeypatch.setattr(module, "make_mr_case", late)
    with pytest.raises(CaseError, match="out: was removed while mr-0 was made; call again"):
        Job(out, MrCase(0, 48, 31, (0, 1, 0))).run()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_made_again_is_another_one(tmp_path: Path) -> None:
    """The system had given it the number of the removed one, and a patient of the call before had come into it."""
    job = Job(tmp_path / "out", MrCase(0, 48, 31, (0, 1, 0)))
    for _ in range(20):
        job.folder.mkdir()
        with job._begun() as is_there:
            assert is_there()
            job.folder.rmdir()
            assert not is_there()
            job.folder.mkdir()
            assert not is_there()
        job.folder.rmdir()
