"""Numbers of a row against hand-made truth and a second implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ctseg_reproduce.results import Outcome, difference, estimate, read_finetuned, read_trained

from ctseg.errors import InputError
from ctseg.io.slices import SliceSet
from ctseg.segmentation.folds import dice_scores


def outcome(parts: list[float], wholes: list[float], seed: int = 0) -> Outcome:
    patients = [f"p{place}" for place in range(len(parts))]
    table = pd.DataFrame({"patient": patients, "pooled_part": parts, "pooled_whole": wholes})
    return Outcome(seed, table, "last", 1)


def test_the_value_is_the_mean_of_the_seeds_pooled_ratios() -> None:
    found = estimate([outcome([1, 2], [2, 6]), outcome([4, 4], [8, 8], 1)], "pooled")
    assert found.value == pytest.approx((3 / 8 + 8 / 16) / 2)
    assert found.patients == 2
    assert found.low <= found.value <= found.high


def test_the_interval_is_that_of_a_loop_over_draws() -> None:
    rng = np.random.default_rng(5)
    parts, wholes = rng.uniform(0, 1, (2, 9)), rng.uniform(1, 2, (2, 9))
    found = estimate([outcome(list(parts[k]), list(wholes[k]), k) for k in (0, 1)], "pooled", resamples=6000)
    drawn = []
    for _ in range(6000):
        patients, seeds = rng.integers(9, size=9), rng.integers(2, size=2)
        drawn.append(np.mean([parts[k, patients].sum() / wholes[k, patients].sum() for k in seeds]))
    np.testing.assert_allclose([found.low, found.high], np.percentile(drawn, [2.5, 97.5]), atol=0.012)


def test_a_difference_is_paired_by_patient_and_seed() -> None:
    hard = [outcome([1, 5, 9], [10, 10, 10]), outcome([2, 6, 9], [10, 10, 10], 1)]
    better = [outcome([2, 6, 10], [10, 10, 10]), outcome([3, 7, 10], [10, 10, 10], 1), outcome([0, 0, 0], [1, 1, 1], 7)]
    found = difference(better, hard, "pooled")
    assert (found.value, found.patients) == (pytest.approx(0.1), 3)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))  # the spread of patients cancels
    assert estimate(hard, "pooled").high - estimate(hard, "pooled").low > 0.3
    assert np.isnan(difference(better[2:], hard, "pooled").value)


def test_equal_patients_and_seeds_leave_no_spread() -> None:
    found = estimate([outcome([1, 1, 1], [2, 2, 2], seed) for seed in (0, 1)], "pooled")
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_seed_that_differs_widens_the_interval() -> None:
    same = estimate([outcome([1, 2, 1], [2, 3, 2], 0)] * 2, "pooled")
    other = estimate([outcome([1, 2, 1], [2, 3, 2], 0), outcome([0, 0.2, 0], [2, 3, 2], 1)], "pooled")
    assert other.high - other.low > same.high - same.low


def test_one_patient_has_no_interval_and_none_no_value() -> None:
    one = estimate([outcome([1], [2])], "pooled")
    assert one.value == 0.5
    assert np.isnan(one.low)
    assert np.isnan(estimate([outcome([0, 0], [0, 0])], "pooled").value)


@pytest.fixture
def crossed(tmp_path: Path, make_slices: Callable[..., SliceSet]) -> tuple[Path, SliceSet, np.ndarray]:
    """A fine-tuning's outlines: the truth shifted, and nothing in the last series; one series has no lesion."""
    truth = make_slices(tmp_path / "truth", "ct", 4, 3, labelled=True)
    masks = np.array(truth.masks)
    masks[3:6] = 0
    np.save(truth.folder / "masks.npy", masks)
    found = np.roll(masks, 2, axis=2)
    found[4, 10:12, 10:14] = 1
    found[9:] = 0
    (tmp_path / "row" / "run").mkdir(parents=True)
    np.save(tmp_path / "row" / "run" / "masks.npy", found)
    return tmp_path / "row", SliceSet(truth.folder, truth.images, masks, truth.table, truth.info), found


def test_fine_tuned_scores_are_those_of_dice_scores(crossed: tuple[Path, SliceSet, np.ndarray]) -> None:
    row, truth, found = crossed
    outcomes = [read_finetuned(row, truth.folder, 0)]
    scores = dice_scores(found, truth.require_masks("x"), truth.table["series_id"].to_numpy())
    assert estimate(outcomes, "pooled").value == pytest.approx(scores["pooled"])
    assert estimate(outcomes, "per_volume").value == pytest.approx(scores["per_volume"])
    assert estimate(outcomes, "per_slice").value == pytest.approx(scores["per_slice_smooth1"])


def test_false_ml_is_that_of_the_volume_without_a_lesion(crossed: tuple[Path, SliceSet, np.ndarray]) -> None:
    row, truth, _ = crossed
    assert estimate([read_finetuned(row, truth.folder, 0)], "fp_ml").value == pytest.approx(8 * 7.5 * 7.5 * 5.0 / 1000)


def test_dice_on_slices_with_a_lesion_leaves_the_others_out(crossed: tuple[Path, SliceSet, np.ndarray]) -> None:
    row, truth, found = crossed
    masks = truth.require_masks("x")[:] > 0
    positive = masks.any(axis=(1, 2))
    overlap = (masks & (found > 0))[positive].sum()
    dice = 2 * overlap / (masks[positive].sum() + (found > 0)[positive].sum())
    assert estimate([read_finetuned(row, truth.folder, 0)], "positive").value == pytest.approx(dice)


def test_outlines_of_another_set_are_refused(
    crossed: tuple[Path, SliceSet, np.ndarray], tmp_path: Path, make_slices: Callable[..., SliceSet]
) -> None:
    other = make_slices(tmp_path / "other", "ct", 2, 3, labelled=True)
    with pytest.raises(InputError, match="run this row again"):
        read_finetuned(crossed[0], other.folder, 0)


def test_a_row_without_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cases\.csv: no such file"):
        read_trained(tmp_path, 0)
