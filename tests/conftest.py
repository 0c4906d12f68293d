"""Fixtures for every layer of tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.append(str(Path(__file__).parent))  # for helper modules, in spawned workers too
sys.path.append(str(Path(__file__).parents[1] / "tools"))


def _real_data() -> Path | None:
    named = os.environ.get("CTSEG_TEST_DATA")
    places = [Path(named)] if named else [Path(__file__).parents[1].parent / "shared" / "data"]
    return next((place for place in places if (place / "ct-ge-tilted").is_dir()), None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small real scans; tests that need it are skipped where there is none."""
    folder = _real_data()
    if folder is None:
        pytest.skip("no real scans: set CTSEG_TEST_DATA, or put them in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study; tests may add files to it and change none."""
    from small_study import STUDY

    from ctseg.cli import common
    from ctseg.cli.main import main

    folder = tmp_path_factory.mktemp("study")
    (folder / "study.toml").write_text(STUDY)
    common.STATE = common.State()
    assert main(["-q", "run", str(folder / "study.toml")]) == 0
    return folder


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with tiny slice sets `mr` and `ct`."""
    from toy_sets import toy

    monkeypatch.chdir(tmp_path)
    toy(tmp_path / "mr", "mr", 0)
    toy(tmp_path / "ct", "ct", 1)
    return tmp_path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261123)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors run faster on one thread, and xdist workers do not fight over the cores."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
