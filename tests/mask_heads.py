"""A head, lesions in it, and `preprocess --masks` on both, for every form of a mask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from seg_files import ct

from ctseg.cli.main import main


def head() -> np.ndarray:
    """HU (Z, Y, X) of a head."""
    z, y, x = np.mgrid[:20, :64, :64]
    radius = ((z - 9.5) * 5 / 46) ** 2 + ((y - 31.5) * 3 / 80) ** 2 + ((x - 31.5) * 3 / 64) ** 2
    return np.select([radius < 1, radius < 1.25], [30 + x % 10, 900], -1000).astype(np.int16)


def lesions(second: int) -> np.ndarray:
    """Labels (Z, Y, X): 1, and 2 in one slice."""
    mask = np.zeros((20, 64, 64), np.uint8)
    mask[8:10, 28:40, 22:34] = 1
    mask[second, 20:26, 40:46] = 2
    return mask


def uneven_series(folder: Path) -> list[Dataset]:
    """The head as DICOM slices, 5 mm apart and above them 6 mm."""
    z_mm = np.where(np.arange(20) < 12, np.arange(20) * 5.0, 55 + (np.arange(20) - 11) * 6.0)
    return ct(folder, [(-96.0, -96.0, z) for z in z_mm], voxels=head(), spacing=(3.0, 3.0))


def slice_set(
    scans: Path, masks: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, dict, str]:
    """Exit code, summary, and what was said."""
    argv = ["preprocess", str(scans), "--masks", str(masks), "-o", str(out), "--json"]
    code = main([*argv, "--size", "64", "--fov", "192", "--workers", "0", "--domain", "ct", *more])
    said = capsys.readouterr()
    return code, json.loads(said.out or "{}"), said.err
