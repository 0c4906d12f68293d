"""`ctseg inspect`: what a path is, whether it is sound, and what comes next; a cohort's problems before a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from model_files import weights

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.inspection.inspect import FOLDER_FILES, inspect, kind_of_path
from ctseg.io.slice_writer import write_slices
from ctseg.outputs import new_folder


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "STATE", common.State(quiet=True, outside_plugins=False))
    monkeypatch.chdir(tmp_path)


def save(name: str, voxels: Any, pixel: float = 4.0) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(voxels), np.diag([pixel, pixel, 5.0, 1.0])), path)
    return path


def head(seed: int, slices: int = 8) -> Any:
    """A head in HU: air, a ring of bone, brain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((40, 40)) - 19.5
    radius = np.hypot(rows, columns)[..., None].repeat(slices, axis=2)
    hu = np.where(radius < 16, 33.0, -1000.0)
    hu[(radius >= 14) & (radius < 16)] = 900
    return np.round(hu + rng.normal(0, 6, hu.shape)).astype(np.int16)


def looked(path: str, *argv: str, code: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["inspect", path, "--json", *argv]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_sound_cohort_has_counts_geometry_range_and_next_steps(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        save(f"raw/p{seed}.nii.gz", head(seed))
    found = looked("raw", code=0, capsys=capsys)
    assert (found["kind"], found["sound"], found["problems"]) == ("scans", True, [])
    facts = found["facts"]
    assert (facts["scans"], facts["patients"], facts["domain"], facts["read"]) == (2, 2, "2 CT", 2)
    assert (facts["slices"], facts["matrix"], facts["pixel mm"], facts["slice step mm"]) == ("8", "40 x 40", "4", "5")
    low, _, high = facts["HU of CT, 1st to 99th percentile"].partition(" to ")
    assert -1030 < float(low) < -990
    assert 880 < float(high) < 930
    assert "ctseg segment raw -o masks" in found["next"]


def test_a_cohorts_problems_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    save("raw/good.nii.gz", head(1))
    shutil.copy("raw/good.nii.gz", "raw/copy.nii.gz")
    save("raw/short.nii.gz", head(2, slices=3))
    save("raw/wide.nii.gz", head(3), pixel=12.0)
    save("raw/shifted.nii.gz", head(4) - 200)
    (Path("raw") / "broken.nii.gz").write_bytes(b"no image")
    found = looked("raw", code=1, capsys=capsys)
    text = "\n".join(found["problems"])
    for words in (
        "copy, good hold the same bytes", "fewer than 5 slices: short", "larger or smaller than the cohort's: wide",
        "shifted: not HU", "broken.nii.gz",
    ):  # fmt: skip
        assert words in text, text
    assert main(["inspect", "raw"]) == 1
    assert "raw: scans, NOT SOUND" in capsys.readouterr().out


def test_scans_without_any_sign_of_a_domain_are_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    save("raw/a.nii.gz", np.random.default_rng(0).uniform(1, 90, (32, 32, 8)).astype(np.float32))
    found = looked("raw", "--headers-only", code=1, capsys=capsys)
    assert any("may be MR or CT" in text for text in found["problems"])
    assert "read" not in found["facts"]


def test_labels_are_counted_and_missing_ones_named(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name, lesion in (("a", 2), ("b", 0), ("c", None)):
        brain = np.zeros((40, 40, 8), np.float32)
        brain[8:32, 8:32] = rng.uniform(100, 200, (24, 24, 8))
        save(f"mr/{name}_flair.nii.gz", brain)
        if lesion is not None:
            mask = np.zeros((40, 40, 8), np.uint8)
            mask[10:14, 10:14, 3] = lesion
            save(f"mr/{name}_seg.nii.gz", mask)
    found = looked("mr", code=1, capsys=capsys)
    assert found["facts"]["label values"] == {"2": "in 1 scan"}
    text = "\n".join(found["problems"])
    assert "1 MR scan without labels, others have some: c" in text
    assert "labels without any lesion: b" in text
    assert found["rows"][0]["labels"] == {"2": pytest.approx(16 * 0.08)}


def test_masks_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((20, 20, 4), np.uint8)
    save("truth/empty.nii.gz", mask)
    mask[:5, :5, 1] = 1
    save("truth/full.nii.gz", mask)
    found = looked("truth", code=0, capsys=capsys)
    assert (found["kind"], found["facts"]["empty"], found["facts"]["masks"]) == ("masks", 1, 2)
    assert found["facts"]["mL of those with a lesion"] == "2.00 to 2.00"


def test_masks_in_other_forms_are_measured_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """They had been passed over beside NIfTI, and alone were taken for scans."""
    sitk = pytest.importorskip("SimpleITK")
    mask = np.zeros((20, 20, 4), np.uint8)
    mask[:5, :5, 1] = 1
    save("truth/full.nii.gz", mask)
    Path("other").mkdir()
    for folder, name in (("truth", "a.seg.nrrd"), ("other", "a.mha"), ("other", "b.nrrd")):
        sitk.WriteImage(sitk.ReadImage("truth/full.nii.gz"), f"{folder}/{name}")
    for folder in ("truth", "other"):
        found = looked(folder, code=0, capsys=capsys)
        assert (found["kind"], found["facts"]["masks"]) == ("masks", 2)
        assert found["facts"]["mL of those with a lesion"] == "2.00 to 2.00"


def slice_set(folder: Path, domain: str = "mr", split: str = "train") -> None:
    images = np.full((4, 16, 16), 80, np.uint8)
    masks = np.zeros_like(images)
    masks[0, :3, :3] = 1
    table = pd.DataFrame({
        "slice_id": list("abcd"), "patient_id": ["p1", "p1", "p2", "p2"], "series_id": ["s1", "s1", "s2", "s2"],
        "index": [0, 1, 0, 1], "z_mm": [0.0, 5.0, 0.0, 5.0], "spacing_row_mm": 2.5, "spacing_col_mm": 2.5,
        "brain_px": 256, "lesion_px": masks.sum(axis=(1, 2)), "split": split,
    })  # fmt: skip
    with new_folder(folder, kind="preprocess") as out:
        write_slices(
            out, domain=domain, images=images, masks=masks if domain == "mr" else None, table=table,
            intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={},
        )  # fmt: skip


def test_a_slice_set_and_its_picture(capsys: pytest.CaptureFixture[str]) -> None:
    slice_set(Path("set"), "ct")
    found = looked("set", "--thumbnail", "a.png", code=0, capsys=capsys)
    assert found["facts"]["written by"] == "ctseg preprocess"
    assert found["facts"]["patients by split"] == {"train": 2}
    assert found["facts"]["grey"] == "0 to 255 are 0 to 100 HU"
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert main(["inspect", "set", "--thumbnail", "a.png"]) == 2
    assert "a.png: exists already" in capsys.readouterr().err
    assert main(["inspect", "set", "--thumbnail", "a.png", "--overwrite"]) == 0
    Path("b.png").write_bytes(b"\x89PNG\r\n\x1a\nmine")
    assert main(["inspect", "set", "--thumbnail", "b.png", "--overwrite"]) == 2
    assert Path("b.png").read_bytes().endswith(b"mine")
    capsys.readouterr()
    info = json.loads(Path("set/dataset.json").read_text())
    Path("set/dataset.json").write_text(json.dumps({**info, "settings": {"brain_hu": 31.0}}))
    found = looked("set", code=0, capsys=capsys)
    assert found["facts"]["grey"].startswith(
        "0 to 255 are -31 to +69 HU relative to each scan's median brain (0 to 100"
    )
    array = np.load("set/images.npy")
    np.save("set/images.npy", array[:2])
    found = looked("set", code=1, capsys=capsys)
    assert "do not agree" in found["problems"][0]


def test_a_set_without_training_patients_is_not_sound(capsys: pytest.CaptureFixture[str]) -> None:
    slice_set(Path("set"), split="val")
    assert any("no patient in split train" in text for text in looked("set", code=1, capsys=capsys)["problems"])


def test_pairs_say_which_stage_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pairs.csv").write_text("source_id,target_id,rank\na,x,1\na,y,2\nb,x,1\n")
    found = looked("pairs.csv", code=0, capsys=capsys)
    assert found["facts"]["for"].startswith("stage 1")
    assert found["facts"]["each target slice serves"] == "1 to 2 times"
    Path("pairs.csv").write_text("source_id,target_id,rank\n")
    assert looked("pairs.csv", code=1, capsys=capsys)["problems"] == ["holds no pair; make it with `ctseg match`"]


def test_an_unfinished_run_and_a_study_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run/config.toml").touch()
    Path("run/checkpoint.pt").touch()
    assert "not finished" in looked("run", code=1, capsys=capsys)["problems"][0]
    Path("a.toml").write_text('[[step]]\ncommand = "phantom"\noutput = "x"\n')
    found = looked("a.toml", code=0, capsys=capsys)
    assert found["next"][0] == "ctseg run a.toml --dry-run"


def test_a_finished_run_says_what_it_holds_and_what_uses_it(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from ctseg.runs import ModelHeader, append_metrics, save_model

    training = {"command": "das-train", "preset": "plus", "seed": 3, "selection": "last", "epochs": 9, "data": {}}
    made = {"size": [16, 16], "preprocess": {"size": 16, "fov_mm": 240.0}}
    header = ModelHeader("segmenter", "fcn", {"width": 4}, "ctseg", "1.0", made, training)
    Path("run").mkdir()
    save_model(Path("run/model.safetensors"), torch.nn.Linear(1, 1), header)
    append_metrics(Path("run"), {"epoch": 0, "warnings": ["the adversary ran away"]})
    found = looked("run", code=0, capsys=capsys)
    assert found["facts"]["holds"] == "segmenter 'fcn' of ctseg 1.0"
    assert found["facts"]["trained by"] == "ctseg das-train, preset plus, seed 3"
    assert found["remarks"] == ["the training warned: the adversary ran away"]
    assert found["next"][0] == "ctseg segment SCANS --model run -o masks"
    assert looked("run/model.safetensors", code=0, capsys=capsys)["kind"] == "run"


@pytest.mark.parametrize(
    ("model_input", "said"),
    [
        ({"preprocess": {"size": -4, "fov_mm": 240.0}}, "the model's preprocessing"),
        ({"preprocess": 3}, "input.preprocess"),
        ({"preprocess": {"size": 16}, "profile": [1]}, "input.profile"),
    ],
)
def test_a_model_that_segment_would_refuse_is_not_called_sound(
    model_input: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights(Path("model.safetensors"), input=model_input)
    [problem] = looked("model.safetensors", code=1, capsys=capsys)["problems"]
    assert said in problem


def test_a_segmentation_names_failed_cases_and_lost_masks(capsys: pytest.CaptureFixture[str]) -> None:
    from ctseg.inference.results import SCHEMA

    rows = [
        {"case": "a", "status": "ok", "ml": 3.0, "ood": "thick slices"},
        {"case": "b", "status": "failed", "error": "no brain found"},
    ]
    Path("masks").mkdir()
    Path("masks/volumes.json").write_text(json.dumps({"schema": SCHEMA, "cases": rows, "models": [], "settings": {}}))
    found = looked("masks", code=1, capsys=capsys)
    assert (found["facts"]["cases"], found["facts"]["segmented"], found["facts"]["mL"]) == (2, 1, "3.00 to 3.00")
    assert found["problems"] == ["b: failed: no brain found", "masks are gone: a; segment again with --resume"]
    assert found["remarks"] == ["out of distribution: a; look at them"]


@pytest.mark.parametrize(("name", "kind"), FOLDER_FILES)
def test_a_folder_is_known_by_its_files(name: str, kind: str) -> None:
    Path("x").mkdir()
    (Path("x") / name).touch()
    assert kind_of_path(Path("x")) == kind


@pytest.mark.parametrize(("name", "words"), [("no", "no such file or folder"), ("a.csv", "nothing that ctseg makes")])
def test_nothing_known_is_one_line(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("x,y\n")
    assert main(["inspect", name]) == 2
    assert words in capsys.readouterr().err


def test_workers_read_the_same() -> None:
    for seed in (1, 2):
        save(f"raw/p{seed}.nii.gz", head(seed))
    here, there = (inspect(Path("raw"), workers=workers).as_dict() for workers in (0, 1))
    assert here == there


ODD_SUMMARIES = (
    {"models": ["x"]}, {"models": [{"name": 1, "pooled": [1]}]}, {"models": [{"name": "a", "pooled": {"dice": 3}}]},
    {"models": {}}, {"overall": [1]}, {"overall": "x"}, ["x"], 3, None,
)  # fmt: skip


@pytest.mark.parametrize("summary", ODD_SUMMARIES)
@pytest.mark.parametrize("kind", ["evaluation", "folds"])
def test_a_summary_of_another_form_is_no_traceback(tmp_path: Path, kind: str, summary: Any) -> None:
    if kind == "folds":
        (tmp_path / "fold_1").mkdir()
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert main(["-q", "inspect", str(tmp_path)]) in (0, 1)


@pytest.mark.parametrize(
    "training", [{"data": {"a": 3}}, {"data": ["a"]}, {"data": "a"}, {"data": None}, {"data": {"a": {"slices": [1]}}}]
)
@pytest.mark.parametrize("warnings", [3, "abc", [1, {}], None])
def test_a_run_of_another_form_is_no_traceback(tmp_path: Path, training: dict[str, Any], warnings: Any) -> None:
    weights(tmp_path / "model.safetensors", training=training, input={"preprocess": 3, "intensity": [1]})
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"epoch": 0, "warnings": warnings}))
    assert main(["-q", "inspect", str(tmp_path)]) in (0, 1)


def test_other_outputs_and_folders_of_outputs_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind in (("exported", "export"), ("runs/a", "das-train"), ("runs/b", "synth-train")):
        with new_folder(Path(name), kind=kind) as folder:
            (folder / "README.md").write_text("x")
    found = looked("exported", code=0, capsys=capsys)
    assert found["kind"] == "output"
    assert (found["facts"]["written by"], found["facts"]["files"]) == ("ctseg export", "README.md")
    found = looked("runs", code=0, capsys=capsys)
    assert found["kind"] == "outputs"
    assert found["facts"]["holds"] == {"a": "by ctseg das-train", "b": "by ctseg synth-train"}
    assert found["next"] == ["ctseg inspect runs/a", "ctseg inspect runs/b"]
    save("runs/c/scan.nii.gz", head(1))  # scans among outputs are scans
    assert looked("runs", code=0, capsys=capsys)["kind"] == "scans"


def test_what_is_left_out_is_one_line_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    save("raw/p1.nii.gz", head(1))
    for number in range(4):
        save(f"raw/truth/m{number}.nii.gz", (head(1) > 20).astype(np.uint8))
    lines = [line for line in looked("raw", code=0, capsys=capsys)["remarks"] if line.startswith("left out")]
    assert len(lines) == 1, lines
    assert " and 3 more: a mask" in lines[0]
