"""Brain extraction at a clinical size: balls by shifts of bits, parts by runs, against distances and labels."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from interleaved import Row, least_seconds
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

from ctseg.io.volume import Volume
from ctseg.preprocess import brain, grid
from ctseg.preprocess.grid import EDGE_PAD, IN_PLANE, WorkingGrid


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


def without_islands(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """As `ctseg.preprocess.grid.without_islands`, with a label for every voxel."""
    parts, count = label(mask, structure=IN_PLANE)
    large = np.bincount(parts.ravel(), minlength=count + 1) >= max(smallest, 1)
    large[0] = False
    return large[parts]


def parts_touching(mask: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """As `ctseg.preprocess.grid.parts_touching`, with labels."""
    parts, count = label(mask)
    wanted = np.zeros(count + 1, dtype=bool)
    wanted[parts[seeds & mask]] = True
    wanted[0] = False
    return wanted[parts]


def reached_from_border(mask: NDArray[np.bool_], *, in_plane: bool = False) -> NDArray[np.bool_]:
    """As `ctseg.preprocess.grid.reached_from_border`, with labels."""
    rimmed = np.pad(mask, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    parts, count = label(rimmed, structure=IN_PLANE if in_plane else None)
    reached = np.zeros(count + 1, dtype=bool)
    reached[parts[:, 0, 0]] = True
    return reached[parts][:, 1:-1, 1:-1]


def rows() -> list[Row]:
    """Brain extraction beside the same with distance transforms, boxes or none, and with labels."""
    volume, extractor = head(), brain.MuschelliExtractor()

    def by_distances() -> NDArray[np.bool_]:
        with (
            patch.object(WorkingGrid, "erode", lambda grid, mask, mm: distance_mm(grid, mask) > mm),
            patch.object(WorkingGrid, "dilate", lambda grid, mask, mm: distance_mm(grid, ~mask) <= mm),
        ):
            return extractor(volume)

    def by_labels() -> NDArray[np.bool_]:
        with (
            patch.object(brain, "without_islands", without_islands),
            patch.object(brain, "parts_touching", parts_touching),
            patch.object(grid, "reached_from_border", reached_from_border),
        ):
            return extractor(volume)

    ways = {"ctseg": lambda: extractor(volume), "distance transforms": by_distances, "a label a voxel": by_labels}
    spent, found = least_seconds(ways)
    for masks in found.values():
        np.testing.assert_array_equal(masks, found["ctseg"])
    assert found["ctseg"].any()
    what, same = "brain extraction, 32 slices of 512 x 512", "the same voxels"
    return [Row(what, {way: spent[way] for way in ("ctseg", other)}, same) for other in list(ways)[1:]]


@pytest.mark.slow
def test_balls_and_runs_save_time_and_change_no_voxel() -> None:
    assert all(row.ratio > 1 for row in rows())
