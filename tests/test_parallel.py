from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctseg.parallel import worker_pool

PARENT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from ctseg.parallel import worker_pool

if __name__ == "__main__":
    pool = worker_pool(2, sys.argv[2])
    print(*{pool.submit(os.getpid).result() for _ in range(20)} | set(pool._processes), flush=True)
    pool.submit(time.sleep, 300)
    time.sleep(300)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, method: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = str(Path(__file__).parents[1])
    with subprocess.Popen([sys.executable, str(script), root, method], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        assert all(map(is_running, pids))
        parent.kill()
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, pids))


def test_workers_work() -> None:
    with worker_pool(1) as pool:
        assert pool.submit(os.getppid).result() == os.getpid()
