"""The whole of `ctseg match` at the paper's size: two sets of 15,480 slices from disk to `pairs.csv`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from interleaved import Row
from test_match_speed import pictures

from ctseg.io.slice_writer import SliceWriter

SLICES, SIDE = 15_480, 240
CASE = 60
"""Slices of a scan."""


def write_set(folder: Path, domain: str, slices: int, side: int) -> Path:
    """A slice set whose pictures differ from each other by shifts, with masks where it is MR."""
    rng = np.random.default_rng(len(domain) + ord(domain[0]))
    heads = pictures(rng, CASE, side)
    folder.mkdir()
    writer = SliceWriter(folder, domain, (side, side), labelled=domain == "mr")
    for case in range(slices // CASE):
        moved = np.roll(heads, tuple(rng.integers(-9, 9, 2)), (1, 2)) + rng.integers(0, 9, (CASE, 1, 1), dtype=np.uint8)
        masks = (moved > rng.integers(130, 200)).astype(np.uint8)
        names = [f"{domain}{case}_{place}" for place in range(CASE)]
        table = pd.DataFrame({
            "slice_id": names, "patient_id": f"{domain}{case}", "series_id": f"{domain}{case}", "index": range(CASE),
            "z_mm": [3.0 * place for place in range(CASE)], "spacing_row_mm": 1.0, "spacing_col_mm": 1.0,
            "brain_px": (moved > 0).sum(axis=(1, 2)), "lesion_px": masks.sum(axis=(1, 2)), "split": "train",
        })  # fmt: skip
        writer.add(moved, masks if domain == "mr" else None, table)
    writer.close(intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings={"size": side})
    return folder


def measured(command: list[str]) -> tuple[float, float]:
    """CPU seconds and GB of memory of a process of its own.

    Memory is what Linux says of the process while it runs: `ru_maxrss` would hold that of the one that started it.
    """
    pid = subprocess.Popen(command, stderr=subprocess.DEVNULL).pid
    done, status, used, most = 0, 0, None, 0.0
    while not done:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
            kib = next((line.split()[1] for line in lines if line.startswith("VmHWM")), "0")
            most = max(most, int(kib) * 1024 / 1e9)
        time.sleep(0.02)
        done, status, used = os.wait4(pid, os.WNOHANG)
    assert status == 0
    assert used is not None
    return used.ru_utime + used.ru_stime, most


def digests(folders: list[Path]) -> float:
    """CPU seconds that SHA-256 takes for the arrays, which is part of every match."""
    started = time.process_time()
    for folder in folders:
        for path in sorted(folder.glob("*.npy")):
            digest = sha256()
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    return time.process_time() - started


def rows(slices: int = SLICES, side: int = SIDE, rounds: int = 2) -> list[Row]:
    """`ctseg match`, all of it, beside the digests of what it reads."""
    with TemporaryDirectory() as name:
        folders = [write_set(Path(name) / domain, domain, slices, side) for domain in ("mr", "ct")]
        command = [sys.executable, "-m", "ctseg", "match", "--src", str(folders[0]), "--tgt", str(folders[1]), "-q"]
        spent, memory = {"ctseg match, pairs written": 9e9, "SHA-256 of the arrays alone": 9e9}, 0.0
        for place in range(rounds):
            seconds, memory = measured([*command, "-o", f"{name}/pairs-{place}.csv"])
            spent["ctseg match, pairs written"] = min(spent["ctseg match, pairs written"], seconds)
            spent["SHA-256 of the arrays alone"] = min(spent["SHA-256 of the arrays alone"], digests(folders))
    what = f"whole `ctseg match`, 2 x {slices:,} slices of {side} x {side}"
    return [Row(what, spent, f"a part of it; at most {memory:.2f} GB of memory")]


@pytest.mark.slow
def test_a_small_match_is_measured() -> None:
    row = rows(120, 48, 1)[0]
    assert row.ratio > 0
