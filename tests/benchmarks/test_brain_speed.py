"""Brain extraction at a clinical size: balls by shifts of bits where the mask is, against distances everywhere."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from interleaved import Row, least_seconds
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ctseg.io.volume import Volume
from ctseg.preprocess import brain
from ctseg.preprocess.grid import EDGE_PAD, WorkingGrid


def head() -> Volume:
    """A ball of brain in bone, 32 slices of 5 mm and 512 x 512 pixels of 0.45 mm."""
    z_mm, mm = np.arange(32) * 5.0, 0.45
    place = np.hypot(*(np.mgrid[:512, :512] - 255.5) * mm)
    across = np.sqrt(np.maximum(0, 78.0**2 - (z_mm - 70) ** 2))[:, None, None]
    noise = np.random.default_rng(0).normal(0, 4, (32, 512, 512))
    hu = np.where(place < across, 32.0, np.where(place < across + 8, 900.0, -1000.0)) + noise
    origins = np.stack([0 * z_mm, 0 * z_mm, z_mm], axis=1)
    return Volume(hu.astype(np.float32), origins, np.array([0, mm, 0]), np.array([mm, 0, 0]), "ct", "head", "head")


def distance_mm(grid: WorkingGrid, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """mm from each voxel of the mask to the nearest one outside; the end slices continue."""
    padded = np.pad(mask, ((EDGE_PAD, EDGE_PAD), (0, 0), (0, 0)), mode="edge")
    return distance_transform_edt(padded, sampling=grid.spacing_mm)[EDGE_PAD:-EDGE_PAD].astype(np.float32)


def rows() -> list[Row]:
    """Brain extraction beside the same with distance transforms, boxes or none."""
    volume, extractor = head(), brain.MuschelliExtractor()

    def by_distances() -> NDArray[np.bool_]:
        with (
            patch.object(WorkingGrid, "erode", lambda grid, mask, mm: distance_mm(grid, mask) > mm),
            patch.object(WorkingGrid, "dilate", lambda grid, mask, mm: distance_mm(grid, ~mask) <= mm),
        ):
            return extractor(volume)

    spent, found = least_seconds({"ctseg": lambda: extractor(volume), "distance transforms": by_distances})
    np.testing.assert_array_equal(*found.values())
    assert found["ctseg"].any()
    return [Row("brain extraction, 32 slices of 512 x 512", spent, "the same voxels")]


@pytest.mark.slow
def test_balls_save_time_and_change_no_voxel() -> None:
    assert rows()[0].ratio > 1
