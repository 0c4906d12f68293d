"""`ctseg settings`: every setting of every command, with default, bounds, unit, meaning and source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ctseg.cli import common
from ctseg.cli.command_settings import COMMANDS, groups_of
from ctseg.cli.main import main
from ctseg.plugins.host import load
from ctseg.settings import describe
from ctseg.training import presets

DIMENSIONLESS = {
    "seed", "betas", "betas_features", "betas_discriminator", "clip_gradient", "momentum", "lesion_momentum", "lr",
    "lr_generator", "lr_discriminator", "lr_features", "lr_lesion", "ema_decay", "weight_average", "range_factor",
    "bright", "input_mean", "input_std", "source_mean", "source_std",
    "reference_labels", "prediction_labels", "lesion_labels",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "STATE", common.State(outside_plugins=False))


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, dict[str, Any]]:
    assert main(["--no-plugins", "settings", *argv, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["settings"]}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_setting_has_a_meaning_and_a_number_its_unit(command: str) -> None:
    for group in groups_of(command, load(outside=False)):
        for item in describe(group.model):
            assert item.meaning, (command, item.name)
            is_number = "number" in item.type and not item.name.startswith("lambda_")
            assert not is_number or item.unit or item.name in DIMENSIONLESS, (command, item.name)


@pytest.mark.parametrize("stage", [presets.SYNTHESIS, presets.ADAPTATION])
def test_every_value_of_every_preset_has_a_source(stage: dict[str, presets.Values]) -> None:
    for name, values in stage.items():
        assert {key for key in values if not values.sources.get(key)} == set(), name


def test_a_preset_shows_its_values_with_their_source_and_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    row = shown(capsys, "synth-train", "--preset", "paper")["lambda_cyc"]
    assert (row["value"], row["default"], row["source"]) == (5.0, 5.0, "paper 4.2.2")
    row = shown(capsys, "synth-train", "--preset", "released")["lambda_cyc"]
    assert (row["value"], row["default"], row["source"]) == (50.0, 5.0, "released code")
    rows = shown(capsys, "das-train")
    assert rows["freeze_batch_norm_from"]["value"] == 4
    assert rows["steps_per_epoch"]["source"] == "default of ctseg"
    assert rows["rotation_deg"]["bounds"] == "0 to 180"
    assert rows["rotation_deg"]["unit"] == "degrees"
    assert rows["ema_decay"]["without_effect"] == "lambda_consistency=0"


def test_a_plugin_shows_its_settings_under_the_name_that_set_takes(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, "das-train", "--preset", "demo")
    assert rows["segmenter_settings.width"]["value"] == 16
    assert rows["segmenter_settings.width"]["source"] == "a quarter of VGG-16"
    rows = shown(capsys, "das-train", "--plugin", "unet")
    assert rows["segmenter"]["value"] == "unet"
    assert rows["segmenter_settings.depth"]["bounds"] == "1 to 6"
    assert shown(capsys, "match", "--plugin", "phash").keys() != shown(capsys, "match").keys()


def test_people_see_words_and_no_library_text(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["settings", "preprocess"], ["settings", "das-train"], ["plugins", "show", "amd"]):
        assert main(["--no-plugins", *argv]) == 0
        out = capsys.readouterr().out
        assert not [word for word in ("Ge(", "Gt(", "Literal", "annotation", "NoneType", "<class") if word in out]
        assert "whole number" in out
    assert main(["settings"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == list(COMMANDS)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["settings", "das-trian"], "did you mean 'das-train'"),
        (["settings", "das-train", "--preset", "papr"], "did you mean 'paper'"),
        (["settings", "segment", "--preset", "paper"], "segment has no presets"),
        (["settings", "segment", "--plugin", "fcn"], "segment takes no plugin"),
        (["settings", "das-train", "--plugin", "unett"], "did you mean 'unet'"),
        (["segment", "x", "--model", "y", "--set", "min_lesion=3"], "did you mean 'min_lesion_ml'"),
    ],
)
def test_a_wrong_name_suggests_the_nearest(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-plugins", *argv]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("lr_descriminator=1", "did you mean 'lr_discriminator'?); `ctseg settings das-train` lists all"),
        ("width=8", "width is a setting of segmenter fcn; write --set segmenter_settings.width=8"),
        ("segmenter_settings.widht=8", "did you mean 'width'"),
    ],
)
def test_a_training_refuses_a_wrong_setting_before_it_reads_a_set(
    setting: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["das-train", "--src", "no", "--tgt", "no", "-o", "no", "--set", setting]) == 2
    assert words in capsys.readouterr().err
