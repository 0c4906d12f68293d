"""What `ctseg segment --workers 2` gains, beside what the machine allows: two calls at once, each with half the scans.

    python tests/benchmarks/segment_workers.py SCANS [--rounds 2] [--model default]

SCANS is a folder with one folder or file a scan. One thread a process, all ways in turn. It prints wall seconds, the
least over the rounds, the gain over one process, and CPU seconds of the busiest process and of all. Only the CPU
seconds mean something on a busy machine: nothing ends sooner than its busiest process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOOK_S = 0.25
"""Processes are looked at so often; CPU time after the last look is lost."""


def start(scans: list[Path], model: str, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """`ctseg segment` of some scans, in a session of its own."""
    words = ["-q", "segment", *map(str, scans), "--model", model, "-o", str(out), "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "ctseg", *words, "--workers", str(workers)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip


def look(sessions: set[int], used: dict[int, float]) -> None:
    """Note the CPU seconds of every process of some sessions."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) in sessions:
            used[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(parts: list[list[Path]], model: str, workers: int) -> tuple[float, float, float]:
    """Wall seconds of calls that run at once, CPU seconds of the busiest process and of all."""
    used: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        calls = [start(part, model, Path(name) / str(place), workers) for place, part in enumerate(parts)]
        while any(call.poll() is None for call in calls):
            look({call.pid for call in calls}, used)
            time.sleep(LOOK_S)
        seconds = time.monotonic() - started
    assert not any(call.returncode for call in calls)
    return seconds, max(used.values()), sum(used.values())


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    scans = sorted(given.scans.iterdir())
    halves = [scans[::2], scans[1::2]]
    ways = {
        "--workers 0": ([scans], 0), "--workers 1": ([scans], 1), "--workers 2": ([scans], 2),
        "two calls at once, half the scans each": (halves, 0),
    }  # fmt: skip
    best: dict[str, tuple[float, ...]] = {}
    for _ in range(given.rounds):
        for name, (parts, workers) in ways.items():
            found = measured(parts, given.model, workers)
            best[name] = tuple(map(min, best.get(name, found), found))
    alone = best["--workers 0"][0]
    print(f"{len(scans)} scans, load {os.getloadavg()[0]:.0f}\n")  # noqa: T201
    print("| way | wall s | gain | CPU s, busiest process | CPU s, all |\n|---|---|---|---|---|")  # noqa: T201
    for name, (wall, busiest, every) in best.items():
        print(f"| {name} | {wall:.1f} | {alone / wall:.2f} | {busiest:.1f} | {every:.1f} |")  # noqa: T201


if __name__ == "__main__":
    main()
