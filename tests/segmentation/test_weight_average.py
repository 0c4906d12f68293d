"""The running mean of the weights: what is kept is the mean, nothing else of a training changes, and it is resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctseg.checkpoints import load_checkpoint
from ctseg.cli.model_card import card
from ctseg.errors import SettingError
from ctseg.io.slices import SliceSet
from ctseg.networks.unet import UNet
from ctseg.runs import ModelHeader, load_model, read_header
from ctseg.segmentation import train
from ctseg.segmentation.folds import train_folds
from ctseg.segmentation.mean_teacher import decay_at
from ctseg.segmentation.steps import SegmenterTraining, make_training
from ctseg.selection.validation import segment_slices
from ctseg.training.device import make_fabric
from ctseg.training.graphs import Losses, Play, RecordedStep, Step
from ctseg.training.loop import Ticker
from ctseg.training.presets import ADAPTATION
from ctseg.training.resolve import recorded, resolve_training
from ctseg.training.settings import AdaptationSettings, FinetuneSettings

HEADER = ModelHeader("segmenter", "unet", {"width": 4, "depth": 2}, "ctseg", "0", training={"command": "das-train"})
TINY: dict[str, Any] = {
    "batch_size": 2, "epochs": 2, "steps_per_epoch": 3, "lambda_adv": 0.0, "matched": False, "sample_every": 100,
    "lr": 0.05, "channels_last": False, "discriminator_width": 2,
}  # fmt: skip
MakeSet = Callable[..., SliceSet]
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def fabric() -> lightning_fabric.Fabric:
    return make_fabric("cpu", "32")


def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(width=4, depth=2)


def training_of(**given: Any) -> SegmenterTraining:
    settings = AdaptationSettings(**TINY | given)
    return make_training(unet(), settings, device=torch.device("cpu"), autocast=nullcontext, seed=3)


def epochs(training: SegmenterTraining, source: SliceSet, fabric: Any, count: int = 2) -> list[Weights]:
    """The segmenter's weights and statistics after each step."""
    rows = source.rows("train")
    sampler = train.make_sampler(training.settings, source, rows, rows, seed=5, fabric=fabric)
    seen: list[Weights] = []
    note = lambda *_: seen.append(snapshot(training.segmenter))  # noqa: E731
    for epoch in range(count):
        train.train_epoch(training, train.TrainingData(source, sampler), epoch, 5, Ticker(note, count))
    return seen


def snapshot(module: nn.Module) -> Weights:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_is_kept_is_the_mean_over_the_steps_and_no_optimiser_moves_it(make_set: MakeSet, fabric: Any) -> None:
    training = training_of(weight_average=0.4)
    assert training.final is not training.segmenter
    moved = {id(item) for group in training.optimiser.param_groups for item in group["params"]}
    assert not moved & {id(item) for item in training.final.parameters()}
    expected = snapshot(training.segmenter)
    steps = epochs(training, make_set("ct", 16, 32, 1), fabric)
    assert len(steps) == 6
    for number, step in enumerate(steps):
        decay = min(0.4, (1 + number) / (10 + number))
        assert decay == decay_at(number, 0.4)
        expected = {
            name: decay * value + (1 - decay) * step[name] if value.is_floating_point() else step[name]
            for name, value in expected.items()
        }
    kept = snapshot(training.final)
    assert not equal(kept, steps[-1])
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value)
    assert not training.final.training
    assert training.segmenter.training


def test_the_training_itself_is_the_same_bit_by_bit(make_set: MakeSet, fabric: Any) -> None:
    source = make_set("ct", 16, 32, 1)
    plain, averaged = training_of(), training_of(weight_average=0.9)
    one, two = epochs(plain, source, fabric), epochs(averaged, source, fabric)
    assert all(equal(before, after) for before, after in zip(one, two, strict=True))
    assert plain.average is None
    assert plain.final is plain.segmenter
    assert list(plain.state_dict()["modules"]) == ["segmenter"]
    assert list(averaged.state_dict()["modules"]) == ["segmenter", "average"]


def test_a_recorded_step_gives_the_same_mean(make_set: MakeSet, fabric: Any) -> None:
    """The mean follows outside of what is recorded; here a recorded step is played back by calling it."""

    def record(step: Step, tensors: Sequence[Tensor], stream: Any) -> Play:
        plays.append(1)
        return lambda given: step(given)

    plays: list[int] = []
    source = make_set("ct", 16, 32, 1)
    plain, recording = training_of(weight_average=0.4), training_of(weight_average=0.4)

    def step(tensors: Sequence[Tensor]) -> Losses:
        batch = train.Batch(tensors[0], tensors[1], None, np.random.default_rng(0))
        return train.training_step(recording, batch)

    recording.__dict__["recorded"] = RecordedStep(step, [], record)
    epochs(plain, source, fabric)
    epochs(recording, source, fabric)
    assert plays
    assert equal(snapshot(plain.final), snapshot(recording.final))


def test_batch_norm_is_measured_for_the_averaged_weights(make_set: MakeSet, fabric: Any) -> None:
    source = make_set("ct", 16, 32, 1)
    measured = {count: training_of(weight_average=0.9, recalibrate_batch_norm=count) for count in (0, 2)}
    for training in measured.values():
        epochs(training, source, fabric, 1)
    running, fresh = (snapshot(training.final) for training in measured.values())
    differing = {name for name, value in running.items() if not torch.equal(value, fresh[name])}
    assert differing
    assert all("running" in name or "num_batches" in name for name in differing)
    other = snapshot(measured[2].segmenter)
    assert any(not torch.equal(fresh[name], other[name]) for name in differing if "running" in name)
    assert not measured[2].final.training
    assert not any(part.training for part in measured[2].final.modules())


def test_with_a_mean_teacher_it_is_refused_and_a_preset_drops_it() -> None:
    words = r"^das-train: --set weight_average=\.\.\. has no effect with lambda_consistency=1; leave it out$"
    with pytest.raises(SettingError, match=words):
        resolve_training(AdaptationSettings, ADAPTATION["plus"], {"weight_average": 0.99}, "das-train")
    dropped = resolve_training(AdaptationSettings, {**ADAPTATION["plus"], "weight_average": 0.99}, {}, "das-train")
    assert dropped.weight_average == 0
    assert "weight_average" not in recorded(dropped)
    given = {"weight_average": 0.99, "lambda_consistency": 0}
    assert resolve_training(AdaptationSettings, ADAPTATION["plus"], given, "das-train").weight_average == 0.99
    for wrong in (1, -0.1, "much"):
        with pytest.raises(SettingError, match="^finetune: weight_average"):
            resolve_training(FinetuneSettings, {}, {"weight_average": wrong}, "finetune")


def test_no_preset_averages() -> None:
    assert AdaptationSettings().weight_average == 0
    assert not [name for name, values in ADAPTATION.items() if values.get("weight_average")]


@pytest.mark.slow
def test_the_mean_is_validated_saved_and_named(make_set: MakeSet, fabric: Any, tmp_path: Path) -> None:
    source, target = make_set("ct", 16, 32, 1), make_set("ct", 16, 32, 2, labelled=False)
    settings, net = AdaptationSettings(**TINY | {"weight_average": 0.9, "keep_epochs": True}), unet()
    train.train_adaptation(source, target, None, net, settings, tmp_path, fabric=fabric, header=HEADER, seed=7)
    modules = load_checkpoint(tmp_path)["training"]["modules"]
    saved = load_model(tmp_path, lambda _: UNet(4, 2), "segmenter")[0].state_dict()
    last = load_model(tmp_path / "epochs" / "epoch_0002.safetensors", lambda _: UNet(4, 2), "segmenter")[0].state_dict()
    for kept in (saved, last, net.state_dict()):
        assert equal(dict(kept), modules["average"])
    assert not equal(dict(saved), modules["segmenter"])
    header = read_header(tmp_path)
    assert header.training["weight_average"] == 0.9
    assert "| Weights kept | the running mean of the training's weights, decay 0.9 per step |" in card(
        header, [], {}, "0"
    )
    assert "Weights kept" not in card(HEADER, [], {}, "0")


@pytest.mark.slow
def test_a_fold_keeps_the_mean_and_is_segmented_with_it(make_set: MakeSet, fabric: Any, tmp_path: Path) -> None:
    labelled = make_set("ct", 16, 32, 3)
    settings = FinetuneSettings(batch_size=2, epochs=2, steps_per_epoch=3, lr=0.05, weight_average=0.9)
    train_folds(labelled, unet, settings, tmp_path, fabric=fabric, header=HEADER, folds=2, seed=1)
    fold_of = np.loadtxt(tmp_path / "folds.csv", delimiter=",", dtype=str, skiprows=1)[:, 3].astype(int)
    for fold in (1, 2):
        folder, tested = tmp_path / f"fold_{fold}", np.flatnonzero(fold_of == fold)
        kept, header = load_model(folder, lambda _: UNet(4, 2), "segmenter")
        modules = load_checkpoint(folder)["training"]["modules"]
        assert equal(dict(kept.state_dict()), modules["average"])
        assert not equal(modules["average"], modules["segmenter"])
        assert header.training["weight_average"] == 0.9
        masks = np.load(tmp_path / "masks.npy")[tested]
        assert np.array_equal(masks, segment_slices(kept, labelled.images[tested]))
