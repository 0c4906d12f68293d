"""`segment --scheduler` that is stopped, or whose scheduler is killed: one line, no leftovers, and --resume goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cohorts
import pytest
from signalled import leftovers

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

LONGEST_S = 300


def begun(address: str) -> subprocess.Popen[str]:
    """The command in a process of its own, once it has written its first mask."""
    words = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "-o", "masks"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ctseg", "-q", *words, "--scheduler", address], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + LONGEST_S
    while not list(Path("masks").glob("[!.]*.nii.gz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(("what", "code", "word"), [
    (signal.SIGINT, 130, "interrupted;"), (signal.SIGTERM, 143, "terminated;"),
    ("scheduler", 2, "--scheduler ADDRESS: the scheduler is gone; start it and call again"),
])  # fmt: skip
def test_a_stopped_segmentation_on_a_cluster_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: signal.Signals | str, code: int, word: str
) -> None:
    from test_cluster import Cluster

    monkeypatch.chdir(tmp_path)
    cohorts.ct_scans(Path("scans"), 12)
    cohorts.model(Path("run"))
    cluster = Cluster(tmp_path / "cluster")
    try:
        cluster.wait_for(2)
        process = begun(cluster.address)
        if isinstance(what, signal.Signals):
            process.send_signal(what)
        else:
            cluster.scheduler.kill()
        _, err = process.communicate(timeout=LONGEST_S)
    finally:
        cluster.close()
    assert process.returncode == code, err
    word = word.replace("ADDRESS", cluster.address)
    assert [line.startswith(f"ctseg: error: {word}") for line in err.splitlines()] == [True], err
    assert leftovers(Path()) == []
    again = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "-o", "masks"]
    assert subprocess.run([sys.executable, "-m", "ctseg", "-q", *again, "--resume"], check=False).returncode == 0
    assert len(list(Path("masks").glob("*.nii.gz"))) == 12
