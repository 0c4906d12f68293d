"""The scans of a phantom cohort with the true brain of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import InputError
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask
from ctseg.io.volume import Volume
from ctseg.phantom.cohort import DOMAINS
from ctseg.phantom.rsna import identifier
from ctseg_reproduce.stages import read_table


@dataclass(frozen=True)
class CohortScan:
    """Where one scan of a cohort is."""

    name: str
    files: tuple[Path, ...]
    brain: Path

    def read(self) -> tuple[Volume, NDArray[np.bool_]]:
        """The scan in HU and its true brain, both (K, h, w)."""
        (case,) = discover(list(self.files), "ct", workers=1).cases
        return read_case(case), load_mask(self.brain)[0] > 0


def cohort_scans(folder: Path, split: str, count: int, first: int = 0) -> Iterator[CohortScan]:
    """`count` scans of 'train' or 'test' in the order of their seeds.

    Raises:
        InputError: if the folder is no phantom cohort.
    """
    table = folder / "truth" / "cases.csv"
    if not table.is_file():
        raise InputError(f"{table}: no such file; expected a folder of `ctseg phantom`")
    try:
        seed = int(read_table(folder / "phantom.json")["settings"]["seed"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder / 'phantom.json'}: names no seed; make the cohort again") from None
    with table.open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == split]
    for index, row in list(enumerate(rows))[first : first + count]:
        names = [identifier("slice", seed, DOMAINS[f"stage_2_{split}"], index, k) for k in range(int(row["slices"]))]
        files = tuple(folder / "rsna" / f"stage_2_{split}" / f"{name}.dcm" for name in names)
        yield CohortScan(row["case"], files, folder / "truth" / "brain" / split / f"{row['case']}.nii.gz")
