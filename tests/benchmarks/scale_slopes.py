"""How each step grows with a cohort: CPU seconds and memory at three sizes, and what that makes at 1 M slices.

    python tests/benchmarks/scale_slopes.py [names...]

Prints one line a step and size, and the slope of the last two in a log-log plot: 1 grows with the cohort, 2 with its
square. docs/scale.md has the figures, and what follows from them.
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass
class Measured:
    """One step at one size."""

    count: int
    seconds: float
    mb: float
    """Of the file that is written, or of the process's growth."""


@contextmanager
def cpu() -> Iterator[list[float]]:
    """CPU seconds of the block, in a list of one."""
    found, before = [0.0], time.process_time()
    yield found
    found[0] = time.process_time() - before


def peak_mb() -> float:
    """The largest resident size of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def claims(count: int, folder: Path) -> Measured:
    """Claim and record every case, alone."""
    from ctseg.outputs.claims import Claims

    names = [f"case_{place:06d}" for place in range(count)]
    with Claims(folder) as mine, cpu() as spent:
        for name in mine.take(names):
            mine.publish(name, lambda path: path.write_bytes(b"{}"))
    return Measured(count, spent[0], 0.0)


def claims_listed(count: int, folder: Path) -> Measured:
    """One look at a folder of claims and records, as each call takes one every few seconds."""
    from ctseg.outputs.claims import Claims

    with Claims(folder) as mine:
        for place in range(count):
            (mine.claims / f"case_{place:06d}.1").touch()
            (mine.done / f"case_{place:06d}").touch()
        with cpu() as spent:
            mine._latest()
            mine.finished()
    return Measured(count, spent[0], 0.0)


def mark(count: int, folder: Path) -> Measured:
    """The mark of a segmentation of so many series."""
    from ctseg.inference.results import files_of
    from ctseg.outputs.mark import MARK, Mark, write_mark

    with cpu() as spent:
        write_mark(folder, Mark("segment", tuple(files_of(f"case_{place:06d}" for place in range(count)))))
    return Measured(count, spent[0], (folder / MARK).stat().st_size / 1e6)


def volumes(count: int, folder: Path) -> Measured:
    """`volumes.csv` and `volumes.json` once: a call that works alone writes them every five seconds."""
    from ctseg.inference.results import DETAILS, CaseResult, ResultTable

    rows = {
        f"case_{place:06d}": CaseResult(f"case_{place:06d}", "ok", 12.3456, lesions=1, input="0123456789ab")
        for place in range(count)
    }
    table = ResultTable(folder, {}, list(rows), rows)
    with cpu() as spent:
        table.save()
    return Measured(count, spent[0], (folder / DETAILS).stat().st_size / 1e6)


def slice_table(count: int, folder: Path) -> Measured:
    """Open a slice set: its table is read and checked, its images are not."""
    from ctseg.io.slice_table import COLUMNS
    from ctseg.io.slices import open_slices

    write_sparse_set(folder, count)
    assert COLUMNS
    before = peak_mb()
    with cpu() as spent:
        open_slices(folder)
    return Measured(count, spent[0], peak_mb() - before)


def write_sparse_set(folder: Path, count: int, domain: str = "ct", size: int = 240, real: int = 64) -> None:
    """A slice set whose files have their full length; but for `real` slices, the images are holes on the disk."""
    from ctseg.io.slice_writer import write_slices

    rng = np.random.default_rng(0)
    images = np.zeros((real, size, size), np.uint8)
    images[:, 20:-20, 20:-20] = rng.integers(60, 110, (real, size - 40, size - 40))
    masks = np.zeros_like(images)
    masks[:, 100:120, 100:120] = 1
    place = np.arange(count)
    patients = [f"{domain}_p{number:06d}" for number in place // 30]
    table = pd.DataFrame(
        {
            "slice_id": [f"{domain}_{number:07d}" for number in place], "patient_id": patients, "series_id": patients,
            "case_id": patients, "index": place % 30, "z_mm": 5.0 * (place % 30), "spacing_row_mm": 240 / size,
            "spacing_col_mm": 240 / size, "brain_px": (size - 40) ** 2, "lesion_px": 400,
            "split": np.where(place < 30, "val", "train"),
        }
    )  # fmt: skip
    from ctseg.preprocess.settings import PreprocessSettings

    folder.mkdir(parents=True, exist_ok=True)
    write_slices(
        folder, domain=domain, images=images, masks=masks, table=table.iloc[:real],
        intensity={"a": 2.55, "b": 0.0, "unit": "HU"}, settings=PreprocessSettings(size=size).model_dump(mode="json"),
    )  # fmt: skip
    table.to_csv(folder / "slices.csv", index=False)
    for name in ("images", "masks"):
        path = folder / f"{name}.npy"
        with path.open("r+b") as file:
            head = np.lib.format.header_data_from_array_1_0(images)
            np.lib.format.write_array_header_1_0(file, {**head, "shape": (count, size, size)})
            file.truncate(file.tell() + count * size * size)


def discovery(count: int, folder: Path) -> Measured:
    """Find so many NIfTI series of one file each; of DICOM it is so many slices."""
    import nibabel as nib

    from ctseg.io.discover import discover

    scan = folder / "first.nii.gz"
    nib.save(nib.Nifti1Image(np.full((4, 4, 2), 30, np.int16), np.diag([1.0, 1.0, 5.0, 1.0])), scan)
    for place in range(1, count):
        (folder / f"case_{place:06d}.nii.gz").hardlink_to(scan)
    with cpu() as spent:
        discover([folder], "ct")
    return Measured(count, spent[0], 0.0)


def draws(count: int, folder: Path) -> Measured:
    """Which slices meet in an epoch, with 20 candidates each."""
    from ctseg.training.sampling import SliceSampler

    rows = np.arange(count)
    rng = np.random.default_rng(0)
    found = rng.integers(0, count, (count, 20))
    with cpu() as spent:
        SliceSampler(rows, rows, batch_size=8, seed=0, candidates=lambda row: found[row]).draws(0)
    return Measured(count, spent[0], 0.0)


def search(count: int, folder: Path) -> Measured:
    """The 20 nearest CT slices of each MR slice, as many of each."""
    from ctseg.matching.metrics import AmdMetric
    from ctseg.matching.search import nearest

    rng = np.random.default_rng(0)
    described = [
        {
            "fingerprint": rng.integers(0, 2**64, count, dtype=np.uint64),
            "lesion_px": rng.integers(0, 4000, count).astype(float),
        }
        for _ in range(2)
    ]
    with cpu() as spent:
        nearest(AmdMetric(), *described, 20)
    return Measured(count, spent[0], 0.0)


STEPS: dict[str, tuple[Callable[[int, Path], Measured], tuple[int, ...]]] = {
    "claims": (claims, (250, 1_000, 4_000)),
    "claims_listed": (claims_listed, (1_000, 4_000, 16_000)),
    "mark": (mark, (1_000, 4_000, 16_000)),
    "volumes": (volumes, (1_000, 4_000, 16_000)),
    "slice_table": (slice_table, (4_000, 16_000, 64_000)),
    "discovery": (discovery, (500, 1_000, 2_000)),
    "draws": (draws, (2_000, 8_000, 32_000)),
    "search": (search, (8_000, 16_000, 32_000)),
}


def main(names: list[str]) -> None:
    """Measure the named steps, or all."""
    for name in names or STEPS:
        work, sizes = STEPS[name]
        found: list[Measured] = []
        for count in sizes:
            with tempfile.TemporaryDirectory() as folder:
                found.append(work(count, Path(folder)))
            last = found[-1]
            print(f"{name:14} {last.count:>8}  {last.seconds:9.3f} s  {last.mb:9.1f} MB", flush=True)  # noqa: T201
        first, last = found[-2:]
        slope = math.log(max(last.seconds, 1e-4) / max(first.seconds, 1e-4)) / math.log(last.count / first.count)
        print(f"{name:14} slope {slope:.2f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
