from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from killed_worker import DeadlyPath
from outside_plugins import outside_entry

from ctseg.conformance.toys import toy_head
from ctseg.errors import InputError
from ctseg.io.case import Discovery, Rejected
from ctseg.io.discover import discover
from ctseg.io.slices import open_slices
from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.page import set_page
from ctseg.preprocess.pipeline import preprocess
from ctseg.preprocess.settings import PreprocessSettings

SMALL = PreprocessSettings(size=32, fov_mm=48.0, min_brain_mm2=100.0, split=(0.5, 0.5))


def write_brats(folder: Path, name: str, seed: int, *, label: bool = True) -> None:
    """A stripped ball with a bright lesion, in BraTS's layout, RAS under an identity affine."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n) - n / 2 for n in (40, 44, 12)], indexing="ij")
    brain = x**2 + y**2 + (2 * z) ** 2 < 15**2
    lesion = (x - 5) ** 2 + (y + 4) ** 2 + (2 * z) ** 2 < 4**2
    image = np.where(brain, 400 + 300 * lesion + rng.normal(0, 20, brain.shape), 0)
    (folder / name).mkdir(parents=True)
    nib.save(nib.Nifti1Image(image.astype(np.int16), np.eye(4)), folder / name / f"{name}_flair.nii.gz")
    if label:
        nib.save(nib.Nifti1Image((2 * lesion).astype(np.uint8), np.eye(4)), folder / name / f"{name}_seg.nii.gz")


@pytest.fixture
def cohort(tmp_path) -> Path:
    for number in range(4):
        write_brats(tmp_path / "brats", f"BraTS_{number:03d}", number)
    return tmp_path / "brats"


def made(discovery: Discovery, out: Path, settings: PreprocessSettings = SMALL, **more):
    out.mkdir()
    report = preprocess(discovery, out, settings, **more)
    return open_slices(out), report


def test_a_labelled_mr_cohort(cohort, tmp_path):
    seen = []
    slices, report = made(discover([cohort]), tmp_path / "set", progress=lambda *call: seen.append(call))
    assert (slices.domain, slices.size) == ("mr", (32, 32))
    assert report.cases == 4
    assert report.slices == len(slices)
    assert [call[:2] for call in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    table = slices.table
    assert table["patient_id"].is_monotonic_increasing
    assert sorted(table["split"].unique()) == ["train", "val"]
    masks = slices.require_masks("the test asks")
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), table["lesion_px"])
    np.testing.assert_array_equal((slices.images > 0).sum(axis=(1, 2)) <= table["brain_px"], True)
    assert set(np.unique(masks)) == {0, 1}
    bright = slices.images[masks == 1].mean()
    assert bright > slices.images[(masks == 0) & (slices.images > 0)].mean() + 50
    assert slices.info["intensity"]["a"] is None
    assert (table["intensity_a"] > 0).all()
    assert (tmp_path / "set" / "preview.png").stat().st_size > 1000


def test_a_set_says_which_plugin_found_its_brain(cohort, tmp_path):
    head = toy_head()
    nib.save(nib.Nifti1Image(head.voxels.T.astype(np.int16), np.diag([4.0, 4.0, 11.0, 1.0])), tmp_path / "ct.nii")
    soft = outside_entry("brain_extractor", lambda: lambda volume: np.abs(volume.voxels - 35) < 20, "soft").extractor()
    slices, _ = made(
        discover([tmp_path / "ct.nii"], "ct"), tmp_path / "set", PreprocessSettings(size=32), extractor=soft
    )
    assert slices.info["brain_extractor"] == {"name": "soft", "package": "ctseg-odd", "version": "0.3.1"}
    of_mr, _ = made(discover([cohort]), tmp_path / "mr", extractor=soft)  # its brain is in the file
    assert "brain_extractor" not in of_mr.info


def test_the_front_of_the_head_is_at_the_top(cohort, tmp_path):
    """The lesion lies 5 mm to the right and 4 mm to the back of the brain's middle: right is left in the picture."""
    slices, _ = made(discover([cohort]), tmp_path / "set")
    rows, cols = np.nonzero(slices.require_masks("it has them").any(axis=0))
    brain_rows, brain_cols = np.nonzero((slices.images > 0).any(axis=0))
    assert rows.mean() - brain_rows.mean() == pytest.approx(4 * 32 / 48, abs=0.7)
    assert cols.mean() - brain_cols.mean() == pytest.approx(-5 * 32 / 48, abs=0.7)


@pytest.mark.slow
def test_the_set_does_not_hang_on_workers(cohort, tmp_path):
    found = discover([cohort])
    made(found, tmp_path / "alone")
    made(found, tmp_path / "processes", workers=2)
    with ThreadPoolExecutor(3) as pool:
        made(found, tmp_path / "threads", executor=pool)
    for name in ("images.npy", "masks.npy", "slices.csv", "dataset.json"):
        alone = (tmp_path / "alone" / name).read_bytes()
        assert (tmp_path / "processes" / name).read_bytes() == alone
        assert (tmp_path / "threads" / name).read_bytes() == alone


def test_bad_cases_are_named_and_the_others_go_on(cohort, tmp_path):
    write_brats(cohort, "BraTS_100", 9, label=False)
    broken = cohort / "BraTS_001" / "BraTS_001_flair.nii.gz"
    found = discover([cohort])
    broken.write_bytes(broken.read_bytes()[:900])
    slices, report = made(found, tmp_path / "set")
    assert report.cases == 3
    assert {case for case, _ in report.failed} == {"BraTS_001", "BraTS_100"}
    assert "no lesion labels" in dict(report.failed)["BraTS_100"]
    assert not set(slices.table["patient_id"]) & {"BraTS_001", "BraTS_100"}
    assert len(slices.info["failed"]) == 2
    page = (tmp_path / "set" / "report.html").read_text()
    assert '<tr><th scope="row">BraTS_001</th><td>failed</td>' in page
    assert "no lesion labels" in page
    assert "Nothing." not in page


def test_the_page_says_what_was_left_out_without_names_of_files(cohort, tmp_path):
    found = discover([cohort])
    left = (
        Rejected("/data/Quixotic/Jane1961.dcm", "Jane1961.dcm in /data/Quixotic is no scan"),
        Rejected("/data/Roeworth/b.dcm", "b.dcm names /data/Roeworth/c.dcm"),
        *(Rejected(f"/data/Poesmith/{number}.dcm", "too few slices") for number in range(3)),
    )
    made(replace(found, rejected=left), tmp_path / "set")
    page = (tmp_path / "set" / "report.html").read_text()
    assert "Scans that gave slices" in page
    assert '<tr><th scope="row">too few slices</th><td class="number">3</td></tr>' in page
    assert "... names ..." in page
    assert not any(name in page for name in ("Quixotic", "Roeworth", "Poesmith", "Jane1961"))
    assert page.count("<img") == 1


def test_the_page_says_which_slices_were_asked_for_and_each_note_once(cohort, tmp_path):
    _, report = made(discover([cohort]), tmp_path / "set")
    report.empty = ["BraTS_900"]
    report.notes = {f"scan{number}": ("tilted", "no orientation")[number % 2 :] for number in range(8)}
    asked = PreprocessSettings(slices=(60, 100), select="subdural", min_brain_mm2=500)
    page = set_page(report, tmp_path / "set" / "preview.png", {"train": 1}, asked).html()
    assert "<td>no slice labelled subdural from 60 to 99 with at least 500 mm² of brain</td>" in page
    assert page.count("no orientation") == 1
    assert '<th scope="row">8 scans: scan0, scan1, scan2, …</th>' in page
    assert '<th scope="row">4 scans: scan0, scan2, scan4, …</th><td>tilted</td>' in page


@pytest.mark.slow
def test_a_killed_worker_costs_one_case(cohort, tmp_path):
    found = discover([cohort])
    guilty = replace(found.cases[1], files=(DeadlyPath(found.cases[1].files[0]),))
    found = replace(found, cases=(found.cases[0], guilty, *found.cases[2:]))
    slices, report = made(found, tmp_path / "set", workers=2)
    ((case, reason),) = report.failed
    assert case == guilty.case_id
    assert "a worker process was killed" in reason
    assert set(slices.table["case_id"]) == {"BraTS_000", "BraTS_002", "BraTS_003"}


def test_defects_keep_their_traceback(cohort, tmp_path, monkeypatch):
    def explode(*_):
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr("ctseg.preprocess.cases.prepare_mr", explode)
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match="none of the 4 cases .* unexpected ZeroDivisionError: by nobody"):
        preprocess(discover([cohort]), tmp_path / "set", SMALL)


def test_slices_are_chosen_by_index(cohort, tmp_path):
    slices, _ = made(discover([cohort]), tmp_path / "set", SMALL.model_copy(update={"slices": (4, 8)}))
    assert set(slices.table["index"]) == {4, 5, 6, 7}
    assert slices.table["slice_id"].iloc[0] == "BraTS_000_004"


def test_slices_with_little_brain_are_left_out(cohort, tmp_path):
    most = SMALL.model_copy(update={"min_brain_mm2": 500.0})
    slices, _ = made(discover([cohort]), tmp_path / "set", most)
    assert (slices.table["brain_px"] * (48 / 32) ** 2 >= 500).all()
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no slice is left"):
        preprocess(discover([cohort]), tmp_path / "none", SMALL.model_copy(update={"min_brain_mm2": 1e6}))


def test_given_splits_are_used(cohort, tmp_path):
    table = tmp_path / "splits.csv"
    names = [f"BraTS_{number:03d}" for number in range(4)]
    pd.DataFrame({"patient_id": names, "split": ["test", "train", "train", "val"]}).to_csv(table, index=False)
    slices, _ = made(discover([cohort]), tmp_path / "set", splits=table)
    assert slices.table.groupby("patient_id")["split"].first().tolist() == ["test", "train", "train", "val"]
    pd.DataFrame({"patient_id": names[:3], "split": "train"}).to_csv(table, index=False)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="no split for 1 patients .first: BraTS_003"):
        preprocess(discover([cohort]), tmp_path / "other", SMALL, splits=table)


def test_one_domain_a_set(cohort, tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match="no CT scan"):
        preprocess(discover([cohort], "mr"), tmp_path / "set", SMALL, domain="ct")


def front_share(images: np.ndarray) -> float:
    """Share of its top quarter in the width of both end quarters: the front of a brain is narrower than the back."""
    shape = (images > 0).any(axis=0)
    rows = np.flatnonzero(shape.any(axis=1))
    quarter = len(rows) // 4
    front, back = shape[rows[:quarter]].sum(), shape[rows[-quarter:]].sum()
    return front / (front + back)


@pytest.mark.real_data
def test_real_mr_slabs(real_data, tmp_path):
    settings = PreprocessSettings(slices=(0, 12))
    slices, report = made(discover([real_data / "mr-msd-task01"]), tmp_path / "set", settings)
    assert (report.cases, report.failed) == (2, [])
    assert slices.size == (240, 240)
    assert (slices.table["lesion_px"] > 0).any()
    # 1 mm scans are copied, so the masks are the file's own, moved and turned at most
    path = next(real_data.glob("mr-msd-task01/BRATS_009_seg*"))
    native = np.asarray(nib.load(path).dataobj)[:, :, :12] > 0
    own = slices.table["patient_id"].str.startswith("BRATS_009").to_numpy()
    np.testing.assert_array_equal(slices.table["lesion_px"][own], native.sum(axis=(0, 1)))
    assert front_share(slices.images[~own]) < 0.5  # BRATS_119 is whole in its plane


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_tilted_ct_with_selected_slices(real_data, tmp_path):
    found = discover([real_data / "ct-ge-tilted"], "ct")
    everything, report = made(found, tmp_path / "set", PreprocessSettings(size=120), extractor=MuschelliExtractor())
    assert (everything.domain, everything.masks) == ("ct", None)
    assert len(everything) == 21
    assert any("tilted" in note for note in report.notes[found.cases[0].case_id])
    assert everything.info["intensity"] == {"a": 2.55, "b": 0.0, "unit": "HU"}
    assert front_share(everything.images[3:5]) < 0.4  # frontal lobe between the orbits, cerebellum behind
    names = everything.slice_ids
    chosen = set(names[5:9])
    path = tmp_path / "labels.csv"
    rows = [(f"{name}_{kind}", int(name in chosen)) for name in names for kind in ("any", "intraparenchymal")]
    pd.DataFrame(rows, columns=["ID", "Label"]).to_csv(path, index=False)
    settings = PreprocessSettings(size=120, select="intraparenchymal")
    some, _ = made(found, tmp_path / "some", settings, extractor=MuschelliExtractor(), labels=path)
    assert set(some.slice_ids) == chosen
    assert (some.table["intraparenchymal"] == 1).all()
    np.testing.assert_array_equal(some.images, everything.images[5:9])
    info = json.loads((tmp_path / "some" / "dataset.json").read_text())
    assert info["settings"]["select"] == "intraparenchymal"


def test_follow_ups_of_a_patient_share_a_split(tmp_path):
    for patient in range(4):
        for time in (100, 101):
            write_brats(tmp_path / "brats", f"BraTS-GLI-{patient:05d}-{time}", patient)
    slices, report = made(discover([tmp_path / "brats"]), tmp_path / "set")
    assert report.patient_rule == "patients from BraTS case names"
    assert slices.info["counts"]["patients"] == 4
    assert set(slices.table["patient_id"]) == {f"BraTS-GLI-{patient:05d}" for patient in range(4)}
    assert (slices.table.groupby("patient_id")["split"].nunique() == 1).all()
    assert sorted(set(slices.table["split"])) == ["train", "val"]
    rows = [(f"BraTS-GLI-{patient:05d}-100", "train" if patient else "val") for patient in range(4)]
    table = tmp_path / "splits.csv"
    pd.DataFrame(rows, columns=["patient_id", "split"]).to_csv(table, index=False)
    again, _ = made(discover([tmp_path / "brats"]), tmp_path / "given", splits=table)
    assert set(again.table["patient_id"][again.table["split"] == "val"]) == {"BraTS-GLI-00000"}
    pd.DataFrame([*rows, ("BraTS-GLI-00000-101", "train")], columns=["patient_id", "split"]).to_csv(table, index=False)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="patient BraTS-GLI-00000 is in two splits"):
        preprocess(discover([tmp_path / "brats"]), tmp_path / "other", SMALL, splits=table)


def test_cases_of_no_known_convention_are_said_to_be_patients(tmp_path):
    for name in ("anna", "bert"):
        write_brats(tmp_path / "scans", name, 1)
    _, report = made(discover([tmp_path / "scans"]), tmp_path / "set")
    assert report.patient_rule == "each case is a patient of its own; give --splits where a patient has several"


def label_with(folder: Path, name: str, values: dict[int, slice]) -> None:
    path = folder / name / f"{name}_seg.nii.gz"
    labels = np.asarray(nib.load(path).dataobj).astype(np.uint8) * 0
    for value, levels in values.items():
        labels[18:22, 20:24, levels] = value
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)


def test_the_label_values_that_count_are_chosen_and_said(cohort, tmp_path):
    for number in range(4):
        label_with(cohort, f"BraTS_{number:03d}", {1: slice(3, 5), 2: slice(5, 7), 4: slice(7, 9 if number else 7)})
    everything, report = made(discover([cohort]), tmp_path / "all")
    assert report.label_values == {1: 4, 2: 4, 4: 3}
    assert report.lesion_labels == (1, 2, 4)
    some, report = made(discover([cohort]), tmp_path / "some", SMALL.model_copy(update={"lesion_labels": (2, 4)}))
    assert report.lesion_labels == (2, 4)
    assert some.info["lesion_labels"] == [2, 4]
    assert some.info["label_values"] == {"1": 4, "2": 4, "4": 3}
    levels = everything.table["index"]
    everywhere, chosen = everything.table["lesion_px"] > 0, some.table["lesion_px"] > 0
    assert set(levels[everywhere]) == {3, 4, 5, 6, 7, 8}
    assert set(levels[chosen]) == {5, 6, 7, 8}
    np.testing.assert_array_equal(some.masks[chosen], everything.masks[chosen])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="--lesion-labels 3: no scan has such a label; the labels hold 1, 2, 4"):
        preprocess(discover([cohort]), tmp_path / "none", SMALL.model_copy(update={"lesion_labels": (3,)}))


def test_each_case_says_what_it_was_made_of(cohort, tmp_path):
    before, _ = made(discover([cohort]), tmp_path / "before")
    assert set(before.info["inputs"]) == {f"BraTS_{number:03d}" for number in range(4)}
    label_with(cohort, "BraTS_002", {1: slice(3, 5)})
    after, _ = made(discover([cohort]), tmp_path / "after")
    changed = [case for case, digest in after.info["inputs"].items() if digest != before.info["inputs"][case]]
    assert changed == ["BraTS_002"]
