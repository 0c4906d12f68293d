"""The whole way once with similarity metric, generator, segmenter and brain extractor all from outside packages."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import pytest
from small_study import COHORT

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.files import read_toml
from ctseg.runs import read_header

pytestmark = [pytest.mark.phantom, pytest.mark.end_to_end]
PACKAGES = ("ctseg-mind", "ctseg-cut", "ctseg-monai", "ctseg-plugin-template")
STUDY = (
    COHORT
    + """
[[step]]
name = "ct"
command = "preprocess"
input = "phantom/rsna/stage_2_train"
output = "sets/ct"
size = 48
brain = "plugin-template"
workers = 0

[[step]]
command = "match"
src = "sets/mr"
tgt = "sets/ct"
similarity = "mind"
set = { size = 24 }
output = "pairs.csv"

[[step]]
name = "match-target"
command = "match"
src = "sets/mr"
tgt = "sets/ct"
similarity = "mind"
direction = "target"
output = "pairs-stage2.csv"

[[step]]
command = "synth-train"
src = "sets/mr"
tgt = "sets/ct"
pairs = "pairs.csv"
output = "runs/cut"
preset = "smoke"
generator = "cut"
set = { gan = "lsq", "generator_settings.width" = 4, "generator_settings.blocks" = 1 }

[[step]]
command = "synthesize"
model = "runs/cut"
src = "sets/mr"
output = "sets/pseudo-ct"

[[step]]
command = "das-train"
src = "sets/pseudo-ct"
tgt = "sets/ct"
pairs = "pairs-stage2.csv"
output = "runs/monai"
preset = "smoke"
segmenter = "monai-unet"
set = { "segmenter_settings.width" = 4, "segmenter_settings.depth" = 2, "segmenter_settings.hidden" = 4 }

[[step]]
command = "segment"
input = "phantom/rsna/stage_2_test"
model = "runs/monai"
output = "masks/monai"
workers = 0

[[step]]
command = "evaluate"
pred = "masks/monai"
ref = "phantom/truth/iph/test"
labels = "phantom/truth/stage_2_test.csv"
output = "evaluation"
"""
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    for package in PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed: pip install plugins/{package}")
    folder = tmp_path_factory.mktemp("outside")
    (folder / "study.toml").write_text(STUDY)
    common.STATE = common.State()
    assert main(["-q", "run", str(folder / "study.toml")]) == 0
    return folder


def test_the_way_ends_in_an_evaluation(study: Path) -> None:
    assert list(pd.read_csv(study / "masks/monai/volumes.csv")["status"]) == ["ok", "ok"]
    summary = json.loads((study / "evaluation/summary.json").read_text())
    assert summary["models"][0]["cases"] == 2
    assert {"structure", "lesion_difference"} <= set(pd.read_csv(study / "pairs.csv").columns)


@pytest.mark.parametrize(
    ("run", "kind", "name", "package"),
    [("cut", "generator", "cut", "ctseg-cut"), ("monai", "segmenter", "monai-unet", "ctseg-monai")],
)
def test_a_run_knows_its_plugin(study: Path, run: str, kind: str, name: str, package: str) -> None:
    header = read_header(study / "runs" / run)
    assert (header.kind, header.name, header.package) == (kind, name, package)
    assert header.package_version == version(package)
    plugin = read_toml(study / "runs" / run / "config.toml")["plugin"]
    assert plugin == {"kind": kind, "name": name, "package": package, "version": version(package)}


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (["synthesize", "--model", "runs/cut", "--src", "sets/mr"], "ctseg-cut"),
        (["segment", "phantom/rsna/stage_2_test", "--model", "runs/monai", "--workers", "0"], "ctseg-monai"),
    ],
)
def test_without_plugins_a_run_says_that_its_own_is_left_out(
    study: Path, arguments: list[str], package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study)
    monkeypatch.setattr(common, "STATE", common.State())
    assert main(["--no-plugins", *arguments, "-o", "nowhere"]) == 2
    said = f"{package} {version(package)} is installed and left out by --no-plugins or CTSEG_DISABLE_PLUGINS"
    assert said in capsys.readouterr().err
    assert not (study / "nowhere").exists()


def test_the_losses_of_an_own_objective_are_logged(study: Path) -> None:
    rows = [json.loads(line) for line in (study / "runs/cut/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert all({"gan_ct", "nce", "nce_identity", "d_ct"} <= set(row) for row in rows)
