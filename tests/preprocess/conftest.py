from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ctseg.io.volume import Volume

PIXEL_MM = 3.0
STEP_MM = 5.0


def make_volume(voxels: np.ndarray, pixel_mm: float = PIXEL_MM, step_mm: float = STEP_MM, **more) -> Volume:
    count = len(voxels)
    origins = np.zeros((count, 3))
    origins[:, 2] = np.arange(count) * step_mm
    fields = {"domain": "ct", "case_id": "case", "patient_id": "patient", **more}
    fields.setdefault("slice_ids", tuple(f"{fields['case_id']}_{k:03d}" for k in range(count)))
    return Volume(
        np.asarray(voxels, dtype=np.float32),
        origins,
        np.array([0, pixel_mm, 0.0]),
        np.array([pixel_mm, 0.0, 0]),
        **fields,
    )


def ellipsoid(shape: tuple[int, int, int], radii_mm: tuple[float, float, float]) -> np.ndarray:
    steps = (STEP_MM, PIXEL_MM, PIXEL_MM)
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, steps, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return (z / radii_mm[0]) ** 2 + (y / radii_mm[1]) ** 2 + (x / radii_mm[2]) ** 2 <= 1


def make_head(noise: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """HU and brain mask of an egg-shaped head: brain 35 HU, skull 900, scalp 40 under fat -80, air, a head holder."""
    shape = (30, 80, 80)
    brain = ellipsoid(shape, (62, 84, 66))
    hu = np.full(shape, -1000.0)
    hu[ellipsoid(shape, (74, 102, 84))] = 40
    hu[ellipsoid(shape, (72, 99, 81))] = -80
    hu[ellipsoid(shape, (70, 93, 75))] = 900
    hu[brain] = 35
    hu[:, 78:, 20:60] = 300
    hu += np.random.default_rng(seed).normal(0, noise, shape)
    return hu, brain


@pytest.fixture
def head() -> tuple[np.ndarray, np.ndarray]:
    return make_head()


@pytest.fixture
def volume_of() -> Callable[..., Volume]:
    return make_volume
