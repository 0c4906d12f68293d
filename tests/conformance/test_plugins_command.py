"""`ctseg plugins check` and `ctseg plugins new` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.plugins.hookspecs import hookimpl
from ctseg.plugins.host import load


@pytest.fixture(autouse=True)
def _built_ins_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.STATE, "registry", load(found=[]))


@pytest.mark.slow
def test_a_plugin_that_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "phash"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert len(lines) == 16
    assert lines[1].split() == ["similarity_metric", "phash", "says_what_it_is", "passed"]
    assert "phash: 16 passed, 0 skipped, 0 failed" in shown.err


@pytest.mark.slow
def test_a_plugin_that_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from ctseg.matching.metrics import ImageHashMetric

    monkeypatch.setattr(ImageHashMetric, "distance", lambda *_: None)
    assert main(["plugins", "check", "similarity_metric:phash", "--set", "lambda_ham=3", "--json"]) == 2
    result = json.loads(capsys.readouterr().out)
    failed = [item["check"] for item in result["checks"] if item["status"] == "failed"]
    assert result["failed"] == len(failed)
    assert "is_symmetric" in failed
    assert "says_what_it_is" not in failed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "adm"], "unknown plugin 'adm' (did you mean 'amd'?)"),
        (["check", "similarity_metric:amd", "--set", "lambda=1"], "unknown setting 'lambda'"),
        (["check", "similarity_metric:amd", "--device", "abacus"], "--device abacus: not on this machine"),
        (["new", "My", "-o", "x"], "small letters"),
        (["new", "my", "-o", "x", "--kind", "metrics"], "unknown kind of plugin 'metrics'"),
    ],
)
def test_faults_of_the_call_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_older_form_is_listed_with_what_to_change(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("older")
    register_metrics = hookimpl(lambda register: register("older-similarity", object, summary="of contract 1"))
    module.ctseg_register_metrics = register_metrics  # type: ignore[attr-defined]
    point = SimpleNamespace(load=lambda: module, name="older")
    found = [(point, SimpleNamespace(name="older", version="1.0"))]
    monkeypatch.setattr(common.STATE, "registry", load(found=found))  # type: ignore[arg-type]
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "older" in line] == [
        "  older-similarity of contract 1  [older 1.0]",
        "deprecated: older 1.0: ctseg_register_metrics registers a similarity metric by plugin contract 1; rename it "
        "to ctseg_register_similarity_metrics and set CTSEG_CONTRACT = 2",
    ]
    assert main(["plugins", "--json"]) == 0
    assert [item["package"] for item in json.loads(capsys.readouterr().out)["deprecated"]] == ["older"]


def test_a_new_package(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "ctseg-mine"
    assert main(["plugins", "new", "mine", "--kind", "segmenter", "-o", str(folder)]) == 0
    shown = capsys.readouterr()
    assert str(folder / "src" / "ctseg_mine" / "segmenter.py") in shown.out.splitlines()
    assert "ctseg plugins check mine" in shown.err
    assert main(["plugins", "new", "mine", "-o", str(folder)]) == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("segmenter", "then pytest made or ctseg plugins check my-own"),
        ("command", "then pytest made or ctseg my-own --help"),
        ("model", "put my-own.safetensors and my-own.json into made/src/ctseg_my_own/models; pip install -e made"),
    ],
)
def test_the_next_step_fits_the_kind(
    kind: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "my-own", "--kind", kind, "-o", "made"]) == 0
    assert expected in capsys.readouterr().err
    if kind == "model":
        assert Path("made/src/ctseg_my_own/models").is_dir()
