"""`ctseg models`, and the commands that take a model by its name."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from model_files import card_of, ship, weights
from safetensors.torch import load_file, save_file

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.files import read_json, write_json
from ctseg.outputs.mark import Mark, write_mark
from ctseg.plugins.host import Registry

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *argv: str) -> str:
    """The one line of a command that ends with 2 and leaves nothing."""
    common.STATE.registry = None  # look at the folders anew
    before = sorted(Path().rglob("*"))
    assert main([*argv]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert len(lines) == 1, shown.err
    assert sorted(Path().rglob("*")) == before
    return lines[0]


@pytest.fixture
def scan() -> str:
    """A stripped head."""
    rows, cols, height = np.mgrid[:64, :64, :40] - np.array([31.5, 31.5, 19.5])[:, None, None, None]
    inside = (rows / 26) ** 2 + (cols / 20) ** 2 + (height / 19) ** 2 < 1
    grain = np.random.default_rng(0).integers(-6, 7, inside.shape)
    head = np.where(inside, 32 + grain, -1024).astype(np.int16)
    nib.save(nib.Nifti1Image(head, np.diag([3.0, 3.0, 2.0, 1.0])), "a.nii.gz")
    return "a.nii.gz"


def table(folder: str = "segmentation") -> list[dict[str, str]]:
    with Path(folder, "volumes.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_list_has_every_model_and_one_line_for_a_broken_one(
    package: Path, mine: Path, tmp_path: Path, plugged: Callable[[Path], Registry], capsys: Capture
) -> None:
    ship(package)
    ship(tmp_path / "plugin", "basal", 1)
    weights(mine / "run" / "model.safetensors", 2)
    (mine / "bad.safetensors").write_text("x")
    plugged(tmp_path / "plugin")
    assert main(["models"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["default", "basal", "bad", "run"]
    assert all(word in lines[0] for word in ("segmenter unet", "MB", "weights ", "licence CC0-1.0"))
    assert lines[1:4] == [
        "    Segments haemorrhage, for tests",
        "    trained on: phantom (Apache-2.0)",
        "    limits: finds nothing",
    ]
    assert "broken: " in next(line for line in lines if line.startswith("bad"))
    assert str(mine) in shown.err
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["default"], found["folder"]) == ("default", str(mine))
    rows = {row["name"]: row for row in found["models"]}
    assert [rows[name]["status"] for name in ("default", "basal", "bad", "run")] == ["ok", "ok", "broken", "ok"]
    assert rows["default"]["card"]["measured"][0]["value"] == 0.8
    assert rows["default"]["sha256"] == read_json(package / "default.json")["sha256"]
    assert (rows["run"]["card"], rows["bad"]["card"]) == (None, None)


def test_no_models_is_said(capsys: Capture) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "no models here\n"
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == []


def test_a_card_is_shown_whole(package: Path, mine: Path, capsys: Capture) -> None:
    path = ship(package)
    assert main(["models", "show", "default"]) == 0
    text = capsys.readouterr().out
    for words in (
        card_of(path)["sha256"], "ctseg reproduce tiny", "two cores", "61 s", "seeds 3", "phantom (Apache-2.0)",
        "no outline on real CT was learnt from", "Dice 0.8 (0.7 to 0.9) on phantom heads, 12 cases", "finds nothing",
        "Not a medical device",
    ):  # fmt: skip
        assert words in text
    assert "used with" not in text
    assert main(["models", "show", "default", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"]["made"]["seeds"] == [3]
    weights(mine / "run" / "model.safetensors", 2)
    assert main(["models", "show", "run"]) == 0
    assert "none; what follows is what the weights' file says" in capsys.readouterr().out
    (mine / "bad.safetensors").write_text("x")
    assert "not a safetensors file" in refused(capsys, "models", "show", "bad")
    assert "did you mean 'default'" in refused(capsys, "models", "show", "defautl")


def test_a_card_shows_the_settings_that_it_brings(package: Path, capsys: Capture) -> None:
    ship(package, faint_hu=6, grow_mm=4, tta=True)
    assert main(["models", "show", "default"]) == 0
    text = capsys.readouterr().out
    assert "used with     faint_hu=6: faint spots are dropped" in text
    assert "grow_mm=4: lesions grow to half their height above the brain" in text
    assert "--no-tta takes the image alone" in text


def test_a_card_is_drafted_from_a_run_and_works_when_it_is_filled_in(package: Path, capsys: Capture) -> None:
    run = weights(Path("run/model.safetensors"), 4)
    Path("run/metrics.jsonl").write_text('{"epoch": 0, "seconds": 2.5}\n{"epoch": 1, "seconds": 3}\n')
    card = package / "default.json"
    assert main(["models", "card", "run", "-o", str(card)]) == 0
    assert "fill in" in capsys.readouterr().err
    drafted = read_json(card)
    assert drafted["sha256"] == card_of(run)["sha256"]
    assert drafted["made"]["seconds"] == 5.5
    assert drafted["licence"] == drafted["training_data"][0]["licence"] == "not stated"
    (package / "default.safetensors").write_bytes(run.read_bytes())
    assert main(["models", "show", "default"]) == 0
    capsys.readouterr()
    assert "exists already" in refused(capsys, "models", "card", "run", "-o", str(card))
    Path("foreign.json").write_text("{}")
    assert "not what this command writes" in refused(
        capsys, "models", "card", "run", "-o", "foreign.json", "--overwrite"
    )
    assert main(["models", "card", "run", "-o", str(card), "--overwrite"]) == 0
    assert "kept" not in capsys.readouterr().err
    card.write_text(card.read_text().replace("not stated", "CC-BY-4.0", 1))
    filled_in = card.read_text()
    assert main(["models", "card", "run", "-o", str(card), "--overwrite"]) == 0
    assert "the card that was there is kept as default.json.changed" in capsys.readouterr().err
    assert Path(f"{card}.changed").read_text() == filled_in
    assert read_json(card) == drafted
    assert "no such file or folder" in refused(capsys, "models", "card", "gone", "-o", "new.json")


@pytest.mark.slow
def test_segment_takes_the_default_and_says_which_model_it_was(package: Path, scan: str, capsys: Capture) -> None:
    digest = card_of(ship(package))["sha256"][:12]
    assert main(["segment", scan, "--workers", "0", "--device", "cpu"]) == 0
    [row] = table()
    assert row["model"] == f"default (unet) {digest}"
    [model] = read_json(Path("segmentation/volumes.json"))["models"]
    assert (model["model"], model["weights"]) == ("default", digest)
    assert model["owner"].startswith("ctseg ")
    call = ["segment", scan, "--workers", "0", "--device", "cpu", "--resume", "--model"]
    assert main([*call, "default"]) == 0
    assert main([*call, str(package / "default.safetensors")]) == 0  # the same weights by their path
    weights(Path("run/model.safetensors"), 5)
    assert main([*call, "run"]) == 2
    assert "--resume with other models" in capsys.readouterr().err
    assert main(["segment", scan, "--workers", "0", "--model", "default", "--model", "run", "-o", "two"]) == 0
    assert [item["model"] for item in read_json(Path("two/volumes.json"))["models"]] == ["default", ""]
    assert table("two")[0]["ml_low"] != ""


@pytest.mark.slow
def test_python_takes_the_same_names(package: Path, scan: str) -> None:
    import ctseg

    ship(package)
    with pytest.MonkeyPatch.context() as patch:
        from ctseg import api
        from ctseg.plugins.host import load

        patch.setattr(api, "_registry", lambda: load(found=[]))
        by_default, by_name = ctseg.segment(scan), ctseg.segment(scan, "default", device="cpu")
        assert np.array_equal(by_default.probability, by_name.probability)
        assert [info.source.name for info in ctseg.list_models()] == ["default"]


def test_a_run_whose_weights_changed_since_its_training_is_refused(package: Path, scan: str, capsys: Capture) -> None:
    path = weights(Path("run/model.safetensors"))
    digest = card_of(path)["sha256"]
    write_json(Path("run/metadata.json"), {"weights_sha256": digest})
    assert main(["models", "show", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == digest
    changed = bytearray(path.read_bytes())
    changed[-2] ^= 1
    path.write_bytes(changed)
    for model in ("run", "run/model.safetensors"):
        line = refused(capsys, "segment", scan, "--model", model, "--device", "cpu")
        assert f"that in metadata.json {digest[:12]}" in line
        assert "damaged or changed; copy" in line
    line = refused(capsys, "das-train", "--src", "s", "--tgt", "t", "-o", "new", "--from", "run")
    assert "in metadata.json" in line
    for other in ('{"weights_sha256": "\u001b[31m"}', '{"weights_sha256": 3}', "[]", "{"):
        Path("run/metadata.json").write_text(other)
        assert main(["models", "show", "run"]) == 0


@pytest.mark.parametrize(("top", "model"), [("run", "run"), ("folds", "folds/fold_1")])
def test_weights_that_only_the_mark_knows_are_compared_with_it(
    top: str, model: str, package: Path, scan: str, capsys: Capture
) -> None:
    """Folds of a fine-tuning, and runs of earlier versions, have no metadata.json."""
    path = weights(Path(model, "model.safetensors"))
    mark = Mark("finetune", (path.relative_to(top).as_posix(),), finished=False)
    write_mark(Path(top), mark.finish(Path(top)))
    assert main(["models", "show", model]) == 0
    capsys.readouterr()
    changed = bytearray(path.read_bytes())
    changed[-2] ^= 1
    path.write_bytes(changed)
    for call in (["export", model, "-o", "exported"], ["segment", scan, "--model", str(path), "--device", "cpu"]):
        assert "that in .ctseg.json" in refused(capsys, *call)
    write_mark(Path(top), mark)  # of a training that has not finished
    assert main(["models", "show", model]) == 0


def damaged(change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Write `run` with changed tensors under its own header."""
    path = weights(Path("run/model.safetensors"))
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if name.endswith("weight") and tensors[name].ndim == 4)
    tensors[name] = torch.zeros(1, 2, 3, 4)


def _not_finite(tensors: dict[str, torch.Tensor]) -> None:
    next(value for value in tensors.values() if value.is_floating_point()).view(-1)[0] = float("nan")


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if name.endswith("weight"))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_reshape, ("weights do not fit 'unet'", "ctseg 0.1.0", "copy it again, or train it again")),
        (_drop, ("weights do not fit 'unet'",)),
        (_not_finite, ("are not finite", "copy it again")),
    ],
)
def test_weights_that_do_not_fit_are_one_line(change: Any, words: tuple[str, ...], scan: str, capsys: Capture) -> None:
    damaged(change)
    line = refused(capsys, "segment", scan, "--model", "run", "--device", "cpu")
    assert all(word in line for word in ("run/model.safetensors", *words)), line


def _too_large(tensors: dict[str, torch.Tensor]) -> None:
    """Finite weights, the sums of which are not."""
    for name, value in tensors.items():
        if name.endswith("weight") and value.ndim == 4:
            value.view(-1)[::2], value.view(-1)[1::2] = 3e38, -3e38


def test_finite_weights_that_give_no_numbers_are_no_empty_mask(scan: str, capsys: Capture) -> None:
    """They are compared with the threshold, and what is no number is below each."""
    damaged(_too_large)
    assert main(["-q", "segment", scan, "--model", "run", "--device", "cpu", "-o", "segmentation"]) == 1
    [row] = table()
    assert row["status"] == "failed"
    assert "gives values that are no numbers" in row["error"]
    assert not list(Path("segmentation").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "ctseg-model/2"}, ("model of schema 'ctseg-model/2'", "pip install --upgrade ctseg")),
        ({"schema": "ctseg-model/0"}, ("train it again, or take a model of this version",)),
        ({"kind": "generator"}, ("holds a generator", "ctseg synthesize")),
        ({"name": "swin", "package": "ctseg-x"}, ("needs segmenter 'swin'", "pip install ctseg-x")),
        ({"settings": {"width": 4, "depth": 1, "more": 2}}, ("unknown setting 'more'",)),
        ({"settings": {"width": 4, "depth": 2}}, ("weights do not fit 'unet'",)),
        ({"input": {}}, ("run/model.safetensors", "no preprocessing settings")),
        ({"input": {"preprocess": {"size": "wide"}}}, ("run/model.safetensors", "size='wide'")),
        ({"input": {"preprocess": {"size": 32, "window": [1]}}}, ("run/model.safetensors", "window")),
        (
            {"input": {"preprocess": {"size": 32}, "profile": {"form": 2, "ranges": 3}}},
            ("run/model.safetensors", "broken (ranges)"),
        ),
        (
            {"input": {"preprocess": {"size": 32}, "profile": "wide"}},
            ("run/model.safetensors", "header's input.profile"),
        ),
        ({"input": {"preprocess": {"size": 32, "brain_extractor": "none"}}}, ("unknown brain extractor 'none'",)),
    ],
)
def test_headers_that_cannot_be_used_are_one_line(
    changes: dict[str, Any], words: tuple[str, ...], scan: str, capsys: Capture
) -> None:
    weights(Path("run/model.safetensors"), **changes)
    line = refused(capsys, "segment", scan, "--model", "run", "--device", "cpu")
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"input": {"preprocess": {"size": 32}, "intensity": "x"}}, "input.intensity"),
        ({"input": {"preprocess": "x"}}, "input.preprocess"),
        ({"training": {"scores": [1]}}, "training.scores"),
        ({"training": {"data": {"source": "x"}}}, "training.data.source"),
        ({"training": {"data": {"a\x1b[31m\n": 1}}}, "training.data.a"),
    ],
)
def test_tables_in_a_header_that_are_none_are_one_line(changes: dict[str, Any], word: str, capsys: Capture) -> None:
    weights(Path("run/model.safetensors"), **changes)
    for call in (["models", "card", "./run", "-o", "card.json"], ["export", "./run", "-o", "out"]):
        line = refused(capsys, *call)
        assert "run/model.safetensors" in line
        assert word in line
    assert [path.name for path in Path().iterdir()] == ["run"]


def test_what_is_no_model_is_one_line(package: Path, mine: Path, scan: str, capsys: Capture) -> None:
    call = ["segment", scan, "--device", "cpu"]
    assert "no --model given" in refused(capsys, *call)
    path = ship(package)
    whole = path.read_bytes()
    Path("empty").mkdir()
    Path("tuned/fold_1").mkdir(parents=True)
    os.mkfifo("pipe.safetensors")
    Path("begun").mkdir()
    Path("begun/checkpoint.pt").write_bytes(b"x")
    Path("text.safetensors").write_text("text")
    Path("cut.safetensors").write_bytes(whole[:-9])
    Path("long.safetensors").write_bytes(whole + b"more")
    for model, words in {
        "empty": ("empty: no model.safetensors here", "ctseg models", "known: default"),
        "nowhere/run": ("nowhere/run: no such file or folder", "known: default"),
        "tuned": ("tuned: holds one network a fold", "tuned/fold_1"),
        "pipe.safetensors": ("pipe.safetensors: not a regular file",),
        "begun": ("begun: this training is not finished",),
        "defaults": ("unknown model 'defaults' (did you mean 'default'?)",),
        "text.safetensors": ("not a safetensors file",),
        "cut.safetensors": ("bytes where its header says", "copy it again"),
        "long.safetensors": ("bytes where its header says",),
        "x" * 300: ("unknown model",),
    }.items():
        line = refused(capsys, *call, "--model", model)
        assert all(word in line for word in words), line
    changed = bytearray(whole)
    changed[-2] ^= 1
    path.write_bytes(changed)
    line = refused(capsys, *call)
    assert "default.safetensors: its SHA-256 begins" in line
    assert "pip install --force-reinstall" in line
    path.unlink()
    assert "no --model given" in refused(capsys, *call)


def test_a_name_that_is_a_folder_too_is_said(package: Path, capsys: Capture) -> None:
    ship(package)
    weights(Path("default/model.safetensors"), 5)
    assert main(["models", "show", "default"]) == 0
    shown = capsys.readouterr()
    assert "for the path give ./default" in shown.err
    assert str(package) in shown.out
    assert main(["models", "show", "./default"]) == 0
    assert str(package) not in capsys.readouterr().out


def test_an_input_is_never_the_output(package: Path, scan: str, capsys: Capture) -> None:
    weights(Path("run/model.safetensors"))
    line = refused(capsys, "segment", scan, "--model", "run", "-o", "run", "--overwrite", "--device", "cpu")
    assert "is one of the inputs" in line


def test_trainings_and_translations_take_names(package: Path, capsys: Capture) -> None:
    path = ship(package)
    for argv in (
        ["das-train", "--src", "s", "--tgt", "t", "-o", "new", "--from"],
        ["synth-train", "--src", "s", "--tgt", "t", "-o", "new", "--from"],
        ["finetune", "--data", "s", "-o", "new", "--from"],
        ["synthesize", "--src", "s", "-o", "new", "--model"],
    ):
        assert "unknown model 'defualt' (did you mean 'default'?)" in refused(capsys, *argv, "defualt")
        line = refused(capsys, *argv, "default")
        assert "unknown model" not in line
    write_json(path.with_suffix(".json"), card_of(path, sha256="0" * 64))
    assert "that on its card 000000000000" in refused(
        capsys, "das-train", "--src", "s", "--tgt", "t", "-o", "new", "--from", "default"
    )


@pytest.mark.slow
def test_the_seg_names_model_and_weights(package: Path) -> None:
    from ctseg.api import find_models, load_for_segment
    from ctseg.inference.finish import seg_algorithm
    from ctseg.inference.settings import SegmentSettings
    from ctseg.plugins.host import load
    from ctseg.settings import resolve

    digest = card_of(ship(package))["sha256"][:12]
    weights(Path("run/model.safetensors"), 5)
    registry = load(found=[])
    groups, _ = load_for_segment(find_models(["default", "run"], registry), "cpu", registry)
    algorithm = seg_algorithm(groups, resolve(SegmentSettings))
    assert algorithm.name == "default (unet), unet"
    assert algorithm.parameters["model"] == "default"
    assert algorithm.parameters["weights"].split()[0] == digest
