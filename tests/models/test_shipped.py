"""Whatever ships with the package is small, has an honest card and works; and the wheel carries it."""

from __future__ import annotations

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from model_files import ship, weights

from ctseg import models
from ctseg.api import find_models, load_for_segment
from ctseg.inference.kind_slices import CLASSES, NEIGHBOURS
from ctseg.inference.models import build_kinds
from ctseg.models import MAX_SHIPPED_BYTES, OTHER_BLOOD, ModelSource, look_at
from ctseg.models.card import NOT_STATED
from ctseg.plugins.host import load
from ctseg.runs import load_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ctseg" / "models"


def faults(folder: Path) -> list[str]:
    """What forbids the models of a folder to ship; one line each."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        info = look_at(ModelSource(path, path.stem, "package", "ctseg 0"))
        if info.error or info.card is None or info.header is None:
            found.append(f"{path.name}: {info.error}")
            continue
        if info.bytes >= MAX_SHIPPED_BYTES:
            found.append(f"{path.name}: {info.bytes} bytes, at most {MAX_SHIPPED_BYTES}")
        if NOT_STATED in info.card.model_dump_json():
            found.append(f"{path.name}: its card says {NOT_STATED!r}")
        if info.card.ct_labels:
            found.append(f"{path.name}: learnt from outlines on real CT")
        if not all(datum.use for datum in info.card.training_data):
            found.append(f"{path.name}: its card does not say what data served for, and which labels were seen")
        if info.header.package != "ctseg":
            found.append(f"{path.name}: needs {info.header.package}")
        if not info.card.measured or info.card.made.seconds is None or not info.card.made.seeds:
            found.append(f"{path.name}: its card has no numbers, seconds or seeds")
    cards = {path.stem for path in folder.glob("*.json")} - {path.stem for path in folder.glob("*.safetensors")}
    return found + [f"{name}.json: a card without weights" for name in sorted(cards)]


def test_what_ships_may_ship() -> None:
    assert faults(FOLDER) == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.safetensors")), ids=lambda path: path.stem)
def test_what_ships_segments(path: Path) -> None:
    kinds = path.stem == OTHER_BLOOD
    build, kind = (build_kinds, "kinds-segmenter") if kinds else (load(found=[]).build_from_header, "segmenter")
    module, header = load_model(path, build, kind)
    size = header.input["preprocess"]["size"]
    planes, classes = (NEIGHBOURS, CLASSES) if kinds else (1, 1)
    with torch.inference_mode():
        logits = module(torch.full((1, planes, size, size), -1.0)).logits
    assert logits.shape == (1, classes, size, size)
    assert np.isfinite(logits.numpy()).all()


def test_the_network_for_other_blood_ships_small_and_shares_the_default_models_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    groups, _ = load_for_segment(find_models("default", load(found=[])), "cpu", load(found=[]), other_blood=True)
    [group] = groups
    assert group.other_blood is not None
    assert (FOLDER / f"{OTHER_BLOOD}.safetensors").stat().st_size < 6_000_000


def test_faults_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(tmp_path, "good")
    assert faults(tmp_path) == []
    ship(tmp_path, "labelled", ct_labels=True)
    ship(tmp_path, "licence", licence=NOT_STATED)
    ship(tmp_path, "numbers", measured=[])
    ship(tmp_path, "use", training_data=[{"name": "phantom", "licence": "Apache-2.0"}])
    weights(tmp_path / "uncarded.safetensors")
    shutil.copy(tmp_path / "good.json", tmp_path / "lost.json")
    found = faults(tmp_path)
    assert [line.partition(":")[0] for line in found] == [
        "labelled.safetensors", "licence.safetensors", "numbers.safetensors", "uncarded.safetensors", "use.safetensors",
        "lost.json",
    ]  # fmt: skip
    monkeypatch.setattr(sys.modules[__name__], "MAX_SHIPPED_BYTES", 1000)
    assert "bytes, at most 1000" in faults(tmp_path)[0]


def test_the_folder_is_the_one_that_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert models.SHIPPED == FOLDER
    registered = {entry.name for entry in load(found=[]).of_kind("model")}
    assert registered == {path.stem for path in FOLDER.glob("*.safetensors")}


@pytest.mark.slow
def test_wheel_and_sdist_carry_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = pytest.importorskip("setuptools.build_meta")
    root = tmp_path / "root"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "ctseg", root / "ctseg", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    ship(root / "ctseg" / "models", "tiny")
    monkeypatch.chdir(root)
    wheel = tmp_path / build.build_wheel(str(tmp_path))
    source = tmp_path / build.build_sdist(str(tmp_path))
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        assert file.read("ctseg/models/tiny.safetensors") == (root / "ctseg/models/tiny.safetensors").read_bytes()
    assert "ctseg/models/tiny.json" in names
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {"ctseg/models/tiny.safetensors", "ctseg/models/tiny.json"} <= packed
