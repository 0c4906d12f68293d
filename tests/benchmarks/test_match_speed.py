"""The search at the paper's size: 15,480 MR by 15,480 CT slices, the 20 nearest of each."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ctseg.matching.metrics import AmdMetric
from ctseg.matching.search import nearest, take

SLICES = 15_480
SAMPLE = 40


def described(rng: np.random.Generator) -> dict[str, NDArray]:
    return {
        "fingerprint": rng.integers(0, 2**64, SLICES, dtype=np.uint64),
        "lesion_px": rng.integers(0, 4000, SLICES).astype(float),
    }


def plain(source: dict[str, NDArray], target: dict[str, NDArray]) -> list[list[int]]:
    """One Python number after the other."""
    prints, areas = target["fingerprint"].tolist(), target["lesion_px"].tolist()
    result = []
    for mine, area in zip(source["fingerprint"].tolist(), source["lesion_px"].tolist(), strict=True):
        pairs = enumerate(zip(prints, areas, strict=True))
        distances = [(100 * (mine ^ other).bit_count() + abs(area - size), place) for place, (other, size) in pairs]
        result.append([place for _, place in sorted(distances)[:20]])
    return result


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.mark.slow
def test_search_at_the_papers_size(rng: np.random.Generator, record_property: Callable[[str, object], None]) -> None:
    metric, source, target = AmdMetric(), described(rng), described(rng)
    sample = take(source, slice(0, SAMPLE))
    tracemalloc.start()
    indices, _ = nearest(metric, source, target, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert indices[:SAMPLE].tolist() == plain(sample, target)
    assert peak < 2**28
    fast = seconds(lambda: nearest(metric, source, target, 20))
    slow = seconds(lambda: plain(sample, target)) * SLICES / SAMPLE
    record_property("search_seconds", round(fast, 2))
    record_property("peak_mib", round(peak / 2**20, 1))
    record_property("times_faster_than_plain", round(slow / fast, 1))
