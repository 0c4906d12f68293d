"""`ctseg segment` as a shell meets it: JSON lines on stdout, words on stderr, a folder without being told one."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from ctseg.cli import common
from ctseg.cli.case_rows import CaseRows, LiveCaseRows, case_rows
from ctseg.cli.main import main
from ctseg.inference.ood import PROFILE
from ctseg.inference.results import CaseResult
from ctseg.inference.scan_traits import TITLES
from ctseg.networks.fcn import FcnVgg16
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

pytestmark = pytest.mark.slow

SIZE = 32


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "STATE", common.State())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model() -> str:
    made = PreprocessSettings(size=SIZE, fov_mm=240.0).model_dump(mode="json")
    profile = {
        "form": PROFILE, "scans": 9,
        "ranges": {**{name: [None, None] for name in TITLES}, "slice_step_mm": [0.1, 0.2]},
        "histogram": [1 / 32] * 32, "hu_per_bin": 3.1, "histogram_hu": [None, None],
    }  # fmt: skip
    header = ModelHeader(
        "segmenter", "fcn", {"width": 4}, "ctseg", "0.1.0", {"preprocess": made, "intensity": {}, "profile": profile}
    )
    save_model(Path("run/model.safetensors"), FcnVgg16(width=4), header)
    return "run"


@pytest.fixture
def scans() -> str:
    """Two stripped heads with 2 mm slices, and one file that is cut short."""
    rows, cols, height = np.mgrid[:64, :64, :40] - np.array([31.5, 31.5, 19.5])[:, None, None, None]
    inside = (rows / 26) ** 2 + (cols / 20) ** 2 + (height / 19) ** 2 < 1
    grain = np.random.default_rng(0).integers(-6, 7, inside.shape)
    head = np.where(inside, 32 + grain, -1024).astype(np.int16)
    Path("scans").mkdir()
    for name in ("a", "b", "cut"):
        nib.save(nib.Nifti1Image(head, np.diag([3.0, 3.0, 2.0, 1.0])), f"scans/{name}.nii.gz")
    return "scans"


def test_json_lines_without_an_output_named(model, scans, capsys):
    whole = Path("scans/cut.nii.gz").read_bytes()
    Path("scans/cut.nii.gz").write_bytes(whole[: len(whole) - 600])
    assert main(["segment", scans, "--model", model, "--json", "--tta", "--workers", "0", "--device", "cpu"]) == 1
    out, err = capsys.readouterr()
    rows = {row["case"]: row for row in map(json.loads, out.splitlines())}
    assert sorted(rows) == ["a", "b", "cut"]
    assert (rows["cut"]["status"], rows["cut"]["ml"]) == ("failed", None)
    assert "cut.nii.gz" in rows["cut"]["error"]
    assert rows["a"]["ml_low"] <= rows["a"]["ml"] <= rows["a"]["ml_high"]
    assert rows["a"]["ood"] == "slice step 2.0 mm (training 0.1 to 0.2)"
    assert "2 of 3 scans" in err
    assert {"a.nii.gz", "b.nii.gz", "volumes.csv"} <= {path.name for path in Path("segmentation").iterdir()}


def test_ood_flags_are_said_to_people(model, scans, capsys):
    Path("list.txt").write_text("scans/a.nii.gz\n")
    assert main(["segment", "list.txt", "--model", model, "-o", "masks", "--workers", "0", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "OUT OF DISTRIBUTION: slice step 2.0 mm" in err
    lines = err.splitlines()
    header = next(place for place, line in enumerate(lines) if line.startswith("case"))
    value = re.match(r"a +ok +(\d+\.\d\d)", lines[header + 1])
    assert value.end(1) == lines[header].index("mL") + len("mL")


def test_a_live_table_on_a_terminal_shows_the_latest_and_leaves_all():
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=90, height=9, color_system=None)
    names = [f"case{number}" for number in range(8)]
    with LiveCaseRows(names, console) as rows:
        for name in names[:6]:
            rows.add(CaseResult(name, "ok", ml=12.3456, lesions=2, seconds=4.04))
        console.print(rows.view())
        running = text.getvalue()
        rows.add(CaseResult("case6", "failed", error="case6: x.nii.gz: broken or cut short; copy it again"))
        text.truncate(0)
    latest = running[running.rindex("2 cases above") :].splitlines()
    assert [line.split()[:2] for line in latest[2:7]] == [
        *(["case2", "ok"], ["case3", "ok"], ["case4", "ok"], ["case5", "ok"], ["case6", "working"])
    ]
    assert "12.35" in latest[2]
    assert "6/8" in latest[7]
    left = text.getvalue()
    assert all(name in left for name in names[:7])
    assert "working" not in left
    assert "x.nii.gz: broken or cut short; copy it again" in left


def test_no_live_table_in_a_log_for_json_or_when_quiet(monkeypatch):
    assert type(case_rows(["a"], as_json=False)) is CaseRows
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert type(case_rows(["a"], as_json=False)) is LiveCaseRows
    assert type(case_rows(["a"], as_json=True)) is CaseRows
    common.STATE.quiet = True
    assert type(case_rows(["a"], as_json=False)) is CaseRows


def test_files_that_cannot_be_read_end_with_1(model, scans, capsys):
    Path("scans/cut.nii.gz").write_bytes(b"garbage")
    Path("broken.zip").write_bytes(b"PK garbage")
    Path("slice.dcm").write_bytes(b"garbage")
    given = ["segment", "--model", model, "-o", "masks", "--workers", "0", "--device", "cpu", "--overwrite"]
    assert main([*given, scans]) == 1
    assert "cut.nii.gz: not a NIfTI file" in Path("masks/volumes.csv").read_text()
    assert main([*given, "scans/a.nii.gz", "broken.zip", "slice.dcm"]) == 1
    err = capsys.readouterr().err
    assert "1 of 3 scans -> masks/volumes.csv" in err
    with Path("masks/volumes.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert rows["broken.zip"]["status"] == rows["slice.dcm"]["status"] == "failed"
    assert "not a readable zip" in rows["broken.zip"]["error"]
    assert "not a readable zip" in err
    Path("notes").write_text("nothing to do with DICOM")
    assert main([*given, "scans/a.nii.gz", "notes"]) == 0


def test_a_reader_that_goes_away_interrupts_and_the_rest_can_be_resumed(model, scans):
    command = [sys.executable, "-m", "ctseg", "segment", scans, "--model", model, "-o", "masks", "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--json", "--workers", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        running.stdout.close()
        err = running.stderr.read()
    assert running.returncode == 130
    assert err.splitlines()[-1].startswith("ctseg: error: interrupted")
    assert "Traceback" not in err
    assert Path("masks/a.nii.gz").exists()
    assert main(["segment", scans, "--model", model, "-o", "masks", "--device", "cpu", "--resume"]) == 0
    assert Path("masks/volumes.csv").read_text().count(",ok,") == 3


def test_a_scan_that_is_left_out_is_a_row_and_ends_with_1(model, scans, capsys):
    given = ["segment", "--model", model, "-o", "masks", "--workers", "0", "--device", "cpu", "--overwrite"]
    Path("scans/cut.nii.gz").unlink()
    for name in ("notes.json", ".DS_Store", "DICOMDIR"):
        Path("scans", name).write_bytes(b"x")
    assert main([*given, scans]) == 0
    assert "not opened, as no scans by their names: 3 (" in capsys.readouterr().err
    for name, way_out in {"c.mgz": "mri_convert", "d.nii.bz2": "uncompress", "e.nii": "datalad get"}.items():
        if name == "e.nii":
            Path("scans", name).symlink_to("gone")
        else:
            Path("scans", name).write_bytes(b"x")
        assert main([*given, scans]) == 1
        assert way_out in capsys.readouterr().err
        with Path("masks/volumes.csv").open() as file:
            rows = {row["case"]: row for row in csv.DictReader(file)}
        assert [rows[case]["status"] for case in ("a", "b", name)] == ["ok", "ok", "failed"]
        assert way_out in rows[name]["error"]
        Path("scans", name).unlink()


def test_a_name_that_is_no_utf8_ends_nothing(model, scans):
    name = os.fsdecode(b"scans/Gr\xf6\xdfe.nii.gz")
    Path("scans/cut.nii.gz").write_bytes(b"garbage")
    Path("scans/cut.nii.gz").rename(name)
    given = ["segment", "--model", model, "-o", "masks", "--workers", "0", "--device", "cpu", scans]
    assert main(given) == 1
    assert main([*given, "--json", "--resume"]) == 1
    with Path("masks/volumes.csv").open(encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)].count("failed") == 1


def test_a_case_with_the_longest_name_is_segmented(model, scans):
    Path("scans/cut.nii.gz").rename("scans/" + "a" * 248 + ".nii.gz")
    assert main(["segment", "--model", model, "-o", "masks", "--workers", "0", "--device", "cpu", scans]) == 0
    assert len([path for path in Path("masks").iterdir() if len(path.name) > 200]) == 2
    with Path("masks/volumes.csv").open() as file:
        assert any("the name is shortened" in row["note"] for row in csv.DictReader(file))


def test_preprocess_ends_with_1_where_a_scan_was_left_out(scans, capsys):
    assert main(["preprocess", scans, "-o", "set", "--domain", "ct", "--set", "min_brain_mm2=0"]) == 0
    Path("scans/d.nrrd.gz").write_bytes(b"x")
    assert main(["preprocess", scans, "-o", "set2", "--domain", "ct", "--set", "min_brain_mm2=0"]) == 1
    assert "left out: scans/d.nrrd.gz: compressed; uncompress it (gunzip)" in capsys.readouterr().err


def test_fast_is_said_in_the_settings_and_refuses_its_opposite(model, scans, capsys):
    assert main(["segment", scans, "--model", model, "-o", "fast", "--fast", "--device", "cpu", "--workers", "0"]) == 0
    settings = json.loads(Path("fast/volumes.json").read_text())["settings"]
    assert {name: settings[name] for name in ("coarse_brain", "preview", "resampled", "tta")} == {
        "coarse_brain": True, "preview": False, "resampled": False, "tta": False,
    }  # fmt: skip
    assert not list(Path("fast").glob("*.png"))
    assert main(["segment", scans, "--model", model, "-o", "both", "--fast", "--tta"]) == 2
    assert "--tta takes up to four times as long" in capsys.readouterr().err.splitlines()[-1]
    assert not Path("both").exists()
