"""Tiny cohorts for calls that share their cases, or work on a cluster."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from ctseg.networks.fcn import FcnVgg16
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader, save_model

SIZE = 32


def mr_scans(folder: Path, count: int, size: int = 40) -> Path:
    """Stripped MR brains `case_000.nii.gz`, each another ellipsoid."""
    folder.mkdir()
    axes = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (size, size, 8)), indexing="ij")
    affine = np.diag([-240 / size, -240 / size, 5.0, 1.0])
    for place in range(count):
        rng = np.random.default_rng(place)
        radii = np.array([0.4 * size, 0.45 * size, 6.0]) * rng.uniform(0.8, 1.0, 3)
        inside = sum((axis / radius) ** 2 for axis, radius in zip(axes, radii, strict=True)) < 1
        voxels = np.where(inside, 300 + rng.integers(0, 200, inside.shape), 0).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"case_{place:03d}.nii.gz")
    return folder


def label(folder: Path) -> None:
    """A BraTS-like label `NAME_seg.nii.gz` beside each scan of `mr_scans`."""
    for scan in sorted(folder.glob("case_*.nii.gz")):
        image = nib.load(scan)
        mask = np.zeros(image.shape, np.uint8)
        mask[14:24, 14:22, 2:6] = 1
        own = folder / scan.name.removesuffix(".nii.gz")
        own.mkdir()
        nib.save(nib.Nifti1Image(mask, image.affine), own / f"{own.name}_seg.nii.gz")
        scan.rename(own / f"{own.name}_flair.nii.gz")


def ct_scans(folder: Path, count: int, size: int = 48, slices: int = 12) -> Path:
    """Stripped CT heads `scan_000.nii.gz`, no two alike."""
    folder.mkdir()
    steps = (4.0 * 48 / size, 4.0 * 48 / size, 12.0)
    axes = np.meshgrid(*((np.arange(n) - (n - 1) / 2) for n in (size, size, slices)), indexing="ij")
    for place in range(count):
        rng = np.random.default_rng(place)
        radii = np.array([0.4 * size, 0.33 * size, 0.48 * slices]) * rng.uniform(0.9, 1.0, 3)
        inside = sum((axis / radius) ** 2 for axis, radius in zip(axes, radii, strict=True)) < 1
        head = np.where(inside, np.rint(rng.normal(32, 6, inside.shape)), -1024).astype(np.int16)
        nib.save(nib.Nifti1Image(head, np.diag([*steps, 1.0])), folder / f"scan_{place:03d}.nii.gz")
    return folder


def model(folder: Path) -> Path:
    """A run with an untrained network of the smallest kind, the same in every call."""
    import torch

    torch.manual_seed(0)
    made = PreprocessSettings(size=SIZE, fov_mm=240.0).model_dump(mode="json")
    header = ModelHeader("segmenter", "fcn", {"width": 4}, "ctseg", "0.1.0", {"preprocess": made, "intensity": {}})
    save_model(folder / "model.safetensors", FcnVgg16(width=4), header)
    return folder


def start(words: list[str], where: Path, **environment: str) -> subprocess.Popen[str]:
    """`ctseg WORDS` in a process of its own, with one thread; stderr goes to a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "ctseg", *words],
        cwd=where, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but its mark."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: data for name, data in found.items() if name != ".ctseg.json"}


def race(
    words: list[str], where: Path, cases: int, *, processes: int, kills: int, patience: float = 600, share: str = "out"
) -> list[str]:
    """Run the same command in some processes; now and then kill one in the middle of a case and start another.

    Args:
        words: of a call with `--share` and the output `share`.
        where: the folder of the call.
        cases: how many there are; the kills are spread over the time in which they are done.
        processes: that run at the same time.
        kills: with SIGKILL.
        patience: seconds until all has to be done.
        share: name of the output in `where`.

    Returns:
        What each process said on stderr; those that were not killed have to end well.
    """
    rng, running, texts = random.Random(3), [start(words, where) for _ in range(processes)], []
    folder, deadline, left, repeated = where / f".ctseg-share-{share}", time.monotonic() + patience, kills, 0
    try:
        while running and time.monotonic() < deadline:
            time.sleep(0.01)
            done, claimed = _names(folder / "done"), _names(folder / "claims")
            repeated = max(repeated, sum(not name.endswith(".1") for name in claimed))
            if left and len(done) > (kills - left) * cases / (kills + 1):
                victim = _at_work(folder, claimed, done, running, rng)
                if victim is not None:
                    victim.kill()
                    running.remove(victim)
                    texts.append(victim.communicate()[1])
                    running.append(start(words, where))
                    left -= 1
            for process in [process for process in running if process.poll() is not None]:
                texts.append(process.communicate()[1])
                running.remove(process)
                assert process.returncode == 0, texts[-1]
        assert not running, "still running"
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert left == 0, f"{left} kills were left when all was done"
    assert repeated <= kills, f"{repeated} cases were begun again, for {kills} kills"
    return texts


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _at_work(
    folder: Path, claimed: list[str], done: list[str], running: list[subprocess.Popen[str]], rng: random.Random
) -> subprocess.Popen[str] | None:
    """One of the processes that hold a case which is not done."""
    busy = set()
    for name in claimed:
        if name.rpartition(".")[0] not in done:
            try:
                busy.add(json.loads((folder / "claims" / name).read_text())["process"])
            except (FileNotFoundError, ValueError):
                continue  # given back, or all is done
    found = [process for process in running if process.pid in busy]
    return rng.choice(found) if found else None


def done_cases(folder: Path) -> list[str]:
    """The cases in the table of `segment`, in its order; all of them have to be well."""
    with (folder / "volumes.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["status"] for row in table} == {"ok"}
    return [row["case"] for row in table]


def said(texts: list[str]) -> list[str]:
    """The scans of `ct_scans` whose row a process of `segment` printed, one for each time."""
    return [line.split()[0] for text in texts for line in text.splitlines() if line.startswith("scan_")]
