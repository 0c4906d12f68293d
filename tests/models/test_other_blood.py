"""`ctseg segment --other-blood` from the command line: what is written, what a second call finds, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
import pytest
import torch
from model_files import card_of, header, ship, weights

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.files import read_json, write_json
from ctseg.inference.kind_slices import CLASSES, KINDS_NETWORK, NEIGHBOURS
from ctseg.inference.results import results_schema
from ctseg.networks.unet import KindsUNet
from ctseg.runs import save_model

Capture = pytest.CaptureFixture[str]
SETTINGS: dict[str, Any] = {
    "classes": CLASSES, "width": 4, "depth": 1, "in_channels": NEIGHBOURS, "stem": 1,
}  # fmt: skip
CALL = ("segment", "a.nii.gz", "--workers", "0", "--device", "cpu")


def ship_kinds(folder: Path, kind: int = 1, **changes: Any) -> Path:
    """A network that calls everything one kind of other blood, with its card."""
    network = KindsUNet(**SETTINGS)
    torch.nn.init.zeros_(network.classifier.weight)
    assert network.classifier.bias is not None
    with torch.no_grad():
        network.classifier.bias.copy_(torch.tensor([9.0 if place == 1 + kind else 0.0 for place in range(CLASSES)]))
    fields = {"kind": "kinds-segmenter", "name": KINDS_NETWORK, "settings": SETTINGS, **changes}
    path = save_model(folder / "other-blood.safetensors", network, header(**fields))
    write_json(folder / "other-blood.json", card_of(path))
    return path


@pytest.fixture(autouse=True)
def scan() -> None:
    """A stripped head with a bright ball."""
    rows, cols, height = np.mgrid[:64, :64, :40] - np.array([31.5, 31.5, 19.5])[:, None, None, None]
    inside = (rows / 26) ** 2 + (cols / 20) ** 2 + (height / 19) ** 2 < 1
    grain = np.random.default_rng(0).integers(-6, 7, inside.shape)
    head = np.where(inside, 32 + grain, -1024).astype(np.int16)
    nib.save(nib.Nifti1Image(head, np.diag([3.0, 3.0, 2.0, 1.0])), "a.nii.gz")


@pytest.fixture
def both(package: Path) -> Path:
    """The package's default model and its network for other blood."""
    ship(package)
    ship_kinds(package)
    return package


def row(folder: str = "segmentation") -> dict[str, str]:
    with Path(folder, "volumes.csv").open() as file:
        [found] = csv.DictReader(file)
    return found


def voxels(path: str) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def refused(capsys: Capture, *argv: str) -> str:
    """The one line of a call that ends with 2."""
    common.STATE.registry = None
    capsys.readouterr()
    assert main([*argv]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.slow
def test_other_blood_is_a_second_output(both: Path, capsys: Capture) -> None:
    assert main([*CALL, "-o", "alone"]) == 0
    assert main([*CALL, "-o", "two", "--other-blood", "--label-tables", "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    np.testing.assert_array_equal(voxels("two/a.nii.gz"), voxels("alone/a.nii.gz"))
    scan, other = nib.load("a.nii.gz"), nib.load("two/other_blood/a.nii.gz")
    np.testing.assert_array_equal(other.affine, scan.affine)
    assert other.shape == scan.shape
    assert other.get_data_dtype() == np.uint8
    values = voxels("two/other_blood/a.nii.gz")
    assert set(np.unique(values)) == {0, 1}
    assert not values[voxels("two/a.nii.gz") > 0].any()
    found, before = row("two"), row("alone")
    assert float(found["ivh_ml"]) == pytest.approx((values == 1).sum() * 18 / 1000, abs=1e-3)
    assert (found["other_ml"], found["sah_ml"], found["sdh_ml"]) == (found["ivh_ml"], "0.0", "0.0")
    assert before["other_ml"] == before["ivh_ml"] == ""
    assert all(found[key] == before[key] for key in ("ml", "lesions", "abc2_ml", "brain_ml", "model"))
    assert line["ivh_ml"] == float(found["ivh_ml"])
    for folder in ("alone", "two"):
        jsonschema.validate(read_json(Path(folder, "volumes.json")), results_schema())
    assert [item["segmenter"] for item in read_json(Path("two/volumes.json"))["models"]] == ["unet", KINDS_NETWORK]
    assert "3\tSubdural haemorrhage\tSDH" in Path("two/other_blood/labels.tsv").read_text()
    assert not Path("alone/other_blood").exists()


@pytest.mark.slow
def test_a_second_call_knows_whether_other_blood_was_asked_for(both: Path, capsys: Capture) -> None:
    assert main([*CALL, "--other-blood"]) == 0
    again = (*CALL, "--resume")
    assert "other_blood True, now False" in refused(capsys, *again)
    mask = Path("segmentation/other_blood/a.nii.gz")
    whole, time = mask.read_bytes(), mask.stat().st_mtime_ns
    assert main([*again, "--other-blood"]) == 0
    assert mask.stat().st_mtime_ns == time
    mask.write_bytes(whole[:200])
    assert main([*again, "--other-blood"]) == 0
    np.testing.assert_array_equal(voxels(str(mask)).astype(bool).any(), True)
    ship_kinds(both, kind=2)
    assert "--resume with other models" in refused(capsys, *again, "--other-blood")
    assert main([*CALL, "--overwrite"]) == 0
    assert not mask.exists()


@pytest.mark.slow
def test_the_log_says_which_other_blood_there_is(both: Path, capsys: Capture) -> None:
    assert main([*CALL, "--set", "other_blood=true", "--set", "min_other_ml=9999"]) == 0
    assert "other blood (a hint, not reliable): none" in capsys.readouterr().err
    assert main([*CALL, "-o", "more", "--other-blood"]) == 0
    assert "other blood (a hint, not reliable): IVH " in capsys.readouterr().err


def test_it_is_listed_and_is_no_model_for_iph(both: Path, capsys: Capture) -> None:
    assert main(["models"]) == 0
    assert "kinds-segmenter kinds-unet" in capsys.readouterr().out
    assert main(["models", "show", "other-blood"]) == 0
    line = refused(capsys, *CALL, "--model", "other-blood")
    assert line.endswith("holds a kinds-segmenter, expected a segmenter; it belongs to `ctseg segment --other-blood`")
    assert not Path("segmentation").exists()


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (lambda folder: (folder / "other-blood.safetensors").unlink(), "unknown model 'other-blood'"),
        (lambda folder: (folder / "other-blood.json").unlink(), "its model card other-blood.json is missing"),
        (lambda folder: (folder / "other-blood.safetensors").write_bytes(b"x" * 99), "SHA-256 begins d0621fdd5f06"),
        (lambda folder: ship_kinds(folder, name="others-unet"), "is no network of 6 kinds"),
        (lambda folder: ship_kinds(folder, settings={**SETTINGS, "classes": 3}), "is no network of 6 kinds"),
        (lambda folder: ship_kinds(folder, settings={**SETTINGS, "depths": 1}), "settings make no network"),
        (lambda folder: ship_kinds(folder, settings={**SETTINGS, "width": 8}), "weights do not fit"),
        (lambda folder: ship_kinds(folder, input={}), "no preprocessing settings"),
        (lambda folder: shutil.copy(weights(folder / "x.safetensors", 3), folder / "other-blood.safetensors"),
         "SHA-256 begins"),
    ],
    ids=["gone", "no-card", "broken", "name", "classes", "setting", "weights", "input", "other-weights"],
)  # fmt: skip
def test_what_is_wrong_with_the_network_is_one_line(both: Path, capsys: Capture, damage: Any, wanted: str) -> None:
    damage(both)
    for path in both.glob("x.*"):
        path.unlink()
    assert wanted in refused(capsys, *CALL, "--other-blood")


@pytest.mark.slow
def test_python_has_the_option_too(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctseg
    from ctseg import api
    from ctseg.plugins.host import load

    monkeypatch.setattr(api, "_registry", load)  # one of an earlier call knows the models of that time

    found = ctseg.segment("a.nii.gz", device="cpu", other_blood=True)
    assert found.other_blood is not None
    assert found.other_blood.ml["ivh"] > 0
    assert ctseg.segment("a.nii.gz", device="cpu").other_blood is None
