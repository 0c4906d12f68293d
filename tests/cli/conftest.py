"""What the tests of training commands begin with."""

from __future__ import annotations

import pytest

from ctseg.cli import common


@pytest.fixture
def quiet() -> None:
    """Commands say nothing but errors."""
    common.STATE = common.State(quiet=True)
