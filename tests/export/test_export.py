"""`ctseg export`: the other program's numbers are the model's, and what is written beside the network is true."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.export import export
from ctseg.export.network import LIMIT, check_slices
from ctseg.io.volume import Volume
from ctseg.networks.unet import UNet
from ctseg.preprocess.ct import prepare_ct
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

pytestmark = pytest.mark.slow

SIZE = 32
MADE = PreprocessSettings(size=SIZE, fov_mm=96.0, brain_hu=31.0)
FILES = {
    "onnx": {"model.onnx", "README.md"},
    "openvino": {"model.xml", "model.bin", "README.md"},
    "monai-bundle": {
        "models/model.ts", "models/model.pt", "configs/metadata.json", "configs/inference.json",
        "/".join(("docs", "README.md")),
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "STATE", common.State())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run():
    torch.manual_seed(0)
    settings = {"width": 4, "depth": 2}
    header = ModelHeader(
        "segmenter", "unet", settings, "ctseg", "0.1.0",
        {"preprocess": MADE.model_dump(mode="json"), "intensity": {}, "size": [SIZE, SIZE]},
    )  # fmt: skip
    save_model(Path("run/model.safetensors"), UNet(**settings), header)
    return "run"


def needs(target):
    for name in {"onnx": ("onnxruntime",), "openvino": ("openvino",), "monai-bundle": ("monai", "ignite")}[target]:
        if name == "openvino":
            sys.modules.setdefault("openvino_telemetry", None)
        pytest.importorskip(name)


@pytest.mark.parametrize("target", list(FILES))
def test_the_numbers_are_those_of_the_model(run, target, capsys):
    needs(target)
    assert main(["export", run, "--to", target, "-o", "out", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["parity"]["probability"] <= LIMIT
    assert summary["parity"]["spread"] > 0
    written = {path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file()}
    assert written - {".ctseg.json"} == FILES[target] | {"ctseg-export.json"}
    found = json.loads(Path("out/ctseg-export.json").read_text())
    assert found["model"]["sha256"] == summary["sha256"]
    assert set(found["files"].values()) <= written
    if target == "openvino":
        assert sys.modules["openvino_telemetry"] is None, "importing OpenVINO must not speak to the network"


def test_onnx_takes_any_number_of_slices(run):
    needs("onnx")
    import onnxruntime

    from ctseg.api import find_models, load_for_segment

    assert main(["export", run, "-o", "out"]) == 0
    module = load_for_segment(find_models(Path(run)), "cpu")[0][0].models[0].module
    session = onnxruntime.InferenceSession("out/model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = check_slices(SIZE, count)
        with torch.inference_mode():
            expected = module(torch.from_numpy(images)).logits.numpy()
        np.testing.assert_allclose(session.run(["logits"], {"images": images})[0], expected, atol=1e-4)


def test_where_torch_cannot_write_a_network_a_trace_of_it_is_written(run, monkeypatch, capsys):
    """As with torch 2.6 and an onnxscript that today's torch needs."""
    pytest.importorskip("onnxruntime")
    real, tried = torch.onnx.export, []

    def export_by(*args, dynamo, **options):
        tried.append(dynamo)
        if dynamo:
            raise RuntimeError("Failed to convert. \x1b[96mThis is step 3/3\x1b[0m")
        return real(*args, dynamo=dynamo, **options)

    monkeypatch.setattr(torch.onnx, "export", export_by)
    assert main(["export", run, "--to", "onnx", "-o", "out"]) == 0
    assert tried == [True, False]
    assert "parity on 4 slices" in "".join(capsys.readouterr())
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: export_by(*args, **{**options, "dynamo": True}))
    assert main(["export", run, "--to", "onnx", "-o", "again"]) == 2
    said = capsys.readouterr().err
    assert "This is step 3/3" in said
    assert "[96m" not in said


def test_an_exported_network_that_differs_is_refused(run, monkeypatch, capsys):
    needs("onnx")
    monkeypatch.setattr(export, "onnx_runner", lambda _path: lambda images: images * 3)
    assert main(["export", run, "-o", "out"]) == 2
    assert "nothing is written" in capsys.readouterr().err
    assert not Path("out").exists()
    assert [path.name for path in Path().iterdir()] == ["run"]


@pytest.mark.parametrize(("target", "package", "extra"), [
    ("onnx", "onnxscript", "export"), ("openvino", "openvino", "openvino"), ("monai-bundle", "monai", "monai"),
])  # fmt: skip
def test_a_missing_package_is_one_line_with_the_way_out(run, target, package, extra, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", run, "--to", target, "-o", "out"]) == 2
    assert f"pip install 'ctseg[{extra}]'" in capsys.readouterr().err.splitlines()[-1]
    assert not Path("out").exists()


def test_a_package_that_is_too_old_is_named_and_the_network_is_not_blamed(run, monkeypatch, capsys):
    needs("onnx")

    def export_with_an_old_package(*_args, **_more):
        try:
            from onnxscript import nothing_of_this_name  # noqa: F401
        except ImportError as error:
            raise RuntimeError(str(error)) from error

    monkeypatch.setattr(torch.onnx, "export", export_with_an_old_package)
    assert main(["export", run, "-o", "out"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "pip install --upgrade onnxscript" in line
    assert "this network" not in line
    assert not Path("out").exists()


def test_bad_calls_are_one_line(run, capsys):
    assert main(["export", run, "--to", "onx", "-o", "out"]) == 2
    assert main(["export", "nothing-here", "-o", "out"]) == 2
    assert "unknown model" in capsys.readouterr().err
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    assert main(["export", run, "-o", "mine", "--overwrite"]) == 2
    assert Path("mine/notes.txt").read_text() == "mine"


def test_the_steps_before_the_network_are_those_of_the_description():
    """The numbered steps of the README, followed with plain matrices, give `prepare_ct` to one grey value."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(36, 6, (3, 90, 90)).astype(np.float32)
    brain = np.zeros(voxels.shape, bool)
    brain[:, 20:71, 25:66] = True
    volume = Volume(
        voxels, np.arange(3)[:, None] * [0, 0, 5.0], np.array([0, 1.2, 0]), np.array([1.2, 0, 0]), "ct", "a", "a"
    )
    hu = voxels + (31.0 - np.median(voxels[brain]))
    grey = np.where(brain, np.clip(2.55 * hu, 0, 255), 0)
    step = 96.0 / SIZE / 1.2
    starts = [np.floor((low + high) / 2 - (SIZE - 1) / 2 * step + 0.5) for low, high in ((20, 70), (25, 65))]

    def weights(start):
        centres = start + step * np.arange(SIZE)
        table = np.maximum(0, 1 - np.abs(np.arange(-9, 99)[None] - centres[:, None]) / step)
        return (table / table.sum(axis=1, keepdims=True))[:, 9:99]

    rows, cols = (weights(start) for start in starts)
    mean, share = (rows @ np.asarray(values, float) @ cols.T for values in (grey, brain))
    expected = np.where(share >= 0.5, np.rint(mean / np.maximum(share, 1e-6)), 0)
    found = prepare_ct(volume, MADE, brain).images
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert found.any()
