from __future__ import annotations

import numpy as np
import pytest

from ctseg.phantom.threshold import count, pooled_dice


def test_threshold_counts_and_dice_by_hand():
    hu = np.full((2, 4, 4), 30.0)
    hu[0, 0, :3] = 60
    hu[1, 0, 0] = 120
    lesion = np.zeros(hu.shape, dtype=bool)
    lesion[0, 0, 1:4] = True
    counts = count(hu, lesion, np.array([0.1, 0.2]), 50, 90)
    assert (counts.hit, counts.found, counts.true) == pytest.approx((0.2, 0.3, 0.3))
    assert pooled_dice([counts]) == pytest.approx(2 / 3)
    assert np.isnan(pooled_dice([]))
