"""What the benchmarks that stop a command at every step share: each command in a folder of its own, and a line each."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cli")]
from test_signals import command_inputs


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def sweep(names: Sequence[str], measured: Callable[[str, Path], tuple[int, int]]) -> int:
    """Measure each command among the small inputs, and say how many of its tries were whole.

    Args:
        names: of the commands.
        measured: takes a name and an empty folder; gives how many tries there were, and how many were whole.

    Returns:
        1 if any was not, else 0.
    """
    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        inputs = Path(place) / "inputs"
        inputs.mkdir()
        with command_inputs(inputs):
            for name in names:
                began, work = time.monotonic(), Path(place) / "work"
                work.mkdir()
                done, whole = measured(name, work)
                shutil.rmtree(work)
                failed += done - whole
                say(f"{name}: {whole} of {done} whole, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0
