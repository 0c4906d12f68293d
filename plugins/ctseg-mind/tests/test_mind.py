"""The metric on hand-made slices."""

from __future__ import annotations

import numpy as np
import pytest
from ctseg_mind.metric import MindMetric

from ctseg.plugins import load


def disc(centre: tuple[int, int], radius: int, inside: int, outside: int) -> np.ndarray:
    rows, columns = np.ogrid[:48, :48]
    return np.where((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2, inside, outside).astype(np.uint8)


def test_the_same_anatomy_in_inverse_contrast_is_nearest() -> None:
    shapes = [((24, 24), 10), ((16, 30), 6), ((30, 14), 14)]
    mr = np.stack([disc(*shape, inside=200, outside=40) for shape in shapes])
    ct = np.stack([disc(*shape, inside=30, outside=110) for shape in shapes])
    metric = MindMetric(lambda_les=0)
    distance = metric.distance(metric.describe(mr, None), metric.describe(ct, None))
    assert list(distance.argmin(1)) == [0, 1, 2]


def test_distance_is_symmetric_and_zero_on_the_diagonal() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 48, 48), dtype=np.uint8)
    metric = MindMetric()
    described = metric.describe(images, None)
    distance = metric.distance(described, described)
    np.testing.assert_allclose(distance, distance.T, atol=1e-9)
    np.testing.assert_allclose(np.diag(distance), 0, atol=1e-3)


def test_the_lesion_term_counts_pixels_at_240() -> None:
    images = np.zeros((1, 48, 48), np.uint8)
    masks = np.zeros((1, 48, 48), np.uint8)
    masks[0, :2, :2] = 1
    metric = MindMetric(lambda_les=1.0)
    parts = metric.parts(metric.describe(images, masks), metric.describe(images, None))
    assert parts["lesion_difference"][0, 0] == pytest.approx(4 * 25)


def test_it_is_found_through_its_entry_point() -> None:
    entry = load().get("metric", "mind")
    assert entry.package == "ctseg-mind"
    assert isinstance(entry.build({"size": 16}), MindMetric)
