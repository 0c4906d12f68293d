"""What the tests of training commands begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_sets import toy

from ctseg.cli import common


@pytest.fixture
def quiet() -> None:
    """Commands say nothing but errors."""
    common.STATE = common.State(quiet=True)


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with tiny slice sets `mr` and `ct`."""
    monkeypatch.chdir(tmp_path)
    toy(tmp_path / "mr", "mr", 0)
    toy(tmp_path / "ct", "ct", 1)
    return tmp_path
