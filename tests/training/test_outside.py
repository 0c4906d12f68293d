"""Networks of another package in a training: a fault is one line with its name."""

from __future__ import annotations

import copy
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
from ctseg.plugins.called import name_of
from ctseg.plugins.host import load
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.training.outside import comes_from, outside_training
from ctseg.training.settings import AdaptationSettings, SynthesisSettings
from ctseg.training.trial import try_network

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


class Grown(Net):
    """Makes a layer when it is first used."""

    def forward(self, images: Any) -> Any:
        if not hasattr(self, "late_layer"):
            self.late_layer = torch.nn.Conv2d(1, 1, 1)
        return super().forward(self.late_layer(images))


class Counting(Net):
    """Keeps a number beside its weights."""

    def get_extra_state(self) -> int:
        return 3

    def set_extra_state(self, state: Any) -> None: ...


class Single(Net):
    """Cannot do with one slice."""

    def forward(self, images: Any) -> Any:
        if len(images) == 1:
            raise ValueError("more slices, please")
        return super().forward(images)


class Viewing(Net):
    """Wants the memory of a tensor in its usual order."""

    def forward(self, images: Any) -> Any:
        hidden = self.layer(images)
        hidden.view(-1)
        return SegmenterOutput(hidden[:, :1], hidden)


class Uncopied(Net):
    """Keeps a tensor with its gradient, which cannot be copied."""

    def forward(self, images: Any) -> Any:
        with torch.enable_grad():
            self.last = self.layer(images)
        return SegmenterOutput(self.last[:, :1], self.last)


TRIED = {
    Grown: r"a new one does not take the weights of one that was used \(.*late_layer.*\), so its model could not be",
    Counting: r"its state_dict holds '_extra_state', a int; a model's file takes tensors alone$",
    Single: r"ValueError: more slices, please \(training/test_outside\.py:\d+\)$",
    Viewing: r"RuntimeError: view size is not compatible .* \(training/test_outside\.py:\d+\)$",
}


@pytest.mark.parametrize("network", TRIED)
def test_what_only_shows_later_is_tried_before(network: Any, tmp_path: Path) -> None:
    entry, slices = outside_entry("segmenter", network), open_slices(toy(tmp_path / "ct", "ct", 0))
    with pytest.raises(PluginError, match=f"^{WHO['segmenter']}: {TRIED[network]}"):
        try_network(entry, entry.build, slices, Fabric(accelerator="cpu"), AdaptationSettings())


@pytest.mark.parametrize("name", ["lambda_consistency", "weight_average"])
def test_a_network_is_copied_where_the_training_copies_it(name: str, tmp_path: Path) -> None:
    entry, slices = outside_entry("segmenter", Uncopied), open_slices(toy(tmp_path / "ct", "ct", 0))
    settings, fabric = AdaptationSettings(lambda_consistency=0.0, weight_average=0.0), Fabric(accelerator="cpu")
    try_network(entry, entry.build, slices, fabric, settings)
    with pytest.raises(PluginError, match=f"^{WHO['segmenter']}: RuntimeError: Only Tensors created explicitly"):
        try_network(entry, entry.build, slices, fabric, settings.model_copy(update={name: 0.9}))


class Greys:
    """An objective, with one fault."""

    def __init__(self, net: Any, fault: str) -> None:
        self.net, self.fault = net, fault

    def set_lr_factor(self, factor: float) -> None: ...

    def step(self, batch: Any) -> Any:
        loss = self.net.to_target(batch.source).mean()
        if self.fault == "floats":
            return {"grey": 0.5}
        return {"grey": loss.detach() * (float("nan") if self.fault == "no number" else 1.0)}

    def state_dict(self) -> dict[str, Any]:
        return {"net": self.net} if self.fault == "an object" else {"steps": 1}

    def load_state_dict(self, state: Any) -> None:
        if self.fault == "its own":
            raise KeyError("optimiser")


class OneWay(Net):
    def objective(self, context: Any) -> Any:
        return Greys(self, self.fault)


OBJECTIVES = {
    "floats": "its objective's step gives no named scalar tensors$",
    "no number": "its objective's loss 'grey' is no number in the first step$",
    "an object": r"a checkpoint does not bring back its objective's state_dict \(.*\); keep tensors and plain values",
    "its own": r"KeyError: 'optimiser' \(training/test_outside\.py:\d+\)$",
}


@pytest.mark.parametrize("fault", OBJECTIVES)
def test_an_objective_is_tried_with_its_checkpoint(fault: str, tmp_path: Path) -> None:
    entry, slices = outside_entry("generator", lambda: OneWay(fault)), open_slices(toy(tmp_path / "ct", "ct", 0))
    with pytest.raises(PluginError, match=f"^{WHO['generator']}: {OBJECTIVES[fault]}"):
        try_network(entry, entry.build, slices, Fabric(accelerator="cpu"), SynthesisSettings())


class Featured(Net):
    """Its features come by three ways, one of which is at fault."""

    feature_channels = 2

    def features(self, images: Any, domain: str) -> Any:
        return self.layer(images)

    def translate(self, images: Any, domain: str) -> Any:
        hidden = self.layer(images)
        return self.to_target(images), hidden[:, :1] if self.fault == "translate" else hidden

    def encode(self, images: Any, domain: str) -> Any:
        return self.layer(images)

    def fuse(self, encoded: Any) -> Any:
        return encoded[0] if self.fault == "fuse" else encoded


@pytest.mark.parametrize("fault", ["translate", "fuse"])
def test_each_way_to_the_features_is_tried(fault: str, tmp_path: Path) -> None:
    entry, slices = outside_entry("generator", lambda: Featured(fault)), open_slices(toy(tmp_path / "ct", "ct", 0))
    with pytest.raises(PluginError, match=f"^{WHO['generator']}: gives as features of {fault} 2 x "):
        try_network(entry, entry.build, slices, Fabric(accelerator="cpu"))


def test_an_error_about_values_is_known_by_its_maker() -> None:
    entry, net = outside_entry("segmenter", Net), Net()
    own = f"segmenter {name_of(net)}"
    for made_by, begins in ((own, WHO["segmenter"]), (f"{own}er", f"{own}er"), ("", "gives nothing")):
        with pytest.raises(PluginError) as caught, outside_training(entry, net):
            raise PluginError("gives nothing", made_by)
        assert str(caught.value).startswith(begins)
        assert str(copy.copy(caught.value)) == str(caught.value)
    with pytest.raises(PluginError, match=f"^{own}s are many$"), outside_training(entry, net):
        raise PluginError(f"{own}s are many")


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
    monkeypatch.setattr("ctseg.training.trial.try_network", lambda *given: None)
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
