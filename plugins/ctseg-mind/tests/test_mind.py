"""The metric on hand-made slices."""

from __future__ import annotations

import numpy as np
import pytest
from ctseg_mind import exact
from ctseg_mind.exact import nearest_rows, squared_distances
from ctseg_mind.metric import MindMetric

from ctseg.conformance import BoundCheck, checks
from ctseg.plugins.host import load


@pytest.mark.slow
@pytest.mark.parametrize("check", checks("similarity_metric", "mind", settings={"size": 16}))
def test_conformance(check: BoundCheck) -> None:
    check()


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
    np.testing.assert_array_equal(distance, distance.T)
    np.testing.assert_array_equal(np.diag(distance), 0)


def test_the_lesion_term_counts_pixels_at_240() -> None:
    images = np.zeros((1, 48, 48), np.uint8)
    masks = np.zeros((1, 48, 48), np.uint8)
    masks[0, :2, :2] = 1
    metric = MindMetric(lambda_les=1.0)
    parts = metric.parts(metric.describe(images, masks), metric.describe(images, None))
    assert parts["lesion_difference"][0, 0] == pytest.approx(4 * 25)


def test_it_is_found_through_its_entry_point() -> None:
    entry = load().get("similarity_metric", "mind")
    assert entry.package == "ctseg-mind"
    assert isinstance(entry.build({"size": 16}), MindMetric)


def test_structure_is_the_rms_difference_of_the_similarities() -> None:
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 256, (3, 4 * 8**2))
    described = {"mind": (levels - 128).astype(np.int8), "lesion_px": np.zeros(3)}
    found = MindMetric(size=8).parts(described, described)["structure"]
    for row in range(3):
        for column in range(3):
            difference = (levels[row] - levels[column]) / 255
            assert found[row, column] == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-12)


def test_flat_slices_are_alike_everywhere() -> None:
    images = np.stack([np.full((48, 48), grey, np.uint8) for grey in (0, 90)])
    described = MindMetric(size=16).describe(images, None)["mind"]
    assert (described == 127).all()


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Vectors over several blocks and pieces; extremes, and equal rows in different blocks."""
    monkeypatch.setattr(exact, "ROWS", 3)
    monkeypatch.setattr(exact, "COLUMNS", 4)
    rng = np.random.default_rng(2)
    first, second = (rng.integers(-128, 128, (count, 2500)).astype(np.int8) for count in (7, 10))
    first[0], second[1] = -128, 127
    second[[0, 5, 9]] = second[2]
    return first, second


def test_squared_distances_are_whole_numbers_without_rounding(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (item.astype(np.int64) for item in vectors)
    expected = ((first[:, None] - second[None]) ** 2).sum(2)
    assert expected.max() == 2500 * 255**2
    np.testing.assert_array_equal(squared_distances(*vectors), expected)


@pytest.mark.parametrize("k", [1, 3, 6, 10])
def test_nearest_equals_sorting_all(vectors: tuple[np.ndarray, np.ndarray], k: int) -> None:
    everything = squared_distances(*vectors)
    order = np.argsort(everything, axis=1, kind="stable")[:, :k]
    indices, distances = nearest_rows(*vectors, k, lambda squared, _rows, _columns: squared)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(everything, order, axis=1))


def test_nearest_weighs_lesions_as_distance_does(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    source, target = ({"mind": item[:, :256], "lesion_px": rng.uniform(0, 900, len(item))} for item in vectors)
    metric = MindMetric(size=8, lambda_les=1e-3)
    everything = metric.distance(source, target)
    indices, distances = metric.nearest(source, target, 10)
    np.testing.assert_array_equal(indices, np.argsort(everything, axis=1, kind="stable"))
    np.testing.assert_array_equal(distances, np.sort(everything, axis=1))
