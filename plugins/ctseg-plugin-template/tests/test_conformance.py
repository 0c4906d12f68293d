"""The plugin passes every check of ctseg's conformance kit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctseg.cli.main import main
from ctseg.conformance import BoundCheck, checks

FOLDER = Path(__file__).parents[1] / "src" / "ctseg_plugin_template" / "models"
MODELS = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


@pytest.mark.parametrize("check", [check for model in MODELS for check in checks("model", model)])
def test_model(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("check", checks("similarity_metric", "plugin-template"))
def test_similarity_metric(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("check", checks("metric", "plugin-template"))
def test_metric(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("check", checks("generator", "plugin-template"))
def test_generator(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("check", checks("segmenter", "plugin-template"))
def test_segmenter(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("check", checks("brain_extractor", "plugin-template"))
def test_brain_extractor(check: BoundCheck) -> None:
    check()


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin-template", "--help"]) == 0
    assert "SLICE_SET" in capsys.readouterr().out.upper().replace(" ", "_")
