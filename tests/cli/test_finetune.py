"""`ctseg finetune`, `ctseg das-train --source-list` and `ctseg preprocess --masks` on toy data."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.files import read_toml
from ctseg.io.slice_writer import write_slices
from ctseg.io.slices import open_slices
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import read_header

pytestmark = pytest.mark.slow

SIZE = 32
SMALL = ["--preset", "smoke", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _own_state() -> None:
    common.STATE = common.State(quiet=True)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """12 labelled CT slices of 4 patients."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 110, (12, SIZE, SIZE)).astype(np.uint8)
    masks = np.zeros_like(images)
    masks[:, 12:18, 10:16] = 1
    images[masks > 0] = 210
    table = pd.DataFrame(
        {
            "slice_id": [f"s{place}" for place in range(12)],
            "patient_id": [f"p{place // 3}" for place in range(12)],
            "series_id": [f"p{place // 3}" for place in range(12)],
            "index": np.arange(12) % 3, "z_mm": 5.0 * (np.arange(12) % 3), "spacing_row_mm": 7.5,
            "spacing_col_mm": 7.5, "brain_px": SIZE * SIZE, "lesion_px": 36, "split": "train",
        }
    )  # fmt: skip
    folder = tmp_path / "ct"
    folder.mkdir()
    write_slices(
        folder, domain="ct", images=images, masks=masks, table=table, intensity={"a": 2.55, "b": 0.0, "unit": "HU"},
        settings=PreprocessSettings(size=SIZE).model_dump(mode="json"),
    )  # fmt: skip
    return folder


def finetune(ct: Path, out: Path, *more: str) -> int:
    return main(["finetune", "--data", str(ct), "-o", str(out), "--folds", "2", *SMALL, "--json", *more])


def das_train(ct: Path, out: Path, *more: str) -> int:
    plain = ["--set", "matched=false", "--set", "lambda_adv=0"]
    return main(["das-train", "--src", str(ct), "--tgt", str(ct), "-o", str(out), *SMALL, *plain, *more])


def test_every_slice_is_outlined_by_a_fold_that_never_saw_its_patient(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(ct, tmp_path / "run") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["overall"]["slices"] == 12
    assert np.load(tmp_path / "run/masks.npy").shape == (12, SIZE, SIZE)
    folds = pd.read_csv(tmp_path / "run/folds.csv")
    assert folds.groupby("patient_id")["fold"].nunique().eq(1).all()
    header = read_header(tmp_path / "run/fold_1")
    assert header.training["supervised"] is True
    assert header.training["from"] == "nothing"
    assert header.settings == {"width": 4, "input_mean": 0.5, "input_std": 0.5, "initialisation": "vgg"}


def test_it_starts_from_the_weights_of_a_run(ct: Path, tmp_path: Path) -> None:
    assert das_train(ct, tmp_path / "start", "--seed", "3") == 0
    still = ["--set", "lr=1e-30", "--set", "epochs=1", "--set", "steps_per_epoch=1"]
    assert finetune(ct, tmp_path / "run", "--from", str(tmp_path / "start"), *still) == 0
    from safetensors.numpy import load_file

    start, moved = (load_file(tmp_path / name) for name in ("start/model.safetensors", "run/fold_2/model.safetensors"))
    weights = [name for name in start if "running" not in name and "num_batches" not in name]
    for name in weights:
        np.testing.assert_allclose(moved[name], start[name], atol=1e-6)
    assert read_toml(tmp_path / "run/config.toml")["from"].startswith("weights ")


def test_a_start_that_has_learnt_from_the_same_masks_is_said_wherever_its_dice_is(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(ct, tmp_path / "first") == 0
    common.STATE.quiet = False
    assert read_header(tmp_path / "first/fold_1").training["ct_labels"] is True
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "first/fold_1")]) == 0
    assert "CT labels seen: True" in capsys.readouterr().out
    start = ["--from", str(tmp_path / "first/fold_1"), "--data", str(ct), "--folds", "2", *SMALL]
    assert main(["finetune", *start, "-o", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert f"has learnt from the masks of {ct}; no Dice of this call is one on unseen patients" in said
    assert "on patients whom --from has learnt from (" in said
    assert "never trained on" not in said
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["start_saw_patients"] is True
    assert "never" not in summary["selection"]
    assert main(["inspect", str(tmp_path / "run")]) == 0
    assert "pooled Dice on patients whom its start has learnt from" in capsys.readouterr().out


def test_a_start_that_has_learnt_from_other_labels_is_said(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(ct, tmp_path / "first") == 0
    common.STATE.quiet = False
    masks = np.load(ct / "masks.npy")
    masks[0, 0, 0] = 1
    np.save(ct / "masks.npy", masks)
    capsys.readouterr()
    start = ["--from", str(tmp_path / "first/fold_1"), "--data", str(ct), "--folds", "2", *SMALL]
    assert main(["finetune", *start, "-o", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "has learnt from labels of CT; patients of --data that were among them are seen" in said
    assert "on patients never trained on (" in said
    assert "start_saw_patients" not in json.loads((tmp_path / "run/summary.json").read_text())


def test_a_stopped_run_goes_on_and_another_config_is_refused(ct: Path, tmp_path: Path) -> None:
    assert finetune(ct, tmp_path / "run") == 0
    before = np.load(tmp_path / "run/masks.npy")
    assert finetune(ct, tmp_path / "run") == 2
    assert finetune(ct, tmp_path / "run", "--resume", "--seed", "1") == 2
    assert finetune(ct, tmp_path / "run", "--resume") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "run/masks.npy"), before)


def test_a_network_other_than_that_of_the_start_is_refused(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert das_train(ct, tmp_path / "start") == 0
    assert finetune(ct, tmp_path / "run", "--from", str(tmp_path / "start"), "--segmenter", "unet") == 2
    assert "holds 'fcn'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_too_many_folds_are_refused_before_anything_is_written(ct: Path, tmp_path: Path) -> None:
    assert finetune(ct, tmp_path / "run", "--folds", "5") == 2
    assert not (tmp_path / "run").exists()


def test_a_source_list_is_all_that_is_trained_on(ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("s4\ns0\n\ns7\n")
    assert das_train(ct, tmp_path / "run", "--source-list", str(chosen), "--json") == 0
    assert json.loads(capsys.readouterr().out)["source_slices"] == 3
    assert read_toml(tmp_path / "run/config.toml")["data"]["source_list"]["slices"] == 3
    chosen.write_text("s4\ns1\n")
    assert das_train(ct, tmp_path / "run", "--source-list", str(chosen), "--resume") == 2
    chosen.write_text("s4\nnobody\n")
    assert das_train(ct, tmp_path / "other", "--source-list", str(chosen)) == 2
    assert "nobody" in capsys.readouterr().err


def test_masks_of_a_folder_label_the_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    z, y, x = np.mgrid[:20, :64, :64]
    radius = ((z - 9.5) * 5 / 46) ** 2 + ((y - 31.5) * 3 / 80) ** 2 + ((x - 31.5) * 3 / 64) ** 2
    head = np.select([radius < 1, radius < 1.25], [30 + x % 10, 900], -1000).astype(np.int16)
    mask = np.zeros(head.shape, np.uint8)
    mask[8:10, 28:40, 22:34] = 1
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    for name, values, place in (
        ("scans/ct_one", head, affine),
        ("scans/ct_two", head, affine),
        ("truth/ct_one", mask, affine),
        ("truth/ct_two", mask, affine + np.array([[0, 0, 0, 30.0]] + [[0.0] * 4] * 3)),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), place), tmp_path / f"{name}.nii.gz")
    out = tmp_path / "set"
    argv = ["preprocess", str(tmp_path / "scans"), "--masks", str(tmp_path / "truth"), "-o", str(out), "--json"]
    code = main([*argv, "--size", "64", "--fov", "192", "--workers", "0"])
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert code == 1
    assert list(failed) == ["ct_two"]
    assert "another grid" in failed["ct_two"]
    made = open_slices(out)
    masks = made.require_masks("x")
    assert (masks.sum(axis=(1, 2)) > 0).sum() == 2
    assert masks.sum() == mask.sum()
