"""A step of a study that was done with another version of a plugin stays done, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from outside_plugins import outside_entry, outside_registry

from ctseg.cli import common
from ctseg.cli.study_plugins import comparing, plugins_of
from ctseg.plugins.host import Registry
from ctseg.runs import ModelHeader, save_model
from ctseg.study import read_study, run_study

STUDY = """
[[step]]
command = "match"
src = "mr"
tgt = "ct"
output = "pairs"
similarity = "odd"
"""


def installed(version: str) -> Registry:
    return outside_registry(
        outside_entry("similarity_metric", dict, version=version), outside_entry("metric", dict, "mine", version)
    )


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "STATE", common.State())
    Path("study.toml").write_text(STUDY)


def run(version: str) -> list[list[str]]:
    """The steps that ran while that version was installed; none where it is empty."""
    calls: list[list[str]] = []

    def execute(argv: list[str]) -> int:
        calls.append(argv)
        Path("pairs").mkdir(exist_ok=True)
        return 0

    common.STATE.registry = installed(version) if version else outside_registry()
    study = read_study(Path("study.toml"))
    with comparing(study, execute) as run_step:
        run_study(study, run_step)
    return calls


def test_another_version_of_a_plugin_is_named_by_each_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run("1.0")) == 1
    assert run("1.0") == []
    assert capsys.readouterr().err == ""
    line = (
        "warning: step 'match' was done with similarity metric odd of ctseg-odd 1.0, and {}; --fresh makes it again\n"
    )
    for version, words in (("1.1", "ctseg-odd 1.1 is installed"), ("", "it is not installed")):
        for _ in range(2):
            assert run(version) == []
            assert capsys.readouterr().err == line.format(words)
    assert run("1.0") == []
    assert capsys.readouterr().err == ""


def test_a_step_that_runs_again_has_the_new_version(capsys: pytest.CaptureFixture[str]) -> None:
    run("1.0")
    Path("study.toml").write_text(STUDY + "top = 3\n")
    assert len(run("1.1")) == 1
    assert run("1.1") == []
    assert capsys.readouterr().err == ""


def test_a_step_uses_what_its_words_settings_and_models_name_and_evaluate_every_metric(tmp_path: Path) -> None:
    net = outside_entry("segmenter", dict, "net")
    common.STATE.registry = outside_registry(net, outside_entry("metric", dict, "mine", "2"))
    header = ModelHeader("segmenter", "net", {}, "ctseg-odd", "0.1")
    save_model(tmp_path / "model.safetensors", torch.nn.Linear(1, 1), header)
    assert plugins_of(["segment", "scans", "--model", str(tmp_path)]) == {"segmenter net": "ctseg-odd 0.3.1"}
    assert plugins_of(["das-train", "--set", "segmenter=net"]) == {"segmenter net": "ctseg-odd 0.3.1"}
    assert plugins_of(["evaluate", "--pred", "a"]) == {"metric mine": "ctseg-odd 2"}
    assert plugins_of(["segment", "scans", "--model", "default"]) == {}
