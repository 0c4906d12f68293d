"""What the benchmarks that stop a command at every step share: each command in a folder of its own, and a line each."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cli")]
from seg_files import ct
from test_signals import ONE, command_inputs

OBJECTS = [
    "segment", "series", "--model", "seg", *ONE, "--threshold", "0.01", "--rtstruct", "--sr", "--label-tables",
]  # fmt: skip
"""Everything that `segment` writes of DICOM scans; the small model finds nothing at the usual threshold."""


def tilted_series(folder: Path) -> None:
    """The heads `scans/a` and `scans/b` as DICOM series of tilted slices, which get every kind of object."""
    for name in ("a", "b"):
        hu = np.asarray(nib.load(f"scans/{name}.nii.gz").dataobj)
        places = [(-97.5, -97.5 - 1.5 * k, -55.0 + 10 * k) for k in range(hu.shape[2])]
        ct(folder / name, places, spacing=(5.0, 5.0), voxels=hu.transpose(2, 1, 0), PatientID=name)


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
            tilted_series(Path("series"))
            for name in names:
                began, work = time.monotonic(), Path(place) / "work"
                work.mkdir()
                done, whole = measured(name, work)
                shutil.rmtree(work)
                failed += done - whole
                say(f"{name}: {whole} of {done} whole, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0
