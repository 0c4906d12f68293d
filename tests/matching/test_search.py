from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ctseg.matching import hashed, search
from ctseg.matching.metrics import AmdMetric, NormalisedMetric
from ctseg.matching.search import nearest, nearest_sources, smallest
from ctseg.plugins.protocols import Descriptors


def described(rng: np.random.Generator, count: int, bits: int = 5) -> dict[str, NDArray]:
    """Few distinct values, so that ties are many."""
    return {
        "fingerprint": rng.integers(0, 2**bits, count, dtype=np.uint64),
        "lesion_px": rng.integers(0, 4, count).astype(float) * 100,
    }


def plain(distances: NDArray[np.float64], k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda column: (row[column], column))[:k] for row in distances.tolist()]


class Lopsided:
    """A metric that is not symmetric: it counts only what the target has more."""

    def describe(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None) -> Descriptors:
        return {"sum": images.sum(axis=(1, 2), dtype=np.float64)}

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        return np.maximum(target["sum"][None, :] - 2 * source["sum"][:, None], 0)


class Squared(AmdMetric):
    """Inherits the search, but measures otherwise."""

    def distance(self, source: Descriptors, target: Descriptors) -> NDArray[np.float64]:
        return (super().distance(source, target) - 900) ** 2


@pytest.mark.parametrize("block", [1, 100, 1_000_000])
@pytest.mark.parametrize("metric", [Squared(), AmdMetric(-100.0)], ids=["another distance", "a negative weight"])
def test_nearest_is_the_sorted_distance_whatever_the_block(
    metric: AmdMetric, block: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BLOCK", block)
    is_the_sorted_distance(metric, described(rng, 37), described(rng, 53), 20)


def is_the_sorted_distance(metric: AmdMetric, source: Descriptors, target: Descriptors, k: int) -> None:
    distances = metric.distance(source, target)
    indices, found = nearest(metric, source, target, k)
    assert indices.dtype == np.int64
    assert indices.tolist() == plain(distances, k)
    np.testing.assert_array_equal(found, np.take_along_axis(distances, indices, axis=1))


@pytest.mark.parametrize("columns", [1, 7, 4096])
@pytest.mark.parametrize("k", [1, 5, 20, 53])
@pytest.mark.parametrize("bits", [2, 5, 64])
def test_the_search_in_whole_numbers_finds_the_same(
    bits: int, k: int, columns: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashed, "COLUMNS", columns)
    for weight in (100.0, 0.1, 0.0, 1 / 3):
        is_the_sorted_distance(AmdMetric(weight), described(rng, 37, bits), described(rng, 53, bits), k)


def test_weights_of_both_terms(rng: np.random.Generator) -> None:
    sides = [described(rng, count) for count in (70, 90)]
    for side in sides:
        side["lesion_rank"] = side.pop("lesion_px") / 300
    for weights in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1e-9, 1e9)):
        is_the_sorted_distance(NormalisedMetric(*weights), *sides, 11)


def test_areas_far_from_those_of_all_targets(rng: np.random.Generator) -> None:
    source, target = described(rng, 40), described(rng, 500)
    source["lesion_px"] += np.where(np.arange(40) % 2, 1e6, -1e6)
    is_the_sorted_distance(AmdMetric(), source, target, 3)


def test_all_ties_come_in_target_order(rng: np.random.Generator) -> None:
    indices, distances = smallest(np.ones((3, 40)), 7)
    assert indices.tolist() == [list(range(7))] * 3
    assert distances.tolist() == [[1.0] * 7] * 3


def test_random_distances(rng: np.random.Generator) -> None:
    distances = rng.normal(size=(20, 30))
    for k in (1, 2, 29, 30):
        assert smallest(distances, k)[0].tolist() == plain(distances, k)


def test_fewer_targets_than_asked(rng: np.random.Generator) -> None:
    indices, distances = nearest(AmdMetric(), described(rng, 4), described(rng, 3), 20)
    assert indices.shape == distances.shape == (4, 3)


@pytest.mark.parametrize("metric", [AmdMetric(), Lopsided()], ids=["symmetric", "lopsided"])
def test_nearest_sources_of_each_target(metric, rng: np.random.Generator) -> None:
    if isinstance(metric, AmdMetric):
        source, target = described(rng, 11), described(rng, 17)
    else:
        source, target = ({"sum": rng.integers(0, 9, count).astype(float)} for count in (11, 17))
    distances = metric.distance(source, target).T
    indices, found = nearest_sources(metric, source, target, 3)
    assert indices.tolist() == plain(distances, 3)
    np.testing.assert_array_equal(found, np.take_along_axis(distances, indices, axis=1))


def test_a_metrics_own_search_is_used_both_ways(rng: np.random.Generator) -> None:
    class Own(AmdMetric):
        def nearest(self, source: Descriptors, target: Descriptors, k: int):
            self.asked = (search.length(source), search.length(target), k)
            return np.tile(np.arange(k), (search.length(source), 1)), np.zeros((search.length(source), k))

    metric = Own()
    nearest(metric, described(rng, 4), described(rng, 3), 20)
    assert metric.asked == (4, 3, 3)
    nearest_sources(metric, described(rng, 4), described(rng, 3), 2)
    assert metric.asked == (3, 4, 2)


def test_progress_counts_every_slice(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 50)
    monkeypatch.setattr(hashed, "ROWS", 5)
    for metric in (Squared(), AmdMetric()):
        calls: list[tuple[int, int | None, str]] = []
        nearest(metric, described(rng, 11), described(rng, 10), 2, lambda *call, to=calls: to.append(call))
        assert calls == [(5, 11, ""), (10, 11, ""), (11, 11, "")]
