"""A cohort ten times the memory that the process may have: it trains, and it is preprocessed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does"),
]
SCRIPT = Path(__file__).parent / "benchmarks" / "memory_limit.py"


@pytest.mark.parametrize("step", ["train"])
def test_ten_times_the_memory(step: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), step, str(tmp_path)], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ten times" in done.stdout
