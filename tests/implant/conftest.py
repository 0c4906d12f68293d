"""One synthetic head for the whole folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from implant_heads import make_head

from ctseg.implant.head import Head


@pytest.fixture(scope="session")
def head() -> Head:
    """1 mm pixels, slices of 5 mm."""
    return Head.of(*make_head()[:3])
