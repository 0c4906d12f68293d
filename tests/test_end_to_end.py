"""The main job by its real commands on a small phantom cohort, from raw scans to a report."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctseg.cli.demo_report import write_demo_report
from ctseg.cli.demo_study import result_rows
from ctseg.cli.main import main
from ctseg.io.slices import open_slices
from ctseg.study import read_study

pytestmark = [pytest.mark.phantom, pytest.mark.end_to_end]


def test_every_step_leaves_what_the_docs_promise(study: Path) -> None:
    for step in read_study(study / "study.toml").steps:
        assert (study / step.output).exists(), step.name
    for name in ("config.toml", "model.safetensors", "checkpoint.pt", "metrics.jsonl", "report.html", "curves.png"):
        assert (study / "runs/amd-das" / name).exists(), name
        assert (study / "runs/synthesis" / name).exists(), name
    assert not list(study.rglob(".partial-*"))


def test_the_sets_join_the_domains(study: Path) -> None:
    mr, ct, pseudo = (open_slices(study / "sets" / name) for name in ("mr", "ct", "pseudo-ct"))
    assert mr.size == ct.size == pseudo.size == (48, 48)
    assert (mr.domain, ct.domain, pseudo.domain) == ("mr", "ct", "ct")
    assert mr.masks is not None
    assert ct.masks is None
    assert list(pseudo.slice_ids) == list(mr.slice_ids)
    np.testing.assert_array_equal(pseudo.require_masks("x"), mr.masks)
    assert mr.info["counts"]["splits"].keys() == {"train", "val"}
    assert ct.table["intraparenchymal"].eq(1).all()


def test_both_domains_lie_the_same_way(study: Path) -> None:
    """Heads are narrower in front: turning one domain upside down would flip the sign for it alone."""
    for name in ("mr", "ct"):
        slices = open_slices(study / "sets" / name)
        front = back = 0
        for image in np.asarray(slices.images):
            widths = (image > 0).sum(1)
            rows = np.flatnonzero(widths)
            quarter = len(rows) // 4
            front, back = front + widths[rows[:quarter]].sum(), back + widths[rows[-quarter:]].sum()
        assert front < back, name


def test_masks_come_back_on_the_scans_own_grid(study: Path) -> None:
    table = pd.read_csv(study / "masks/amd-das/volumes.csv")
    assert list(table["status"]) == ["ok", "ok"]
    for case in table["case"]:
        mask, truth = (
            nib.load(folder / f"{case}.nii.gz")
            for folder in (study / "masks/amd-das", study / "phantom/truth/iph/test")
        )
        assert mask.shape == truth.shape
        np.testing.assert_allclose(mask.affine, truth.affine, atol=1e-3)
        assert (study / "masks/amd-das" / f"{case}.png").exists()


def test_the_evaluation_is_finite_and_names_its_rule(study: Path) -> None:
    summary = json.loads((study / "evaluation/summary.json").read_text())
    row = result_rows(study)[0]
    assert 0 <= row["pooled_dice"]["value"] <= 1
    assert row["selection"] == "last"
    assert summary["models"][0]["cases"] == 2
    page = (study / "evaluation/report.html").read_text()
    assert not any(f'{name}="http' in page for name in ("src", "href"))


def test_no_output_carries_a_patients_identity(study: Path) -> None:
    import pydicom

    files = sorted((study / "phantom/rsna").rglob("*.dcm"))
    patients = {str(pydicom.dcmread(path, stop_before_pixels=True).PatientID) for path in files}
    kept = [path for name in ("sets", "runs", "masks", "evaluation") for path in (study / name).rglob("*")]
    texts = [path for path in kept if path.suffix in (".csv", ".json", ".jsonl", ".toml", ".html")]
    assert patients
    assert texts
    for path in texts:
        text = path.read_text()
        assert not any(patient in text for patient in patients), path


def test_the_demo_page_shows_every_stage(study: Path) -> None:
    page = write_demo_report(study, result_rows(study)).read_text()
    for stage in ("Preprocess", "Match", "Stage 1", "Stage 2", "Segment"):
        assert stage in page
    assert (study / "pairs.png").exists()
    assert page.count("<img") >= 8


def test_a_slice_set_can_be_segmented_too(study: Path) -> None:
    out = study / "masks/set"
    assert main(["-q", "segment", str(study / "sets/ct"), "--model", str(study / "runs/amd-das"), "-o", str(out)]) == 0
    assert list(pd.read_csv(out / "volumes.csv")["status"]) == ["ok"] * 2


def test_a_bad_case_stops_nobody_and_exits_with_1(
    study: Path, capsys: pytest.CaptureFixture[str], rng: np.random.Generator
) -> None:
    folder = study / "broken"
    folder.mkdir()
    brain = nib.load(next((study / "phantom/truth/brain/test").glob("*.nii.gz")))
    hu = np.where(brain.get_fdata() > 0, 35.0 + rng.normal(0, 4, brain.shape), -1000.0).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, brain.affine), folder / "ct-ok.nii.gz")
    whole = (folder / "ct-ok.nii.gz").read_bytes()
    (folder / "ct-bad.nii.gz").write_bytes(whole[: len(whole) // 2])
    argv = ["segment", str(folder), "--model", str(study / "runs/amd-das"), "-o", str(study / "masks/broken")]
    assert main([*argv, "--json", "--workers", "0"]) == 1
    rows = {row["case"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {case: row["status"] for case, row in rows.items()} == {"ct-bad": "failed", "ct-ok": "ok"}
    assert "copy it again" in rows["ct-bad"]["error"]
    assert str(folder) not in rows["ct-bad"]["error"]
    table = pd.read_csv(study / "masks/broken/volumes.csv").set_index("case")
    assert dict(table["status"]) == {"ct-bad": "failed", "ct-ok": "ok"}


def test_a_second_run_does_nothing(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (study / "runs").rglob("*")}
    assert main(["run", str(study / "study.toml"), "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert all(step["skipped"] for step in steps)
    assert before == {path: path.stat().st_mtime_ns for path in (study / "runs").rglob("*")}


def test_an_outside_metric_joins_the_way(study: Path) -> None:
    pytest.importorskip("ctseg_mind", reason="pip install plugins/ctseg-mind")
    pairs = study / "pairs-mind.csv"
    argv = ["match", "--src", str(study / "sets/mr"), "--tgt", str(study / "sets/ct"), "--similarity", "mind"]
    assert main(["-q", *argv, "--set", "size=24", "-o", str(pairs)]) == 0
    assert {"structure", "lesion_difference"} <= set(pd.read_csv(pairs).columns)
