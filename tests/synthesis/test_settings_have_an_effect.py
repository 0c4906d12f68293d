"""Every setting that synth-train records changes its weights; what changes none is refused or dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ctseg.checkpoints import load_checkpoint
from ctseg.errors import SettingError
from ctseg.io.slices import SliceSet
from ctseg.matching.pairs import PairTable
from ctseg.runs import ModelHeader
from ctseg.synthesis import train
from ctseg.training.device import make_fabric
from ctseg.training.presets import SYNTHESIS
from ctseg.training.resolve import recorded, resolve_training
from ctseg.training.settings import OUTPUT, SynthesisSettings

FABRIC = make_fabric("cpu", "32")
HEADER = ModelHeader("generator", "toy", {}, "tests", "0")
TINY: dict[str, Any] = {
    "discriminator_width": 4, "features_width": 4, "lesion_width": 4, "batch_size": 2, "epochs": 1, "decay_epochs": 1,
    "steps_per_epoch": 2, "audit_slices": 2, "channels_last": False, "generator_settings": {},
}  # fmt: skip
CHANGED: dict[str, Any] = {
    "batch_size": 1, "epochs": 2, "decay_epochs": 0, "steps_per_epoch": 1, "source_split": "val",
    "target_split": "val",
    "gan": "lsq", "gan_features": "lsq", "lambda_gan": 3.0, "lambda_cyc": 2.0, "lambda_identity": 1.0,
    "lambda_les": 5.0, "lambda_fda": 3.0, "fda_scope": "features", "fda_features": "after",
    "matched": False, "pairs_top": 1,
    "lr_generator": 1e-2, "lr_discriminator": 1e-2, "betas": (0.1, 0.3), "lr_features": 1e-2,
    "betas_features": (0.1, 0.3), "discriminator_width": 6, "discriminator_norm": "instance",
    "discriminator_layers": 2, "features_width": 6, "lesion_width": 6, "lesion_initialisation": "normal",
    "lesion_optimiser": "adam", "lr_lesion": 0.01, "lesion_momentum": 0.1, "image_pool": 3,
    "flip": True, "clip_gradient": 1e-3,
}  # fmt: skip
OTHER = {
    "gan": "log", "gan_features": "log", "discriminator_norm": "batch", "batch_size": 3,
    "lesion_initialisation": "vgg", "fda_features": "before",
}  # fmt: skip
"""Where a preset has the changed value already."""
BUILDS_THE_NETWORK = {"generator", "generator_settings"}
PAIRS = PairTable(
    np.arange(12), np.arange(13) * 3, np.ravel([(4 + row % 8, 4 + (3 * row + 1) % 8, row % 4) for row in range(12)])
)
"""Each source slice with two target slices of the training split and one of the validation split."""
Toy = tuple[SliceSet, SliceSet]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures."""
    monkeypatch.setattr(train, "_write_sample", lambda *_: None)
    monkeypatch.setattr(train, "curves_png", lambda *_: None)


def values(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for item in state.values():
            yield from values(item)


def train_with(settings: SynthesisSettings, toy: Toy, generator: torch.nn.Module, run: Path) -> list[Tensor]:
    run.mkdir()
    train.train_synthesis(
        *toy, PAIRS, generator, settings, run, fabric=FABRIC, seed=5, resume=False, header=HEADER
    )  # fmt: skip
    state = load_checkpoint(run)
    return [*values(state["generator"]), *values(state["objective"]["helpers"])]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def tiny(preset: str) -> SynthesisSettings:
    return resolve_training(SynthesisSettings, {**SYNTHESIS[preset], **TINY}, {}, "test")


def cases() -> list[tuple[str, str]]:
    """(preset, setting) of all that a preset's run records; presets that come to the same settings once."""
    seen: dict[str, str] = {}
    for preset in SYNTHESIS:
        seen.setdefault(repr(tiny(preset)), preset)
    return [
        (preset, name)
        for preset in seen.values()
        for name in recorded(tiny(preset))
        if name not in OUTPUT | BUILDS_THE_NETWORK
    ]


UNCHANGED: dict[str, list[Tensor]] = {}
"""Weights of a training with its preset as it is."""


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "name"), cases())
def test_what_synth_train_records_changes_the_weights(
    toy: Toy, make_generator: Callable[..., Any], tmp_path: Path, preset: str, name: str
) -> None:
    settings = tiny(preset)
    if preset not in UNCHANGED:
        UNCHANGED[preset] = train_with(settings, toy, make_generator(), tmp_path / "before")
    old, new = getattr(settings, name), CHANGED[name]
    base = {key: value for key, value in recorded(settings).items() if key != name}
    changed = resolve_training(SynthesisSettings, base, {name: OTHER[name] if new == old else new}, "test")
    assert not same(UNCHANGED[preset], train_with(changed, toy, make_generator(), tmp_path / "after"))


OFF: dict[str, tuple[dict[str, Any], set[str]]] = {
    "gan": (
        {"lambda_gan": 0.0},
        {"gan", "lr_discriminator", "discriminator_width", "discriminator_norm", "discriminator_layers", "image_pool"},
    ),
    "features": (
        {"lambda_fda": 0.0},
        {"gan_features", "fda_scope", "fda_features", "lr_features", "betas_features", "features_width"},
    ),
    "lesion": (
        {"lambda_les": 0.0},
        {"lesion_width", "lesion_initialisation", "lesion_optimiser", "lr_lesion", "lesion_momentum"},
    ),
    "momentum": ({"lesion_optimiser": "adam", "lr_lesion": 1e-3}, {"lesion_momentum"}),
    "pairs": ({"matched": False}, {"pairs_top"}),
}
"""What leaves other settings without an effect, and which."""


@pytest.mark.slow
@pytest.mark.parametrize("part", OFF)
def test_what_is_not_recorded_changes_nothing_and_is_refused(
    toy: Toy, make_generator: Callable[..., Any], tmp_path: Path, part: str
) -> None:
    off, idle = OFF[part]
    settings = SynthesisSettings(**{**TINY, **off})
    assert settings.without_effect().keys() == idle
    assert not idle & recorded(settings).keys()
    other = settings.model_copy(update={name: CHANGED[name] for name in idle})
    one, two = (
        train_with(item, toy, make_generator(), tmp_path / name) for item, name in ((settings, "one"), (other, "two"))
    )
    assert same(one, two)
    for name in idle:
        with pytest.raises(SettingError, match=rf"^synth-train: --set {name}=\.\.\. has no effect with .*=.*; leave"):
            resolve_training(SynthesisSettings, {**TINY, **off}, {name: CHANGED[name]}, "synth-train")
    dropped = resolve_training(
        SynthesisSettings, {**TINY, **{name: CHANGED[name] for name in idle}}, off, "synth-train"
    )
    assert not idle & recorded(dropped).keys()


def test_every_setting_is_covered() -> None:
    assert SynthesisSettings.model_fields.keys() <= {*CHANGED, *OUTPUT, *BUILDS_THE_NETWORK}
