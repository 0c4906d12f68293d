"""A tiny model of known behaviour and heads of known content, for answers that are known beforehand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ctseg.cli import common
from ctseg.networks.fcn import FcnVgg16
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "inference"):
    sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def _fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "STATE", common.State())


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that calls about half of everything lesion, so that every mask has some."""
    folder = tmp_path_factory.mktemp("model")
    made = PreprocessSettings(size=32, fov_mm=120.0, brain_extractor="whole-head").model_dump(mode="json")
    header = ModelHeader("segmenter", "fcn", {"width": 4}, "ctseg", "0.1.0", {"preprocess": made, "intensity": {}})
    network = FcnVgg16(width=4)
    for parameter in network.parameters():
        parameter.data.zero_()
    next(iter(reversed(list(network.parameters())))).data.fill_(4.0)
    save_model(folder / "model.safetensors", network, header)
    return folder
