"""Similarity metrics, generators and segmenters of another package: what they give is checked before it is used."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from outside_plugins import outside_entry
from toy_sets import toy

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.conformance.toys import toy_slices
from ctseg.errors import PluginError
from ctseg.inference.models import LoadedModel
from ctseg.inference.predict import predict_slices
from ctseg.inference.settings import SegmentSettings
from ctseg.io.slices import open_slices
from ctseg.matching.pairs import match
from ctseg.plugins.host import load
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model
from ctseg.synthesis.translate import translated


def raising(error: BaseException) -> Callable[[Any], Any]:
    def forward(images: Any) -> Any:
        raise error

    return forward


class Search:
    """A similarity metric of mean grey values, with one fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        if fault.startswith("own"):
            self.nearest = self.search

    def describe(self, images: Any, masks: Any) -> Any:
        grey = images.mean(axis=(1, 2))
        if self.fault == "one short":
            return {"grey": grey[:-1]}
        if self.fault == "one not described":
            grey[0] = np.nan
        return [grey] if self.fault == "a list" else {} if self.fault == "nothing" else {"grey": grey}

    def distance(self, source: Any, target: Any) -> Any:
        found = np.abs(source["grey"][:, None] - target["grey"][None])
        if self.fault == "turned":
            return found.T
        return found[:1] if self.fault == "one row" else found.astype(str) if self.fault == "texts" else found

    def search(self, source: Any, target: Any, k: int) -> Any:
        rows = np.tile(np.arange(k), (len(source["grey"]), 1))
        if self.fault in ("own, beyond", "own, twice"):
            rows[:] = 99 if self.fault == "own, beyond" else 0
        if self.fault == "own, negative":
            rows[0] = -1
        if self.fault == "own, floats":
            rows = rows.astype(float)
        distances = np.zeros(rows.shape)
        if self.fault == "own, not numbers":
            distances[:] = np.nan
        if self.fault == "own, farthest first":
            distances[:, 0] = 1
        return rows[:, : 1 if self.fault == "own, fewer" else k], distances


FAULTS = {
    "one short": r"describes 8 slices by grey of 7",
    "a list": r"describes 8 slices by none",
    "nothing": r"describes 8 slices by none",
    "one not described": r"gives distances that are no numbers \(float64\)",
    "turned": r"gives distances of shape \(6, 8\) for 8 and 6 slices",
    "one row": r"gives distances of shape \(1, 6\) for 8 and 6 slices",
    "texts": r"gives distances that are no numbers \(<U32\)",
    "own, beyond": r"its search gives rows 99 to 99 of 6 slices",
    "own, twice": r"its search gives a slice twice",
    "own, farthest first": r"its search gives slices that are not sorted, nearest first",
    "own, negative": r"its search gives rows -1 to 2 of 6 slices",
    "own, floats": r"its search gives float64 of shape \(8, 3\), not int64 \(8, 3\)",
    "own, fewer": r"its search gives int64 of shape \(8, 1\), not int64 \(8, 3\)",
    "own, not numbers": r"gives distances that are no numbers \(float64\)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_pairs_are_made_of_distances_between_the_slices_alone(fault: str, tmp_path: Path) -> None:
    source, target = (open_slices(toy(tmp_path / name, name, 0, count)) for name, count in (("mr", 8), ("ct", 6)))
    with pytest.raises(PluginError, match=f"^similarity metric Search of tests: {FAULTS[fault]}"):
        match(source, target, Search(fault), top=3)


class Net(torch.nn.Module):
    """A generator and segmenter whose output has one fault."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.change = change

    def to_target(self, images: Any) -> Any:
        return self.change(images)

    def forward(self, images: Any) -> Any:
        return SegmenterOutput(self.change(images), images)


SHAPES = {
    "one value a slice": lambda images: images.mean(dim=(2, 3), keepdim=True),
    "two channels": lambda images: torch.cat([images, -images], 1),
    "half the size": lambda images: images[..., ::2, ::2],
    "without channels": lambda images: images[:, 0],
    "an array": lambda images: images.numpy(),
    "a mask": lambda images: images > 0,
    "whole numbers": lambda images: images.int(),
    "complex": lambda images: images + 0j,
    "sparse": lambda images: images.to_sparse(),
    "nowhere": lambda images: images.to("meta"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_generator_gives_has_the_shape_of_its_input(shape: str, tmp_path: Path) -> None:
    source = open_slices(toy(tmp_path / "mr", "mr", 0, 4))
    with pytest.raises(PluginError, match="^generator Net of tests: gives "):
        list(translated(Net(SHAPES[shape]), source, fabric=Fabric(accelerator="cpu")))


def loaded(module: torch.nn.Module) -> LoadedModel:
    header = ModelHeader("segmenter", "net", {}, "ctseg-odd", "0.3.1", {})
    return LoadedModel(module, header, torch.device("cpu"), PreprocessSettings(size=64), "")


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_segmenter_gives_has_the_shape_of_its_input(shape: str) -> None:
    with pytest.raises(PluginError, match="^segmenter net of ctseg-odd 0.3.1: gives "):
        predict_slices(toy_slices("ct", 4)[0], loaded(Net(SHAPES[shape])), SegmentSettings())


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), SystemExit(0), KeyboardInterrupt(), KeyError("x")])
def test_what_a_segmenter_raises_is_one_line(error: BaseException) -> None:
    words = re.escape(f"segmenter net of ctseg-odd 0.3.1: {type(error).__name__}")
    with pytest.raises(PluginError, match=rf"^{words}.* \(plugins/test_called_networks\.py:\d+\)$"):
        predict_slices(toy_slices("ct", 4)[0], loaded(Net(raising(error))), SegmentSettings())


def test_a_lack_of_memory_is_no_fault_of_the_segmenter() -> None:
    error = RuntimeError("CUDA out of memory")
    with pytest.raises(RuntimeError) as caught:
        predict_slices(toy_slices("ct", 4)[0], loaded(Net(raising(error))), SegmentSettings())
    assert caught.value is error


def with_plugin(monkeypatch: pytest.MonkeyPatch, kind: str, factory: Callable[..., Any]) -> None:
    registry = load(outside=False)
    registry.add(outside_entry(kind, factory))
    monkeypatch.setattr(common, "STATE", common.State(registry=registry))


class Loud(Search):
    """Writes to stdout, and fails where it is asked to."""

    def describe(self, images: Any, masks: Any) -> Any:
        sys.stdout.write("similar")
        os.write(1, b"similar")
        if self.fault == "exits":
            sys.exit(0)
        if self.fault == "writes":
            images[:] = 0
        return super().describe(images, masks)


@pytest.mark.parametrize(
    ("fault", "words"), [("exits", "SystemExit: 0"), ("writes", "ValueError: assignment destination is read-only")]
)
def test_a_similarity_metric_that_fails_is_one_line(
    fault: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_plugin(monkeypatch, "similarity_metric", lambda: Loud(fault))
    assert main(match_call(tmp_path)) == 2
    assert f"error: similarity metric odd of ctseg-odd 0.3.1: {words} (" in capfd.readouterr().err
    assert not (tmp_path / "pairs.csv").exists()


def test_what_a_similarity_metric_writes_does_not_get_into_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_plugin(monkeypatch, "similarity_metric", lambda: Loud("none"))
    assert main(match_call(tmp_path)) == 0
    assert json.loads(capfd.readouterr().out)["pairs"] == 8


def match_call(folder: Path) -> list[str]:
    sets = [str(toy(folder / name, name, 0)) for name in ("mr", "ct")]
    call = ["match", "--src", sets[0], "--tgt", sets[1], "--similarity", "odd", "-o", str(folder / "pairs.csv")]
    return [*call, "--json"]


class Print(torch.nn.Module):
    """A generator that writes to stdout, and fails where it is asked to."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.weight, self.fails = torch.nn.Parameter(torch.zeros(1)), fails

    def to_target(self, images: Any) -> Any:
        os.write(1, b"made")
        if self.fails:
            sys.exit(0)
        return images * self.weight


@pytest.mark.parametrize("fails", [False, True])
def test_synthesize_keeps_its_output_clean_and_names_a_generator_that_fails(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_plugin(monkeypatch, "generator", lambda: Print(fails))
    made = {"intensity": {"a": 2.55, "b": 0.0}, "preprocess": PreprocessSettings(size=32).model_dump(mode="json")}
    header = ModelHeader("generator", "odd", {}, "ctseg-odd", "0.3.1", input=made)
    save_model(tmp_path / "model.safetensors", Print(), header)
    source, out = toy(tmp_path / "mr", "mr", 0), tmp_path / "out"
    call = [
        "synthesize",
        "--model",
        str(tmp_path / "model.safetensors"),
        "--src",
        str(source),
        "-o",
        str(out),
        "--json",
    ]
    assert main([*call, "--device", "cpu"]) == (2 if fails else 0)
    said = capfd.readouterr()
    assert out.exists() is not fails
    if fails:
        assert "error: generator odd of ctseg-odd 0.3.1: SystemExit: 0 (plugins/test_called_networks.py:" in said.err
    else:
        assert json.loads(said.out)["slices"] == 8
