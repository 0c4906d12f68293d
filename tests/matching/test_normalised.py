"""`amd-normalised`: its terms by hand, what must not move them, and neighbours by plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctseg.conformance.toys import toy_set
from ctseg.matching.fingerprint import fingerprints
from ctseg.matching.metrics import NormalisedMetric, bright_bound, lesion_ranks, lesion_shares
from ctseg.matching.pairs import match
from ctseg.matching.search import nearest, nearest_sources
from ctseg.plugins.host import load

Slices = NDArray[np.uint8]


def brains(count: int, seed: int, tissue: int = 80, lesion: int = 160, size: int = 48) -> tuple[Slices, Slices]:
    """Discs of noisy tissue with a bright square of another size in each, the first without; and the squares."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size] - (size - 1) / 2
    brain = rows**2 + cols**2 < (0.45 * size) ** 2
    images = np.where(brain, rng.integers(tissue - 10, tissue + 11, (count, size, size)), 0).astype(np.uint8)
    masks = np.zeros_like(images)
    for place, side in enumerate(rng.permutation(count)):
        row, col = rng.integers(12, 20, 2)
        masks[place, row : row + side, col : col + side] = 1
    return np.where(masks > 0, lesion, images).astype(np.uint8), masks


@pytest.fixture
def mr() -> tuple[Slices, Slices]:
    return brains(9, 1, 110, 220)


@pytest.fixture
def ct() -> Slices:
    return brains(12, 2)[0]


def neighbours(metric: NormalisedMetric, mr: tuple[Slices, Slices], ct: Slices) -> list[list[int]]:
    return nearest(metric, metric.describe(*mr), metric.describe(ct, None), 4)[0].tolist()


def test_ranks_are_places_among_the_lesion_bearing() -> None:
    found = lesion_ranks(np.array([0.0, 0.2, 0.1, 0.0, 0.2, 0.5]))
    np.testing.assert_allclose(found, [0, (1 + 3) / 8, (0 + 1) / 8, 0, (1 + 3) / 8, (3 + 4) / 8])
    assert lesion_ranks(np.zeros(3)).tolist() == [0, 0, 0]


def test_shares_are_of_the_brain(mr: tuple[Slices, Slices]) -> None:
    images, masks = mr
    for place, found in enumerate(lesion_shares(images, masks)):
        assert found == masks[place].sum() / (images[place] > 0).sum()
    assert lesion_shares(np.zeros((1, 8, 8), np.uint8), None).tolist() == [0]


def test_the_bound_of_brightness_is_that_of_all_brain_pixels_of_the_set(ct: Slices) -> None:
    pixels = np.sort(ct[ct > 0])
    median, quartile = (int(pixels[int(np.ceil(share * len(pixels))) - 1]) for share in (0.5, 0.75))
    assert bright_bound(ct, 3.0) == median + 3.0 * (quartile - median)
    found, bound = lesion_shares(ct, None, 3.0), bright_bound(ct, 3.0)
    np.testing.assert_array_equal(found, (ct > bound).sum(axis=(1, 2)) / (ct > 0).sum(axis=(1, 2)))


def test_the_bound_hardly_moves_with_the_amount_of_lesion() -> None:
    few, many = brains(8, 4)[0], brains(24, 4)[0]
    assert (many == 160).mean() > 3 * (few == 160).mean()
    assert abs(bright_bound(few, 4.0) - bright_bound(many, 4.0)) <= 4 * 2
    for images in (few, many):
        assert 90 < bright_bound(images, 4.0) < 160


def test_distance_and_neighbours_are_those_of_plain_loops(mr: tuple[Slices, Slices], ct: Slices) -> None:
    metric = NormalisedMetric(lambda_ham=0.7, lambda_les=1.3)
    images, masks = mr
    bound = bright_bound(ct, 4.0)
    ours = [masks[i].sum() / (images[i] > 0).sum() for i in range(len(images))]
    theirs = [(ct[j] > bound).sum() / (ct[j] > 0).sum() for j in range(len(ct))]

    def rank(values: list[Any], place: int) -> float:
        if values[place] == 0:
            return 0.0
        positive = [value for value in values if value > 0]
        less = sum(value < values[place] for value in positive)
        at_most = sum(value <= values[place] for value in positive)
        return float(less + at_most) / 2 / len(positive)

    codes = [[int(code) for code in fingerprints(part)] for part in (images, ct)]
    expected = np.zeros((len(images), len(ct)))
    for i in range(len(images)):
        for j in range(len(ct)):
            bits = (codes[0][i] ^ codes[1][j]).bit_count()
            expected[i, j] = 0.7 * bits / 64 + 1.3 * abs(rank(ours, i) - rank(theirs, j))
    source, target = metric.describe(images, masks), metric.describe(ct, None)
    np.testing.assert_allclose(metric.distance(source, target), expected, atol=1e-12)
    by_hand = [sorted(range(len(ct)), key=lambda j: (round(expected[i, j], 9), j))[:4] for i in range(len(images))]
    assert nearest(metric, source, target, 4)[0].tolist() == by_hand
    back = [sorted(range(len(images)), key=lambda i: (round(expected[i, j], 9), i))[:2] for j in range(len(ct))]
    assert nearest_sources(metric, source, target, 2)[0].tolist() == back


@pytest.mark.parametrize("factor", [2, 5])
def test_the_size_of_slices_does_not_matter(mr: tuple[Slices, Slices], ct: Slices, factor: int) -> None:
    def enlarged(images: Slices) -> Slices:
        return images.repeat(factor, axis=1).repeat(factor, axis=2)

    metric = NormalisedMetric()
    small, large = metric.describe(*mr), metric.describe(*(enlarged(part) for part in mr))
    np.testing.assert_array_equal(small["lesion_rank"], large["lesion_rank"])
    np.testing.assert_array_equal(
        metric.describe(ct, None)["lesion_rank"], metric.describe(enlarged(ct), None)["lesion_rank"]
    )
    same = NormalisedMetric(lambda_ham=0)
    assert neighbours(same, mr, ct) == neighbours(same, (enlarged(mr[0]), enlarged(mr[1])), enlarged(ct))


def test_a_larger_brain_in_the_slice_does_not_matter(mr: tuple[Slices, Slices]) -> None:
    images, masks = mr
    wide = [np.pad(part, ((0, 0), (9, 9), (30, 30))) for part in mr]
    np.testing.assert_array_equal(lesion_shares(images, masks), lesion_shares(*wide))
    np.testing.assert_array_equal(lesion_shares(images, None), lesion_shares(wide[0], None))


def test_a_monotone_change_of_all_areas_of_a_set_does_not_matter() -> None:
    shares = np.random.default_rng(0).uniform(0, 0.2, 40) * (np.arange(40) % 5 > 0)
    for change in (np.sqrt, np.square, lambda x: 0.01 * x, lambda x: x / (x + 0.3)):
        np.testing.assert_array_equal(lesion_ranks(change(shares)), lesion_ranks(shares))


@pytest.mark.parametrize(("scale", "shift"), [(1, 20), (2, -60), (2, 0)])
def test_the_window_does_not_decide_what_is_bright(
    mr: tuple[Slices, Slices], ct: Slices, scale: int, shift: int
) -> None:
    other = np.where(ct > 0, np.clip(scale * ct.astype(int) + shift, 1, 255), 0).astype(np.uint8)
    np.testing.assert_array_equal(lesion_shares(ct, None), lesion_shares(other, None))
    only_lesion = NormalisedMetric(lambda_ham=0)
    assert neighbours(only_lesion, mr, ct) == neighbours(only_lesion, mr, other)


def test_matching_describes_each_set_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    describe = NormalisedMetric.describe

    def look(self: NormalisedMetric, images: Slices, masks: Slices | None) -> Any:
        seen.append(len(images))
        return describe(self, images, masks)

    monkeypatch.setattr(NormalisedMetric, "describe", look)
    pairs = match(toy_set("mr"), toy_set("ct"), NormalisedMetric(), 2)
    assert seen == [8, 8]
    assert {"hamming", "lesion_rank_difference"} <= set(pairs.columns)
    expected = pairs["hamming"] / 64 + pairs["lesion_rank_difference"]
    np.testing.assert_allclose(pairs["distance"], expected)
    seen.clear()
    match(toy_set("mr"), toy_set("ct"), NormalisedMetric(), 2, split="train")
    assert seen == [4, 4]


def test_it_is_registered_with_its_weights() -> None:
    entry = load(outside=False).get("similarity_metric", "amd-normalised")
    built = entry.build({"lambda_ham": 3, "bright": 2.5})
    assert (built.lambda_ham, built.lambda_les, built.bright, built.size) == (3, 1, 2.5, 32)


@pytest.mark.slow
def test_it_keeps_the_contract(tmp_path: Path) -> None:
    from ctseg.conformance import check

    check("similarity_metric", "amd-normalised")
