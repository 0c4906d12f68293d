"""`source_mean` and `source_std` from the command line: which runs have them, and what a run says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctseg.cli.main import main
from ctseg.files import read_toml
from ctseg.runs import read_header

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet")]

SMALL = [
    "--device", "cpu", "--set", "matched=false", "--set", "epochs=1", "--set", "steps_per_epoch=1",
    "--set", "batch_size=2", "--set", "discriminator_width=4",
]  # fmt: skip
FCN, RELEASED = ["--set", "segmenter_settings.width=4"], {"source_mean": 0.086, "source_std": 0.167}


def train(out: str, *more: str, preset: str = "released", source: str = "mr") -> int:
    return main(["das-train", "--preset", preset, "--src", source, "--tgt", "ct", "-o", out, *SMALL, *more])


def constants(run: str) -> dict[str, Any]:
    settings = read_toml(Path(run) / "config.toml")["settings"]
    return {name: settings[name] for name in RELEASED if name in settings}


def test_a_run_records_them_and_is_not_resumed_with_others(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("run", *FCN) == 0
    assert constants("run") == RELEASED
    assert RELEASED.items() <= read_header(Path("run")).training.items()
    card = Path("run/model-card.md").read_text()
    assert "| Source images | in training, minus 0.086 over 0.167, of images in [0, 1] |" in card
    capsys.readouterr()
    for resumed in (["--set", "source_std=0.2"], ["--set", "source_mean=0.074", "--set", "source_std=0.148"]):
        assert train("run", *FCN, "--resume", *resumed) == 2
        assert "--resume with other settings (settings.source" in capsys.readouterr().err
    config = Path("run/config.toml")
    config.write_text("".join(line for line in config.read_text().splitlines(True) if not line.startswith("source_m")))
    assert train("run", *FCN, "--resume") == 2  # begun before the preset had them
    assert "--resume with other settings (settings.source_mean differs)" in capsys.readouterr().err


def test_other_presets_and_other_networks_have_the_targets(sets: Path) -> None:
    assert train("demo", *FCN, preset="demo") == 0
    assert train("unet", "--segmenter", "unet", "--set", "segmenter_settings.width=4") == 0
    for run in ("demo", "unet"):
        assert constants(run) == {}
        assert "source_mean" not in read_header(Path(run)).training
        assert "Source images" not in Path(f"{run}/model-card.md").read_text()


def test_labelled_ct_has_cts_constants(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("on-ct", *FCN, source="ct") == 0
    assert constants("on-ct") == {}
    capsys.readouterr()
    assert train("no", *FCN, "--set", "source_mean=0.1", source="ct") == 2
    said = "das-train: source_mean is for MR and pseudo-CT, and ct is labelled CT, which is normalised as the target"
    assert said in capsys.readouterr().err
    assert not Path("no").exists()


def test_weights_go_from_one_to_the_other(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The constants are the training's and not the network's."""
    assert train("demo", *FCN, preset="demo") == 0
    assert train("run", *FCN, "--from", "demo") == 0
    assert constants("run") == RELEASED
    tuned = ["finetune", "--data", "ct", "--folds", "2", "--device", "cpu", "--set", "epochs=1", "-o", "tuned"]
    assert main([*tuned, "--preset", "released", "--from", "run", "--set", "steps_per_epoch=1"]) == 0
    assert "source_mean" not in read_toml(Path("tuned/config.toml"))["settings"]
    assert "source_mean" not in read_header(Path("tuned/fold_1")).training
    capsys.readouterr()
    assert main([*tuned, "--overwrite", "--set", "source_mean=0.1"]) == 2
    assert "finetune: source_mean is a setting of das-train alone" in capsys.readouterr().err
