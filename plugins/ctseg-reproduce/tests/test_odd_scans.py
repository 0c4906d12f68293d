"""Scans that cannot be measured, and scans of earlier calls: one costs no other, and none counts without a word."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from implant_toys import write_cohort
from toy_sets import head

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.networks.fcn import FcnVgg16
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

Capture = pytest.CaptureFixture[str]
GRID = ["--places", "1", "--ml", "5", "--hu", "60", "--oedema-mm", "0", "--device", "cpu"]
SCANS = Path("cohort/rsna/stage_2_test")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with two phantom scans and a network that takes the whole head for brain."""
    monkeypatch.setattr(common, "STATE", common.State())
    monkeypatch.chdir(tmp_path)
    write_cohort(tmp_path / "cohort", 2)
    made = PreprocessSettings(size=32, fov_mm=160.0, brain_extractor="whole-head").model_dump(mode="json")
    header = ModelHeader("segmenter", "fcn", {"width": 4}, "ctseg", "0.1.0", {"preprocess": made, "intensity": {}})
    save_model(Path("run/model.safetensors"), FcnVgg16(4), header)


def implant(folder: Path, output: str = "out") -> int:
    return main(["implant", str(folder), "--model", "run", *GRID, "-o", output])


def study(output: str, scans: int = 4) -> int:
    return main(["recovery-study", "cohort", "--model", "run", "--scans", str(scans), "--device", "cpu", "-o", output])


def rows(output: str) -> list[tuple[str, str]]:
    return [(row["scan"], row["input"]) for row in json.loads(Path(output, "recovery.json").read_text())["scans"]]


def test_a_picture_is_that_of_the_scan_that_was_measured(capsys: Capture) -> None:
    """That of an earlier scan of the same name had stayed beside the other one's numbers."""
    Path("scans").mkdir()
    shutil.copy(SCANS / "p0.nii.gz", "scans/p.nii.gz")
    assert implant(Path("scans")) == 0
    first = Path("out/pictures/p.png").read_bytes()
    shutil.copy(SCANS / "p1.nii.gz", "scans/p.nii.gz")
    assert implant(Path("scans")) == 0
    assert implant(Path("scans"), "fresh") == 0
    second = Path("fresh/pictures/p.png").read_bytes()
    assert Path("out/pictures/p.png").read_bytes() == second != first
    Path("out/pictures/p.png").write_bytes(b"mine")
    assert implant(Path("scans")) == 0
    assert Path("out/pictures/p.png").read_bytes() == second
    assert Path("out/pictures/p.png.changed").read_bytes() == b"mine"
    assert "earlier calls" not in capsys.readouterr().err


def test_scans_of_earlier_calls_are_said(capsys: Capture) -> None:
    assert implant(SCANS) == 0
    Path("other").mkdir()
    shutil.copy(SCANS / "p1.nii.gz", "other/q.nii.gz")
    assert implant(Path("other")) == 0
    assert "scans of earlier calls count, too: p0, p1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_scan_that_was_replaced_counts_once(capsys: Capture) -> None:
    """Rows of the scan that had its name before had stayed in the correlations."""
    assert study("out") == 0
    before = rows("out")
    shutil.copy(SCANS / "p0.nii.gz", SCANS / "p1.nii.gz")
    assert study("out") == 0
    after = rows("out")
    assert len(after) == len(before) == 4
    assert sorted(name for name, _ in after) == sorted(name for name, _ in before)
    assert len(set(after) & set(before)) == 2
    assert study("out", 5) == 0
    capsys.readouterr()
    assert study("out", 4) == 0
    assert "1 scans of earlier calls count, too: p0-2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["scan", "no mask", "other size"])
def test_one_scan_that_cannot_be_measured_ends_no_study(fault: str, capsys: Capture) -> None:
    truth = Path("cohort/truth/iph/test/p1.nii.gz")
    if fault == "scan":
        (SCANS / "p1.nii.gz").write_bytes(b"xx")
    elif fault == "no mask":
        truth.unlink()
    else:
        nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.diag([20.0, 20, 20, 1])), truth)
    assert study("out", 4) == 1
    said = capsys.readouterr()
    (line,) = [line for line in (said.err + said.out).splitlines() if line.startswith("FAILED")]
    assert line.startswith("FAILED p1: ")
    assert "Error" not in line
    assert {name.partition("-")[0] for name, _ in rows("out")} == {"p0"}


def test_one_scan_without_a_brain_ends_no_planted_faults(capsys: Capture) -> None:
    """It had ended with NumPy's IndexError; what was left out, and what `--most` leaves, had not been said."""
    head(Path("heads"), "a", 1)
    head(Path("heads"), "b", 2)
    Path("heads/bad.nii.gz").write_bytes(b"xx")
    nan = np.full((40, 40, 12), np.nan, np.float32)
    nib.save(nib.Nifti1Image(nan, np.diag([5.0, 5, 10, 1])), "heads/nan.nii.gz")
    os.mkfifo("heads/pipe.nii.gz")
    assert main(["planted-faults", "heads", "--model", "default", "--most", "4", "-o", "out"]) == 1
    said = capsys.readouterr()
    lines = (said.err + said.out).splitlines()
    assert "left out: heads/pipe.nii.gz: a named pipe, not a file; it is not opened" in lines
    assert sum(line.startswith("FAILED") for line in lines) == 2
    assert "FAILED nan: no brain found, so no fault can be planted; leave it out" in lines
    found = json.loads(Path("out/faults.json").read_text())
    assert {row["case"] for row in found["scans"]} == {"a", "b"}
    assert main(["planted-faults", "heads", "--model", "default", "--most", "1", "-o", "one"]) == 0
    assert "1 of 4 scans are looked at; --most takes more" in capsys.readouterr().err
