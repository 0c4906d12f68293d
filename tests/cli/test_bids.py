"""`ctseg bids` as a BIDS App: labels, derivatives, failures of one participant, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.networks.fcn import FcnVgg16
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

pytestmark = pytest.mark.slow

FIRST = "sub-01/ct/sub-01_label-haemorrhage_mask"
SECOND = "sub-02/ses-a/anat/sub-02_ses-a_run-1_label-haemorrhage_mask"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "STATE", common.State())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dataset():
    """Two participants with a head each, a file that is cut short, and things that are no CT."""
    torch.manual_seed(0)
    made = PreprocessSettings(size=32, fov_mm=240.0).model_dump(mode="json")
    save_model(
        Path("run/model.safetensors"), FcnVgg16(4),
        ModelHeader("segmenter", "fcn", {"width": 4}, "ctseg", "0", {"preprocess": made}),
    )  # fmt: skip
    rows, cols, height = np.mgrid[:48, :48, :20] - np.array([23.5, 23.5, 9.5])[:, None, None, None]
    inside = (rows / 19) ** 2 + (cols / 15) ** 2 + (height / 10) ** 2 < 1
    hu = np.where(inside, np.random.default_rng(0).normal(33, 5, inside.shape), -1000).astype(np.int16)
    head = nib.Nifti1Image(hu, np.diag([-3.5, -3.5, 6.0, 1.0]))
    for name in ("sub-01/ct/sub-01_ct", "sub-02/ses-a/anat/sub-02_ses-a_run-1_ct", "sub-02/ses-a/anat/sub-02_T1w"):
        Path("data", name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(head, f"data/{name}.nii.gz")
    Path("data/sub-03/ct").mkdir(parents=True)
    Path("data/dataset_description.json").write_text(json.dumps({"Name": "Heads", "BIDSVersion": "1.10.0"}))
    return "data"


def call(*words):
    return main(["bids", *words, "--model", "run", "--set", "preview=false"])


def files(folder="out"):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_masks_become_derivatives(dataset, capsys):
    before = files(dataset)
    assert call(dataset, "out", "participant", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["cases"]
    assert [row["status"] for row in rows] == ["ok", "ok"]
    own = {f"{name}{end}" for name in (FIRST, SECOND) for end in (".json", ".nii.gz")}
    top = {"dataset_description.json", "README", ".bidsignore", "desc-haemorrhage_dseg.tsv"}
    assert files() == own | top | {"sub-01/.ctseg.json", "sub-02/.ctseg.json"}
    about = json.loads(Path("out/dataset_description.json").read_text())
    assert (about["DatasetType"], about["GeneratedBy"][0]["Name"]) == ("derivative", "ctseg")
    beside = json.loads(Path(f"out/{SECOND}.json").read_text())
    assert beside["Sources"] == ["bids:raw:sub-02/ses-a/anat/sub-02_ses-a_run-1_ct.nii.gz"]
    assert beside["Ctseg"]["ml"] == rows[1]["ml"]
    mask, scan = nib.load(f"out/{FIRST}.nii.gz"), nib.load("data/sub-01/ct/sub-01_ct.nii.gz")
    assert (mask.shape, mask.affine.tolist()) == (scan.shape, scan.affine.tolist())
    assert files(dataset) == before


def test_calls_share_an_output_and_replace_only_when_asked(dataset, capsys):
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant_label", "01") == 0
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant-label", "sub-02") == 0
    assert {f"{FIRST}.nii.gz", f"{SECOND}.nii.gz"} <= files("data/derivatives/ctseg")
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant_label", "01", "02") == 2
    assert "sub-01: exists already" in capsys.readouterr().err
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant_label", "01", "02", "--overwrite") == 0


def test_a_broken_scan_is_said_and_stops_nobody(dataset, capsys):
    Path("data/sub-01/ct/sub-01_run-2_ct.nii.gz").write_bytes(b"cut")
    assert call(dataset, "out", "participant") == 1
    assert "2 of 3 scans of 2 participants" in capsys.readouterr().err
    assert {f"{FIRST}.nii.gz", f"{SECOND}.nii.gz"} <= files()


@pytest.mark.parametrize(("words", "said"), [
    (("data", "out", "participant", "--participant-label", "07"), "no participant '07'; there are 01, 02, 03"),
    (("data", "out", "participant", "--participant-label", "../02"), "no participant '../02'"),
    (("data", "out", "participant", "--participant-label", "03"), "no CT of the participants asked for"),
    (("data/sub-01", "out", "participant"), "no BIDS data set"),
    (("data", "out", "group"), "participant"),
    (("data", "out", "participant", "02"), "labels follow --participant-label"),
])  # fmt: skip
def test_bad_calls_are_one_line_and_write_nothing(dataset, words, said, capsys):
    assert call(*words) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_the_bids_validator_finds_no_error(dataset):
    program = shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("bids-validator-deno (PyPI) is not installed")
    assert call(dataset, "out", "participant") == 0
    done = subprocess.run([program, "out", "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
