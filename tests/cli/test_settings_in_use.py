"""What a training takes, shows and records of its settings, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctseg.cli import common
from ctseg.cli.das_train import no_foreground_warning
from ctseg.cli.main import main
from ctseg.files import read_toml
from ctseg.runs import append_metrics, read_metrics
from ctseg.training.presets import ADAPTATION
from ctseg.training.settings import AdaptationSettings, FinetuneSettings

pytestmark = pytest.mark.slow

SIZE = 32
TINY: dict[str, list[str]] = {
    "synth-train": ["--preset", "smoke", "--set", "matched=false"],
    "das-train": ["--preset", "smoke", "--set", "matched=false"],
    "finetune": ["--preset", "smoke", "--folds", "2"],
}


@pytest.fixture(autouse=True)
def _loud() -> None:
    common.STATE = common.State(quiet=False)


def train(command: str, *more: str) -> int:
    data = ["--data", "ct"] if command == "finetune" else ["--src", "mr", "--tgt", "ct"]
    return main([command, *data, "-o", "run", "--device", "cpu", *TINY[command], *more])


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        (
            "das-train",
            ["lambda_adv=0", "lr_discriminator=1e-3"],
            "lr_discriminator=... has no effect with lambda_adv=0",
        ),
        ("das-train", ["ema_decay=0.9"], "ema_decay=... has no effect with lambda_consistency=0"),
        ("das-train", ["select_from=1"], "select_from=... has no effect with selection=last"),
        ("das-train", ["optimiser=adam", "momentum=0.5"], "momentum=... has no effect with optimiser=adam"),
        ("synth-train", ["lambda_les=0", "lr_lesion=0.1"], "lr_lesion=... has no effect with lambda_les=0"),
        ("synth-train", ["pairs_top=3"], "pairs_top=... has no effect with matched=false"),
        ("finetune", ["lambda_adv=0.1"], "finetune: lambda_adv is a setting of das-train alone"),
        ("finetune", ["selection=entropy"], "finetune: selection is a setting of das-train alone"),
        ("finetune", ["copy_paste=0.1"], "finetune: copy_paste is a setting of das-train alone"),
        (
            "finetune",
            ["freeze_batch_norm_from=9"],
            "freeze_batch_norm_from=... has no effect with epochs + decay_epochs=2",
        ),
        ("finetune", ["ler=9"], "unknown setting 'ler'"),
    ],
)
def test_a_setting_without_effect_is_refused_in_one_line_before_anything_is_written(
    sets: Path, capsys: pytest.CaptureFixture[str], command: str, given: list[str], said: str
) -> None:
    assert train(command, *(part for pair in given for part in ("--set", pair))) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not Path("run").exists()


def settings_of(run: str) -> dict[str, Any]:
    return dict(read_toml(Path(run) / "config.toml")["settings"])


def test_das_train_records_and_shows_only_what_it_uses(sets: Path) -> None:
    assert train("das-train", "--set", "lambda_adv=0") == 0
    absent = {"lr_discriminator", "gan", "ema_decay", "mask_patch", "copy_paste", "select_from", "target_split"}
    assert not absent & settings_of("run").keys()
    assert settings_of("run")["lambda_adv"] == 0
    card, report = Path("run/model-card.md").read_text(), Path("run/report.html").read_text()
    assert "| Losses | loss bce |" in card
    assert not [name for name in absent if f"{name} =" in report]


@pytest.mark.parametrize("preset", ADAPTATION)
def test_finetune_records_its_own_settings_with_every_preset(sets: Path, preset: str) -> None:
    small = ("epochs=1", "decay_epochs=0", "steps_per_epoch=1", "batch_size=2", "segmenter_settings.width=4")
    given = [part for pair in small for part in ("--set", pair)]
    assert (
        main(["finetune", "--data", "ct", "-o", "run", "--folds", "2", "--preset", preset, "--device", "cpu", *given])
        == 0
    )
    found = settings_of("run")
    assert found.keys() <= FinetuneSettings.model_fields.keys()
    assert not found.keys() & (AdaptationSettings.model_fields.keys() - FinetuneSettings.model_fields.keys())
    assert "freeze_batch_norm_from" not in found or found["freeze_batch_norm_from"] == 0
    assert found["brightness"] == ADAPTATION[preset].get("brightness", 0.2)


@pytest.mark.parametrize("command", ["das-train", "synth-train", "finetune"])
@pytest.mark.parametrize("said", [True, False])
def test_epochs_that_a_preset_adds_are_said_before_and_after(
    sets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, said: bool
) -> None:
    from ctseg.training import presets

    stage = presets.SYNTHESIS if command == "synth-train" else presets.ADAPTATION
    monkeypatch.setitem(stage, "smoke", {**stage["smoke"], "decay_epochs": 2, "steps_per_epoch": 1})
    assert train(command, "--set", "epochs=1", *([] if said else ["--set", "decay_epochs=2"])) == 0
    shown = capsys.readouterr().err
    note = "note: 3 epochs: 1 at the full rate (epochs) and the preset's 2 with it falling to 0 (decay_epochs)"
    assert (note in shown) is said
    assert "3 epochs, the last 2 with the rate falling to 0" in shown.split(note)[-1]
    assert len(read_metrics(Path("run/fold_1" if command == "finetune" else "run"))) == 3


def test_real_lesions_are_not_repainted_by_das_train_either(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["das-train", "--src", "ct", "--tgt", "ct", "-o", "run", "--device", "cpu", *TINY["das-train"]]
    assert main([*argv, "--set", "synthetic_haemorrhage=1"]) == 2
    assert "repaints lesions and labels, and ct is real labelled CT" in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize(("share", "warned"), [(0.0, True), (0.01, False)])
def test_a_selected_network_without_foreground_is_warned_of(tmp_path: Path, share: float, warned: bool) -> None:
    for epoch, value in enumerate((0.5, share, 0.5)):
        append_metrics(tmp_path, {"epoch": epoch, "val_target_lesion_share": value})
    assert bool(no_foreground_warning(tmp_path, {"selected_epoch": 2})) is warned
    assert not no_foreground_warning(tmp_path, {"selected_epoch": 3})
