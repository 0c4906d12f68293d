"""Every setting that das-train or finetune records changes its weights; what changes none is refused or dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctseg.augment import artefacts
from ctseg.checkpoints import load_checkpoint
from ctseg.errors import SettingError
from ctseg.io.slices import SliceSet
from ctseg.matching.pairs import PairTable
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.runs import ModelHeader
from ctseg.segmentation import after_epoch, train
from ctseg.segmentation.folds import train_folds
from ctseg.selection.rules import RULES
from ctseg.training.device import make_fabric
from ctseg.training.presets import ADAPTATION
from ctseg.training.resolve import recorded, resolve_training
from ctseg.training.settings import OUTPUT, AdaptationSettings, FinetuneSettings

HEADER = ModelHeader("segmenter", "tiny", {}, "ctseg", "0")
FABRIC = make_fabric("cpu", "32")
TINY: dict[str, Any] = {
    "batch_size": 2, "epochs": 2, "decay_epochs": 1, "steps_per_epoch": 2, "discriminator_width": 2, "lr": 0.05,
    "recalibrate_batch_norm": 1, "select_from": 0, "consistency_from": 1, "pseudo_label_confidence": 0.5,
    "freeze_batch_norm_from": 0, "segmenter_settings": {}, "channels_last": False,
}  # fmt: skip
"""Over every preset, where it has an effect there."""
CHANGED: dict[str, Any] = {
    "batch_size": 3, "epochs": 3, "decay_epochs": 0, "steps_per_epoch": 1,
    "loss": "bce+dice", "optimiser": "adam", "lr": 0.1, "momentum": 0.1, "clip_gradient": 1e-3,
    "recalibrate_batch_norm": 2, "freeze_batch_norm_from": 1, "lesion_share": 1.0,
    "flip_probability": 0.1, "brightness": 0.3, "brightness_shift": 0.2, "contrast": 0.4, "noise": 0.2,
    "bias_field": 0.3, "rotation_deg": 40.0, "zoom": 0.3, "distractors": 1.0, "synthetic_haemorrhage": 0.2,
    "edge_erosion": 0.1, "edge_brightening": 0.5, "end_brightening": 0.5, "streaks": 0.5, "sharpness": 0.9,
    "lambda_adv": 0.5, "lambda_adv_output": 0.5, "gan": "lsq", "lr_discriminator": 0.3,
    "betas_discriminator": (0.1, 0.5), "discriminator_width": 3, "freeze_batch_norm_on_target": False,
    "lambda_consistency": 3.0, "ema_decay": 0.05, "ema_warmup": True, "consistency_from": 0,
    "pseudo_label_confidence": 0.75,
    "pseudo_label_contrast": 0.9, "copy_paste": 0.9, "mask_ratio": 0.9, "mask_patch": 3,
    "matched": True, "source_split": "val", "target_split": "val",
    "select_from": 1, "weight_average": 0.5, "source_mean": 0.3, "source_std": 0.9,
}  # fmt: skip
BUILDS_THE_NETWORK = {"segmenter", "segmenter_settings"}
"""The command builds the network from them before the training: tests/cli."""
OTHER: dict[str, dict[Any, Any]] = {
    "loss": {"bce+dice": "bce"}, "optimiser": {"adam": "sgd"}, "selection": {"last": "tta_consistency"},
    "ema_warmup": {True: False},
}  # fmt: skip
"""Where a preset has the changed value already."""


class Bright(nn.Module):
    """A batch norm and a convolution that segment what is brighter than the rest, from the first step on."""

    hidden_channels = 2

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)
        with torch.no_grad():
            for part, bias in ((self.conv, 0.1), (self.last, -0.5)):
                part.weight.fill_(0.5)
                part.weight += 0.05 * torch.arange(part.weight.numel()).reshape(part.weight.shape)
                part.bias.fill_(bias)

    def forward(self, images: Tensor) -> SegmenterOutput:
        hidden = self.norm(self.conv(images))
        return SegmenterOutput(self.last(hidden), hidden)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, slices that count as small; and the rules disagree on the epoch, as they may."""
    monkeypatch.setattr(after_epoch, "write_samples", lambda *_: None)
    monkeypatch.setattr(train, "curves_png", lambda *_: None)
    monkeypatch.setattr(artefacts, "SMALL_BRAIN", 2.0)  # toy slices are full of brain
    monkeypatch.setattr(after_epoch, "score_all", lambda outputs: dict.fromkeys(RULES, -outputs.epoch) | {
        "last": outputs.epoch, "domain_confusion": outputs.epoch})  # fmt: skip


@pytest.fixture
def toy_sets(make_set: Callable[..., SliceSet]) -> tuple[SliceSet, SliceSet]:
    source = make_set("ct", 16, 16, 1)
    source.info["pseudo"] = True
    return source, make_set("ct", 16, 16, 2, labelled=False)


PAIRS = PairTable(np.arange(0, 12, 2), np.arange(7), np.arange(12, 18) % 12)


def values(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for item in state.values():
            yield from values(item)


def weights(run: Path) -> list[Tensor]:
    """Of all networks at the end, and the selected ones."""
    state = load_checkpoint(run)
    return [*values(state["training"]["modules"]), *values(state.get("selection", {}).get("weights", {}))]


def adapt(sets: tuple[SliceSet, SliceSet], settings: AdaptationSettings, run: Path) -> list[Tensor]:
    run.mkdir()
    train.train_adaptation(*sets, PAIRS, Bright(), settings, run, fabric=FABRIC, header=HEADER, seed=3)
    return weights(run)


def finetune(sets: tuple[SliceSet, SliceSet], settings: FinetuneSettings, run: Path) -> list[Tensor]:
    run.mkdir()
    train_folds(sets[0], Bright, settings, run, fabric=FABRIC, header=HEADER, seed=3, folds=2)
    return weights(run / "fold_1")


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def tiny(model: type[Any], preset: str, **more: Any) -> Any:
    """The preset with tiny values under it, as if they were the preset's own."""
    return resolve_training(model, {**ADAPTATION[preset], **TINY, "matched": False, **more}, {}, "test")


def change(settings: Any, name: str) -> Any:
    new = CHANGED.get(name)
    old = getattr(settings, name)
    new = OTHER.get(name, {}).get(old, "last") if name == "selection" else OTHER[name][old] if new == old else new
    assert new != old, name
    base = {key: value for key, value in recorded(settings).items() if key != name}
    return resolve_training(type(settings), base, {name: new}, "test")


UNCHANGED: dict[tuple[str, str], list[Tensor]] = {}
"""Weights of each training with its preset as it is."""


def cases(model: type[Any]) -> list[tuple[str, str]]:
    """(preset, setting) of all that a preset's run records; presets that record the same names and rules once."""
    seen: dict[frozenset[str], str] = {}
    for preset in ADAPTATION:
        settings = recorded(tiny(model, preset))
        seen.setdefault(frozenset({*settings, *(f"{name}=0" for name in settings if settings[name] == 0)}), preset)
    return [
        (preset, name)
        for preset in seen.values()
        for name in recorded(tiny(model, preset))
        if name not in OUTPUT | BUILDS_THE_NETWORK
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "name"), cases(AdaptationSettings))
def test_what_das_train_records_changes_the_weights(
    toy_sets: tuple[SliceSet, SliceSet], tmp_path: Path, preset: str, name: str
) -> None:
    settings = tiny(AdaptationSettings, preset)
    if ("das-train", preset) not in UNCHANGED:
        UNCHANGED["das-train", preset] = adapt(toy_sets, settings, tmp_path / "before")
    after = adapt(toy_sets, change(settings, name), tmp_path / "after")
    assert not same(UNCHANGED["das-train", preset], after)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "name"), cases(FinetuneSettings))
def test_what_finetune_records_changes_the_weights(
    toy_sets: tuple[SliceSet, SliceSet], tmp_path: Path, preset: str, name: str
) -> None:
    settings = tiny(FinetuneSettings, preset)
    if ("finetune", preset) not in UNCHANGED:
        UNCHANGED["finetune", preset] = finetune(toy_sets, settings, tmp_path / "before")
    after = finetune(toy_sets, change(settings, name), tmp_path / "after")
    assert not same(UNCHANGED["finetune", preset], after)


OFF: list[dict[str, Any]] = [
    {"lambda_adv": 0.0, "lambda_consistency": 1.0},
    {"lambda_adv": 0.0, "selection": "last"},
    {"lambda_consistency": 0.0, "optimiser": "adam", "freeze_batch_norm_from": 9},
    {"lambda_consistency": 1.0, "mask_ratio": 0.0, "selection": "last"},
]
"""What leaves other settings without an effect."""


@pytest.mark.slow
@pytest.mark.parametrize("off", OFF, ids=lambda off: "-".join(off))
def test_what_is_not_recorded_changes_nothing_and_is_refused(
    toy_sets: tuple[SliceSet, SliceSet], tmp_path: Path, off: dict[str, Any]
) -> None:
    settings = AdaptationSettings(**{**TINY, "matched": False, **off})
    reasons = settings.without_effect()
    assert reasons
    assert not reasons.keys() & recorded(settings).keys()
    changed = {name: 8 if name == "freeze_batch_norm_from" else CHANGED[name] for name in reasons}
    changed.pop("copy_paste", None)  # asks for the teacher in `check_adaptation`
    other = settings.model_copy(update=changed)
    assert same(adapt(toy_sets, settings, tmp_path / "one"), adapt(toy_sets, other, tmp_path / "two"))
    for name in changed:
        with pytest.raises(SettingError, match=rf"^das-train: --set {name}=\.\.\. has no effect with .*=.*; leave it"):
            resolve_training(AdaptationSettings, {**TINY, **off, "matched": False}, {name: changed[name]}, "das-train")


def test_each_part_that_is_off_names_its_settings() -> None:
    def without(**given: Any) -> set[str]:
        chosen = {"selection": "tta_consistency", "lambda_consistency": 1, **given}
        reasons = AdaptationSettings(**chosen).without_effect()
        if given.get("lambda_consistency", 1):
            assert reasons.pop("weight_average") == "lambda_consistency=1"  # the teacher is a running mean already
        return set(reasons)

    assert without() == set()
    assert without(lambda_adv=0) == {"gan", "lr_discriminator", "betas_discriminator", "discriminator_width"}
    assert without(lambda_adv=0, lambda_adv_output=0.1) == set()
    assert without(optimiser="adam") == {"momentum"}
    assert without(mask_ratio=0) == {"mask_patch"}
    assert without(selection="last") == {"select_from"}
    assert without(epochs=4, freeze_batch_norm_from=4) == {"freeze_batch_norm_from"}
    assert without(epochs=4, decay_epochs=1, freeze_batch_norm_from=4) == set()
    consistency = {"ema_decay", "consistency_from", "pseudo_label_confidence", "pseudo_label_contrast", "copy_paste"}
    assert without(lambda_consistency=0) == {*consistency, "ema_warmup", "mask_ratio", "mask_patch"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OUTPUT & AdaptationSettings.model_fields.keys() - {"validate_every"}))
def test_what_is_about_writing_changes_no_weight(
    toy_sets: tuple[SliceSet, SliceSet], tmp_path: Path, name: str
) -> None:
    """But for rounding in another memory layout."""
    settings = tiny(AdaptationSettings, "default")
    changed = settings.model_copy(update={name: not getattr(settings, name) if name != "sample_every" else 2})
    if name == "checkpoint_every":
        changed = settings.model_copy(update={name: 3})
    one, two = adapt(toy_sets, settings, tmp_path / "one"), adapt(toy_sets, changed, tmp_path / "two")
    for before, after in zip(one, two, strict=True):
        torch.testing.assert_close(before, after, rtol=1e-4, atol=5e-6)


def test_a_preset_is_recorded_without_what_it_does_not_use() -> None:
    """Changing what only a preset carries is no fault; it is dropped, and back at its default."""
    settings = resolve_training(AdaptationSettings, ADAPTATION["plus"], {"lambda_consistency": 0}, "das-train")
    assert settings.consistency_from == AdaptationSettings().consistency_from
    assert "consistency_from" not in recorded(settings)
    assert "momentum" not in recorded(settings)
    assert recorded(settings)["recalibrate_batch_norm"] == 16


def test_a_setting_of_das_train_alone_is_refused_by_finetune() -> None:
    for name in sorted(AdaptationSettings.model_fields.keys() - FinetuneSettings.model_fields.keys()):
        with pytest.raises(SettingError, match=f"^finetune: {name} is a setting of das-train alone"):
            resolve_training(FinetuneSettings, {}, {name: 1}, "finetune")


def test_every_changed_value_is_covered() -> None:
    fields: Callable[[type[Any]], set[str]] = lambda model: set(model.model_fields)  # noqa: E731
    known = {*CHANGED, "selection", *OUTPUT, *BUILDS_THE_NETWORK}
    assert fields(AdaptationSettings) | fields(FinetuneSettings) <= known
