"""Synthetic scans for the whole folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from segment_helpers import UNEVEN_Z, Head, Stack, write_dicom


@pytest.fixture(scope="session")
def tilted() -> Stack:
    """A tilted, unevenly spaced stack."""
    return Stack(UNEVEN_Z)


@pytest.fixture(scope="session")
def dicom_folder(tmp_path_factory: pytest.TempPathFactory, tilted: Stack) -> Path:
    """A tilted, uneven series of a head with a bleeding; read only."""
    return write_dicom(tmp_path_factory.mktemp("scans") / "series", tilted, Head())
