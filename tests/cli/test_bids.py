"""`ctseg bids` as a BIDS App: labels, derivatives, failures of one participant, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.inference import finish
from ctseg.networks.fcn import FcnVgg16
from ctseg.outputs import folders
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, read_header, save_model

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
    assert files() == own | top | {".ctseg.json", "sub-01/.ctseg.json", "sub-02/.ctseg.json"}
    about = json.loads(Path("out/dataset_description.json").read_text())
    assert (about["DatasetType"], about["GeneratedBy"][0]["Name"]) == ("derivative", "ctseg")
    beside = json.loads(Path(f"out/{SECOND}.json").read_text())
    assert beside["Sources"] == ["bids:raw:sub-02/ses-a/anat/sub-02_ses-a_run-1_ct.nii.gz"]
    _, name, place = beside["Sources"][0].split(":", 2)
    assert (Path("out") / about["DatasetLinks"][name] / place).samefile(f"data/{place}")
    assert beside["Ctseg"]["ml"] == rows[1]["ml"]
    mask, scan = nib.load(f"out/{FIRST}.nii.gz"), nib.load("data/sub-01/ct/sub-01_ct.nii.gz")
    assert (mask.shape, mask.affine.tolist()) == (scan.shape, scan.affine.tolist())
    assert files(dataset) == before


def test_calls_share_an_output_and_replace_only_when_asked(dataset, capsys):
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant_label", "01") == 0
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant-label", "sub-02") == 0
    assert {f"{FIRST}.nii.gz", f"{SECOND}.nii.gz"} <= files("data/derivatives/ctseg")
    assert json.loads(Path("data/derivatives/ctseg/dataset_description.json").read_text())["DatasetLinks"] == {
        "raw": "../.."
    }
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant_label", "01", "02") == 2
    assert "sub-01: exists already" in capsys.readouterr().err
    assert call(dataset, "data/derivatives/ctseg", "participant", "--participant_label", "01", "02", "--overwrite") == 0


def test_a_broken_scan_is_said_and_stops_nobody(dataset, capsys):
    Path("data/sub-01/ct/sub-01_run-2_ct.nii.gz").write_bytes(b"cut")
    assert call(dataset, "out", "participant") == 1
    assert "2 of 3 scans of 2 participants" in capsys.readouterr().err
    assert {f"{FIRST}.nii.gz", f"{SECOND}.nii.gz"} <= files()


def test_nothing_that_may_be_a_scan_is_passed_over_or_lost(dataset, capsys):
    """Links of git-annex to one file and to nothing, names that BIDS does not know, and what is no file."""
    place = Path("data/sub-01/ct")
    (place / "sub-01_ct.nii.gz").rename("stored.nii.gz")
    for number in (1, 2):
        (place / f"sub-01_run-{number}_ct.nii.gz").symlink_to(Path("stored.nii.gz").absolute())
    (place / "sub-01_run-3_ct.nii.gz").symlink_to("gone.nii.gz")
    os.mkfifo(place / "sub-01_run-4_ct.nii.gz")
    (place / "sub-01_run-5_ct.nrrd").write_text("x")
    (place / f"sub-01_acq-{'a' * 220}_ct.nii.gz").write_text("x")
    shutil.copy("stored.nii.gz", place / "sub-01_run-2_CT.NII.GZ")
    shutil.copy("stored.nii.gz", place / "sub-07_ct.nii.gz")
    shutil.copy("stored.nii.gz", place / "head.nii.gz")
    Path("data/sub-04/ct").mkdir(parents=True)
    Path("data/sub-04/ct/sub-04_ct.nii.gz").write_bytes(b"cut")
    Path("data/sub-05 copy").mkdir()
    Path("data/sub-06").symlink_to("gone")
    assert call(dataset, "out", "participant") == 1
    err = capsys.readouterr().err
    for name, reason in {
        "sub-01_run-3_ct.nii.gz": "datalad get", "sub-01_run-4_ct.nii.gz": "a named pipe", "sub-01_run-5_ct.nrrd":
        "convert it", "aaa_ct.nii.gz": "shorten it", "sub-01_run-2_ct.nii.gz": "the same name to BIDS",
        "sub-07_ct.nii.gz": "not one of sub-01", "head.nii.gz": "rename it",
        "sub-04_ct.nii.gz": "convert it or leave it out",
        "sub-05_copy": "rename the folder", "sub-06": "a link to nothing",
    }.items():  # fmt: skip
        assert any(name in line and reason in line for line in err.splitlines()), (name, err)
    assert "no CT of 1 participants: 03" in err
    assert "3 of 13 scans of 3 participants" in err
    made = {Path(name).name for name in files() if name.endswith(".nii.gz")}
    assert made == {f"{stem}_label-haemorrhage_mask.nii.gz" for stem in ("sub-01_run-1", "sub-01_run-2", "sub-02_ses-a_run-1")}  # fmt: skip # noqa: E501


def test_a_scan_of_another_session_or_in_another_folder_is_said(dataset, capsys):
    """A name that contradicts its folder would be measured as another time point's; other folders are not read."""
    scan = Path("data/sub-01/ct/sub-01_ct.nii.gz")
    wrong = ("ses-1/ct/sub-01_ses-2_ct", "CT/sub-01_ct", "ses-1/anat/ct/sub-01_ses-1_ct", "sub-01_run-1_ct")
    for name in (*wrong, "ses-1/ct/sub-01_ses-1_ct", "ses-1/ct/sub-01_ses-1_run-1_ct", ".hidden/sub-01_ct"):
        path = Path(f"data/sub-01/{name}.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scan, path)
    shutil.copy(scan, "data/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    Path("data/sub-03/CT").mkdir()
    shutil.copy(scan, "data/sub-03/CT/sub-03_ct.nii.gz")
    assert call(dataset, "out", "participant", "--json") == 1
    out, err = capsys.readouterr()
    failed = [row["error"] for row in json.loads(out)["cases"] if row["status"] == "failed"]
    assert sum("its name says ses-2, its folder ses-1" in error for error in failed) == 1
    assert sum("lies where BIDS has no CT; move it to sub-01/" in error for error in failed) == 3
    assert sum("lies where BIDS has no CT; move it to sub-03/" in error for error in failed) == 1
    assert len(failed) == 5
    assert "4 of 9 scans of 3 participants" in err


def test_a_session_in_the_name_or_the_folder_alone_is_refused(dataset, capsys):
    """`INVALID_LOCATION` of the BIDS validator; scans of two sessions would have had one name."""
    head = Path("data/sub-01/ct/sub-01_ct.nii.gz")
    places = {
        "data/sub-02/ses-a/ct/sub-02_ct.nii.gz": "its name says no session, its folder ses-a; rename it to sub-02_ses",
        "data/sub-04/ct/sub-04_ses-b_ct.nii.gz": "its name says ses-b, and it lies in no folder of a session",
        "data/sub-05/ses-b/ct/sub-05_ses-b_ses-c_ct.nii.gz": "its name says ses-b and ses-c, its folder ses-b",
    }
    for name in places:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(head, name)
    assert call(dataset, "out", "participant", "--json") == 1
    said = capsys.readouterr()
    assert all(reason in said.out + said.err for reason in places.values())
    assert sorted(path.name for path in Path("out").rglob("*_mask.nii.gz")) == [
        "sub-01_label-haemorrhage_mask.nii.gz", "sub-02_ses-a_run-1_label-haemorrhage_mask.nii.gz",
    ]  # fmt: skip


def test_scans_of_one_name_in_ct_and_anat_have_pictures_of_their_own(dataset):
    Path("data/sub-01/anat").mkdir()
    shutil.copy("data/sub-01/ct/sub-01_ct.nii.gz", "data/sub-01/anat/sub-01_ct.nii.gz")
    argv = ["bids", dataset, "out", "participant", "--participant-label", "01", "--model", "run"]
    assert main([*argv, "--set", "preview_3d=false"]) == 0
    assert sorted(path.name for path in Path("out/sub-01/figures").iterdir()) == [
        "sub-01_desc-haemorrhageAnat_ct.png", "sub-01_desc-haemorrhageCt_ct.png",
    ]  # fmt: skip
    assert len(list(Path("out/sub-01").rglob("*_mask.nii.gz"))) == 2


def test_resume_makes_what_is_missing_or_has_changed_and_mixes_nothing(dataset, capsys):
    """A call that is killed, then the same call; a changed scan, a lost mask; other models, settings and data."""
    assert call(dataset, "out", "participant", "--participant-label", "01") == 0
    first = Path(f"out/{FIRST}.nii.gz").stat().st_mtime_ns
    capsys.readouterr()
    assert call(dataset, "out", "participant") == 2
    assert "add --resume to go on or --overwrite" in capsys.readouterr().err
    assert call(dataset, "out", "participant", "--resume") == 0
    assert "1 of 2 participants are done" in capsys.readouterr().err
    assert Path(f"out/{FIRST}.nii.gz").stat().st_mtime_ns == first
    Path(f"out/{SECOND}.nii.gz").unlink()
    image = nib.load("data/sub-01/ct/sub-01_ct.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), "data/sub-01/ct/sub-01_ct.nii.gz")
    assert call(dataset, "out", "participant", "--resume") == 0
    assert "participants are done" not in capsys.readouterr().err
    assert Path(f"out/{FIRST}.nii.gz").stat().st_mtime_ns != first
    shutil.copytree("run", "other")
    save_model(Path("other/model.safetensors"), FcnVgg16(4), read_header(Path("run")))
    for other in (["--set", "threshold=0.4"], ["--model", "other"]):
        assert call(dataset, "out", "participant", "--resume", *other) == 2
        assert "was made with other" in capsys.readouterr().err
    one = ["--participant-label", "01", "--set", "threshold=0.4", "--overwrite"]
    assert call(dataset, "out", "participant", *one) == 2, "sub-02 would stay as it is"
    assert call(dataset, "out", "participant", *one[2:]) == 0
    assert json.loads(Path(f"out/{FIRST}.json").read_text())["CtsegSettings"]["threshold"] == 0.4


def killed(words, number, stage):
    """The exit code of a call in a process of its own, which is killed at a stage of its n-th participant."""
    child = os.fork()
    if child == 0:
        count = [0]

        def die():
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

        write = finish.write_case
        folders.step = lambda name: die() if name == stage else None
        finish.write_case = lambda *args: (die() if stage == "work" else None, write(*args))[1]
        code = 99
        try:
            code = call(*words)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("number", "stage"), [(1, "work"), (2, "work"), (2, "ready"), (2, "aside"), (1, "placed")])
def test_a_kill_costs_one_participant(dataset, number, stage):
    """Each participant's folder is whole or not there after SIGKILL, and `--resume` makes the rest."""
    words = [dataset, "out", "participant"]
    if stage == "aside":
        assert call(*words) == 0
    assert killed([*words, *(["--overwrite"] if stage == "aside" else [])], number, stage) == -signal.SIGKILL
    assert call(*words, "--resume") == 0
    assert {f"{FIRST}.nii.gz", f"{SECOND}.nii.gz"} <= files()
    assert not [name for name in files() if ".partial" in name or ".replaced" in name or "work/" in name]


@pytest.mark.parametrize(("words", "said"), [
    (("data", "out", "participant", "--participant-label", "07"), "no participant '07'; there are 01, 02, 03"),
    (("data", "out", "participant", "--participant-label", "../02"), "no participant '../02'"),
    (("data", "out", "participant", "--participant-label", "03"), "no CT of the participants asked for"),
    (("data/sub-01", "out", "participant"), "no BIDS data set"),
    (("data", "out", "group"), "participant"),
    (("data", "out", "participant", "02"), "labels follow --participant-label"),
    (("data", "out", "participant", "--set", "probabilities=true"), "use `ctseg segment`"),
    (("data", "out", "participant", "--set", "deidentify=true"), "use `ctseg segment`"),
    (("data", "data/sub-03/out", "participant"), "lies in the input sub-03"),
])  # fmt: skip
def test_bad_calls_are_one_line_and_write_nothing(dataset, words, said, capsys):
    assert call(*words) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def faults(folder):
    """Errors of the validator, and how many participants it saw."""
    program = shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("bids-validator-deno (PyPI) is not installed")
    done = subprocess.run([program, folder, "--json"], capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    wrong = [issue for issue in said["issues"]["issues"] if issue["severity"] == "error"]
    return wrong, len(said["summary"]["subjects"])


def test_the_bids_validator_finds_no_error(dataset):
    assert call(dataset, "out", "participant") == 0
    assert faults("out")[0] == []
    # It does not look into ct/, which BIDS has not yet: as anat/, names, sidecars and masks are looked at.
    Path("out/sub-01/ct").rename("out/sub-01/anat")
    ignored = Path("out/.bidsignore")
    ignored.write_text("".join(line for line in ignored.read_text().splitlines(keepends=True) if line != "**/ct\n"))
    assert faults("out") == ([], 2)
    Path("out/sub-01/anat/sub-01_label-haemorrhage_mask.json").rename("out/sub-01/anat/sub-01_mask-haemorrhage.json")
    assert faults("out")[0] != []


def test_pybids_finds_masks_and_their_sources(dataset):
    bids = pytest.importorskip("bids")
    assert call(dataset, "data/derivatives/ctseg", "participant") == 0
    layout = bids.BIDSLayout("data", validate=False, derivatives="data/derivatives/ctseg")
    masks = layout.get(scope="derivatives", suffix="mask", label="haemorrhage", extension=".nii.gz")
    assert {(mask.entities["subject"], mask.entities.get("session")) for mask in masks} == {("01", None), ("02", "a")}
    assert masks[0].get_metadata()["Sources"] == ["bids:raw:sub-01/ct/sub-01_ct.nii.gz"]
