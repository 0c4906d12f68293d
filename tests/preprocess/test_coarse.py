"""The coarse brain mask lies on the scan's own grid and looks at every second row and column alone."""

from __future__ import annotations

import numpy as np
import pytest

from ctseg.io.volume import Volume
from ctseg.preprocess.coarse import CoarseBrain


def volume(rows: int, cols: int) -> Volume:
    voxels = np.zeros((2, rows, cols), np.float32)
    voxels[:, 40:201, 60:181] = 35.0
    origins = np.arange(2)[:, None] * [0, 0, 5.0]
    return Volume(voxels, origins, np.array([0, 0.5, 0]), np.array([0.5, 0, 0]), "ct", "a", "a")


@pytest.mark.parametrize(
    ("shape", "seen"), [((512, 512), (256, 256)), ((301, 257), (151, 129)), ((210, 512), (210, 512))]
)
def test_its_grid_is_the_scans(shape, seen):
    looked = []

    def extractor(scan):
        looked.append((scan.voxels.shape[1:], np.multiply(scan.spacing_mm, scan.voxels.shape[1:])))
        return scan.voxels > 0

    scan = volume(*shape)
    mask = CoarseBrain(extractor)(scan)
    assert looked[0][0] == seen
    assert looked[0][1] == pytest.approx(np.multiply(shape, 0.5), abs=1.0)
    assert mask.shape == scan.voxels.shape
    inner, outer = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    inner[:, 41:200, 61:180] = outer[:, 39:202, 59:182] = True
    assert (mask >= inner).all(), "only the voxels along the edge may differ"
    assert (mask <= outer).all(), "only the voxels along the edge may differ"
