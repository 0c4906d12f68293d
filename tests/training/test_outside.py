"""Networks of another package in a training: a fault is one line with its name."""

from __future__ import annotations

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from outside_plugins import outside_entry
from toy_sets import toy

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.errors import PluginError
from ctseg.io.slices import open_slices
from ctseg.plugins.host import load
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.training.outside import comes_from, outside_training, try_network

WHO = {"segmenter": "segmenter odd of ctseg-odd 0.3.1", "generator": "generator odd of ctseg-odd 0.3.1"}


class Net(torch.nn.Module):
    """A generator and segmenter of one layer, which has a fault from its call `late` (from 1) on."""

    hidden_channels = 2

    def __init__(self, fault: str = "", late: int = 1) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.fault, self.late, self.calls = fault, late, 0
        if fault == "no weights":
            self.layer.requires_grad_(False)

    def forward(self, images: Any) -> Any:
        hidden = self.layer(images)
        if self.fault == "hidden channels":
            return SegmenterOutput(self.out(images, hidden), hidden[:, :1])
        return hidden if self.fault == "a tensor" else SegmenterOutput(self.out(images, hidden), hidden)

    def to_target(self, images: Any) -> Any:
        return self.out(images, self.layer(images).tanh())

    to_source = to_target

    def out(self, images: Any, hidden: Any) -> Any:
        sys.stdout.write("net")
        os.write(1, b"net")
        self.calls += 1
        made = hidden[:, :1]
        return FAULTS[self.fault](made, images) if self.fault in FAULTS and self.calls >= self.late else made


def ends(made: Any, images: Any) -> Any:
    sys.exit(0)


def breaks(made: Any, images: Any) -> Any:
    raise ValueError("out of\n luck")


def stops(made: Any, images: Any) -> Any:
    raise KeyboardInterrupt


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, made: Any) -> Any:
        return made.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        raise ValueError("no gradient")


FAULTS = {
    "exits": ends,
    "raises": breaks,
    "stops": stops,
    "backward": lambda made, images: Backward.apply(made),
    "detached": lambda made, images: made.detach(),
    "one value a slice": lambda made, images: made.mean(dim=(2, 3), keepdim=True),
    "two channels": lambda made, images: torch.cat([made, made], 1),
    "half the size": lambda made, images: made[..., ::2, ::2],
    "an array": lambda made, images: made.detach().numpy(),
    "not numbers": lambda made, images: made * float("nan"),
    "into place": lambda made, images: made + images.mul_(0.5),
}
SAID = {
    "detached": r"RuntimeError: element 0 of tensors does not require grad .*\(autograd/\w+\.py:\d+\)$",
    "exits": r"SystemExit: 0 \(training/test_outside\.py:\d+\)$",
    "raises": r"ValueError: out of luck \(training/test_outside\.py:\d+\)$",
    "stops": r"KeyboardInterrupt \(training/test_outside\.py:\d+\)$",
    "backward": r"ValueError: no gradient \(training/test_outside\.py:\d+\)$",
    "one value a slice": r"gives \d+ x 1 x 1 x 1 for images of \d+ x 1 x 32 x 32; both have to be the same$",
    "two channels": r"gives \d+ x 2 x 32 x 32 for images of \d+ x 1 x 32 x 32; both have to be the same$",
    "half the size": r"gives \d+ x 1 x 16 x 16 for images of \d+ x 1 x 32 x 32; both have to be the same$",
    "an array": r"gives a ndarray, not a tensor$",
}
AT_ONCE = {
    **SAID,
    "detached": r"gives values without a gradient; nothing would be learnt$",
    "not numbers": r"gives values that are no numbers, before any training$",
    "into place": r"writes into the images that it is given; work on a copy, as with images\.clone\(\)$",
    "no weights": r"has no weights to train$",
}
OF_SEGMENTERS = {
    "hidden channels": r"gives as hidden map 2 x 1 x 32 x 32 for 2 images and the 2 channels that it names$",
    "a tensor": r"gives a Tensor, not a ctseg\.plugins\.protocols\.SegmenterOutput$",
}


def with_plugin(monkeypatch: pytest.MonkeyPatch, kind: str, fault: str, late: int) -> None:
    registry = load(outside=False)
    registry.add(outside_entry(kind, lambda: Net(fault, late)))
    monkeypatch.setattr(common, "STATE", common.State(registry=registry))


def call(folder: Path, command: str) -> list[str]:
    sets = {name: str(toy(folder / name, name, 0)) for name in ("mr", "ct")}
    train = ["--preset", "demo", "--device", "cpu", "--json", "-o", str(folder / "run")]
    train += ["--set", "epochs=1", "--set", "steps_per_epoch=2", "--set", "batch_size=2", "--set", "decay_epochs=0"]
    if command == "finetune":
        return [command, "--data", sets["ct"], "--segmenter", "odd", "--folds", "2", *train]
    pair = ["--src", sets["mr"], "--tgt", sets["ct"], "--set", "matched=false", *train]
    if command == "das-train":
        return [command, "--segmenter", "odd", *pair]
    plain = [word for name in ("lambda_fda", "lambda_les") for word in ("--set", f"{name}=0")]
    return [command, "--generator", "odd", *pair, *plain]


def kind_of(command: str) -> str:
    return "generator" if command == "synth-train" else "segmenter"


@pytest.mark.parametrize(
    ("kind", "fault"),
    [*((kind, fault) for kind in WHO for fault in AT_ONCE), *(("segmenter", fault) for fault in OF_SEGMENTERS)],
)
def test_a_network_is_tried_before_it_is_trained(kind: str, fault: str, tmp_path: Path) -> None:
    entry, slices = outside_entry(kind, lambda: Net(fault)), open_slices(toy(tmp_path / "ct", "ct", 0))
    with pytest.raises(PluginError, match=f"^{WHO[kind]}: {({**AT_ONCE, **OF_SEGMENTERS})[fault]}"):
        try_network(entry, entry.build, slices, Fabric(accelerator="cpu"))


@pytest.mark.parametrize(("kind", "late"), [("segmenter", 2), ("generator", 3)])
def test_what_it_gives_in_evaluation_is_tried_too(kind: str, late: int, tmp_path: Path) -> None:
    entry, slices = outside_entry(kind, lambda: Net("two channels", late)), open_slices(toy(tmp_path / "ct", "ct", 0))
    with pytest.raises(PluginError, match=f"^{WHO[kind]}: gives 2 x 2 x 32 x 32"):
        try_network(entry, entry.build, slices, Fabric(accelerator="cpu"))


def test_to_be_tried_changes_no_draw(tmp_path: Path) -> None:
    entry, slices = outside_entry("segmenter", Net), open_slices(toy(tmp_path / "ct", "ct", 0))
    before = torch.get_rng_state()
    try_network(entry, entry.build, slices, Fabric(accelerator="cpu"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("command", ["synth-train", "das-train", "finetune"])
def test_a_network_that_fails_at_once_leaves_nothing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_plugin(monkeypatch, kind_of(command), "exits", 1)
    assert main(call(tmp_path, command)) == 2
    assert_said(capfd, command, "exits")
    assert not (tmp_path / "run").exists()


LATER = [
    ("das-train", "raises"), ("das-train", "stops"), ("das-train", "backward"), ("das-train", "one value a slice"),
    ("synth-train", "two channels"), ("synth-train", "exits"), ("synth-train", "detached"),
    ("finetune", "half the size"), ("finetune", "exits"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "fault"), LATER)
def test_a_network_that_fails_later_is_named(
    command: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ctseg.training.outside.try_network", lambda *given: None)
    with_plugin(monkeypatch, kind_of(command), fault, 1 if fault == "detached" else 2)
    assert main(call(tmp_path, command)) == 2
    assert_said(capfd, command, fault)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def assert_said(capfd: pytest.CaptureFixture[str], command: str, fault: str) -> None:
    """Nothing on stdout, and at last one line with the plugin."""
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert re.search(f"^ctseg: error: {WHO[kind_of(command)]}: {SAID[fault]}", err.replace("net", "").splitlines()[-1])


@pytest.mark.parametrize("command", ["synth-train", "das-train", "finetune"])
def test_what_it_prints_does_not_get_into_the_json(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_plugin(monkeypatch, kind_of(command), "", 1)
    assert main(call(tmp_path, command)) == 0
    assert json.loads(capfd.readouterr().out)["output"] == str(tmp_path / "run")


def test_errors_that_are_not_the_networks_are_left_as_they_are(tmp_path: Path) -> None:
    entry = outside_entry("segmenter", Net)
    with ThreadPoolExecutor() as elsewhere:
        disk = elsewhere.submit(Path.read_bytes, tmp_path / "none").exception()
        net = elsewhere.submit(Net("raises"), torch.ones(1, 1, 4, 4)).exception()
    assert isinstance(disk, FileNotFoundError)
    assert not comes_from(disk, entry, Net())
    assert isinstance(net, ValueError)
    assert comes_from(net, entry, Net())
    with pytest.raises(FileNotFoundError), outside_training(outside_entry("segmenter", dict), torch.nn.Linear(1, 1)):
        (tmp_path / "none").read_bytes()
