from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ctseg_reproduce.source_subsets import donors, shuffle_labels, source_subsets

from ctseg.errors import InputError
from ctseg.io.slices import SliceSet, open_slices

MATCHED = ["mr_9", "mr_0", "mr_5", "mr_14"]
"""Of 16 slices, 12 to train on; mr_14 is of the validation split."""


@pytest.fixture
def source(tmp_path: Path, make_slices: Callable[..., SliceSet]) -> SliceSet:
    return make_slices(tmp_path / "mr", "mr", 4, 4, labelled=True)


def test_the_lists_relate_as_figure_9_shows(source: SliceSet) -> None:
    lists = {name: set(ids) for name, ids in source_subsets(source, MATCHED).items()}
    assert lists["all"] == {f"mr_{place}" for place in range(12)}
    assert lists["matched"] == {"mr_0", "mr_5", "mr_9"}
    assert lists["unmatched-1"] == lists["all"] - lists["matched"]
    assert len(lists["unmatched-2"]) == len(lists["unmatched-3"]) == len(lists["matched"])
    assert lists["unmatched-2"] <= lists["all"]
    assert lists["unmatched-3"] <= lists["unmatched-1"]


def test_unmatched_2_may_meet_the_matched_and_3_never_does(source: SliceSet) -> None:
    drawn = [source_subsets(source, MATCHED, seed=seed) for seed in range(20)]
    assert any(set(lists["unmatched-2"]) & set(lists["matched"]) for lists in drawn)
    assert not any(set(lists["unmatched-3"]) & set(lists["matched"]) for lists in drawn)


def test_a_seed_gives_the_same_draw_and_another_one_another(source: SliceSet) -> None:
    assert source_subsets(source, MATCHED, seed=3) == source_subsets(source, MATCHED, seed=3)
    assert source_subsets(source, MATCHED, seed=3) != source_subsets(source, MATCHED, seed=4)


def test_where_few_are_unmatched_unmatched_3_is_all_of_them(source: SliceSet) -> None:
    lists = source_subsets(source, [f"mr_{place}" for place in range(10)])
    assert lists["unmatched-3"] == lists["unmatched-1"] == ["mr_10", "mr_11"]


@pytest.mark.parametrize("matched", [["mr_14"], [f"mr_{place}" for place in range(12)]])
def test_table_4_needs_both_kinds(source: SliceSet, matched: list[str]) -> None:
    with pytest.raises(InputError, match="Table 4 needs some"):
        source_subsets(source, matched)


def test_shuffled_masks_come_from_other_patients_of_the_split(source: SliceSet) -> None:
    found = donors(source, seed=1)
    table = source.table
    assert sorted(found) == list(range(16))
    assert list(table["split"].iloc[found]) == list(table["split"])
    train = source.rows("train")
    patients = table["patient_id"].to_numpy()
    assert not np.any(patients[found[train]] == patients[train])
    only = source.rows("val")
    assert not np.any(found[only] == only)


def test_no_donor_is_of_the_same_patient_where_counts_differ(source: SliceSet) -> None:
    table = source.table.assign(split="train", patient_id=["a"] * 8 + ["b"] * 5 + ["c"] * 3)
    uneven = SliceSet(source.folder, source.images, source.masks, table, source.info)
    patients = table["patient_id"].to_numpy()
    for seed in range(10):
        assert not np.any(patients[donors(uneven, seed)] == patients)


def test_a_shuffled_set_has_the_same_images_and_other_masks(source: SliceSet, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    shuffle_labels(source, tmp_path / "out", seed=2)
    made = open_slices(tmp_path / "out")
    masks, old = made.require_masks("x"), source.require_masks("x")
    np.testing.assert_array_equal(made.images, source.images)
    np.testing.assert_array_equal(masks, old[donors(source, 2)])
    assert not np.array_equal(masks, old)
    assert list(made.table["lesion_px"]) == list(masks.sum(axis=(1, 2)))
    assert "control" in made.info["labels"]
