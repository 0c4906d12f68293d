from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctseg.errors import InputError
from ctseg.harmless import safe_table
from ctseg.io.slices import SliceSet
from ctseg.matching import described
from ctseg.matching import pairs as pairs_module
from ctseg.matching.described import describe_set
from ctseg.matching.metrics import AmdMetric, NormalisedMetric
from ctseg.matching.pairs import (
    match,
    matched_ids,
    proportional_top,
    read_pairs,
    write_pairs,
)

PAPERS_SHARE = 5_184 / 15_480
"""Matched of all source slices (paper 3.2.2)."""


def slice_set(rng: np.random.Generator, domain: str, count: int, labelled: bool, size: int = 24) -> SliceSet:
    coarse = rng.integers(0, 256, (count, size // 4, size // 4))
    table = pd.DataFrame(
        {
            "slice_id": [f"{domain}-{row}" for row in range(count)],
            "split": ["train" if row % 3 else "test" for row in range(count)],
        }
    )
    images = np.kron(coarse, np.ones((1, 4, 4))).astype(np.uint8)
    masks = (images > 200).astype(np.uint8) if labelled else None
    return SliceSet(Path(domain), images, masks, table, {"domain": domain})


@pytest.fixture
def source(rng: np.random.Generator) -> SliceSet:
    return slice_set(rng, "mr", 7, labelled=True)


@pytest.fixture
def target(rng: np.random.Generator) -> SliceSet:
    return slice_set(rng, "ct", 9, labelled=False)


def plain_table(source: SliceSet, target: SliceSet, asked_source: bool, top: int) -> list[tuple]:
    """Every pair's distance, sorted; one loop in the other."""
    metric = AmdMetric()
    rows = []
    for asked in range(len(source) if asked_source else len(target)):
        options = []
        for other in range(len(target) if asked_source else len(source)):
            s, t = (asked, other) if asked_source else (other, asked)
            one = metric.describe(source.images[s : s + 1], source.masks[s : s + 1])
            two = metric.describe(target.images[t : t + 1], None)
            options.append((float(metric.distance(one, two)[0, 0]), other, f"mr-{s}", f"ct-{t}"))
        for rank, (distance, _, source_id, target_id) in enumerate(sorted(options)[:top], start=1):
            rows.append((source_id, target_id, rank, distance))
    return rows


def test_source_direction_as_written_out(source: SliceSet, target: SliceSet) -> None:
    pairs = match(source, target, AmdMetric(), top=4)
    assert list(pairs.columns) == ["source_id", "target_id", "rank", "distance", "hamming", "lesion_difference"]
    assert list(pairs.iloc[:, :4].itertuples(index=False, name=None)) == plain_table(source, target, True, 4)


def test_target_direction_as_written_out(source: SliceSet, target: SliceSet) -> None:
    pairs = match(source, target, AmdMetric(), top=1, direction="target")
    assert list(pairs.iloc[:, :4].itertuples(index=False, name=None)) == plain_table(source, target, False, 1)
    assert matched_ids(pairs) == list(dict.fromkeys(pairs["source_id"]))


@pytest.mark.parametrize("direction", ["source", "target"])
def test_the_parts_make_the_distance(source: SliceSet, target: SliceSet, direction) -> None:
    pairs = match(source, target, AmdMetric(), top=3, direction=direction)
    np.testing.assert_allclose(100.0 * pairs["hamming"] + pairs["lesion_difference"], pairs["distance"])


def test_the_labels_of_a_target_change_no_pair(source: SliceSet, rng: np.random.Generator) -> None:
    """Equation (16) thresholds CT; a mask of the target would be a label that chooses the pairs."""
    bare = slice_set(rng, "ct", 9, labelled=False)
    labelled = SliceSet(bare.folder, bare.images, np.ones_like(bare.images), bare.table, bare.info)
    for direction in ("source", "target"):
        pairs = [match(source, target, AmdMetric(), top=4, direction=direction) for target in (bare, labelled)]
        pd.testing.assert_frame_equal(*pairs)


@pytest.mark.parametrize(("targets", "top"), [(15_480, 20), (2_090, 3), (774, 1), (9, 1), (1, 1), (30_960, 40)])
def test_the_default_is_the_papers_share_of_the_targets(targets: int, top: int) -> None:
    assert proportional_top(targets) == top


def test_the_default_for_stage_1_keeps_the_share(rng: np.random.Generator) -> None:
    source, target = slice_set(rng, "mr", 2, True), slice_set(rng, "ct", 1_161, False)
    assert match(source, target, AmdMetric()).groupby("source_id").size().tolist() == [2, 2]


def test_the_default_for_stage_2_matches_a_third_with_as_few_as_possible(rng: np.random.Generator) -> None:
    source, target = slice_set(rng, "mr", 40, True), slice_set(rng, "ct", 8, False)
    pairs = match(source, target, AmdMetric(), direction="target")
    top = int(pairs["rank"].max())
    assert top > 1
    assert len(matched_ids(pairs)) >= 40 * PAPERS_SHARE
    fewer = match(source, target, AmdMetric(), top=top - 1, direction="target")
    assert len(matched_ids(fewer)) < 40 * PAPERS_SHARE
    pd.testing.assert_frame_equal(fewer, pairs[pairs["rank"] < top].reset_index(drop=True))


@pytest.mark.parametrize(("made", "needed"), [("source", "target"), ("target", "source")])
def test_pairs_of_the_other_direction_are_refused(
    source: SliceSet, target: SliceSet, tmp_path: Path, made, needed
) -> None:
    write_pairs(match(source, target, AmdMetric(), top=4, direction=made), tmp_path / "pairs.csv")
    with pytest.raises(InputError, match=f"make it with `ctseg match --direction {needed}`"):
        read_pairs(tmp_path / "pairs.csv", source, target, direction=needed)
    assert len(read_pairs(tmp_path / "pairs.csv", source, target, direction=made))


def test_only_one_split(source: SliceSet, target: SliceSet) -> None:
    pairs = match(source, target, AmdMetric(), top=99, split="train")
    assert set(pairs["source_id"]) == {f"mr-{row}" for row in range(7) if row % 3}
    assert set(pairs["target_id"]) == {f"ct-{row}" for row in range(9) if row % 3}
    whole = match(source, target, AmdMetric(), top=99).set_index(["source_id", "target_id"])["distance"]
    part = pairs.set_index(["source_id", "target_id"])["distance"]
    np.testing.assert_array_equal(whole[part.index], part)


def test_sets_of_other_sizes_are_refused(source: SliceSet, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="24 x 24 but ct is 32 x 32"):
        match(source, slice_set(rng, "ct", 2, False, size=32), AmdMetric())


def test_a_metric_without_parts(source: SliceSet, target: SliceSet) -> None:
    class Bare:
        describe = AmdMetric().describe
        distance = AmdMetric().distance

    pairs = match(source, target, Bare(), top=2)
    assert list(pairs.columns) == ["source_id", "target_id", "rank", "distance"]


def test_written_and_read_again(source: SliceSet, target: SliceSet, tmp_path: Path) -> None:
    pairs = match(source, target, AmdMetric(), top=4)
    write_pairs(pairs, tmp_path / "new" / "pairs.csv")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "new" / "pairs.csv"), pairs, check_dtype=False, check_exact=True
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pairs.csv"]
    table = read_pairs(tmp_path / "new" / "pairs.csv", source, target)
    assert len(table) == 7 * 4
    for row in range(7):
        names = pairs.loc[pairs["source_id"] == f"mr-{row}", "target_id"]
        assert [f"ct-{index}" for index in table.candidates(row)] == names.tolist()


def test_top_keeps_the_nearest(source: SliceSet, target: SliceSet, tmp_path: Path) -> None:
    write_pairs(match(source, target, AmdMetric(), top=4), tmp_path / "pairs.csv")
    whole = read_pairs(tmp_path / "pairs.csv", source, target)
    best = read_pairs(tmp_path / "pairs.csv", source, target, top=1)
    assert [best.candidates(row).tolist() for row in range(7)] == [
        whole.candidates(row)[:1].tolist() for row in range(7)
    ]


def test_through_a_pipe(source: SliceSet, target: SliceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    write_pairs(match(source, target, AmdMetric(), top=2), stream)
    stream.seek(0)
    monkeypatch.setattr("sys.stdin", stream)
    assert len(read_pairs("-", source, target)) == 14


def test_a_list_made_by_hand(source: SliceSet, target: SliceSet, tmp_path: Path) -> None:
    text = "source_id,target_id,note\nmr-3,ct-8,a\nmr-1,ct-0,b\nmr-3,ct-2,c\nmr-3,ct-8,again\n"
    (tmp_path / "pairs.csv").write_text(text)
    table = read_pairs(tmp_path / "pairs.csv", source, target)
    assert table.sources.tolist() == [1, 3]
    assert table.candidates(3).tolist() == [8, 2]
    assert [table.candidates(row).tolist() for row in (0, 1, 6)] == [[], [0], []]
    assert read_pairs(tmp_path / "pairs.csv", source, target, top=1).candidates(3).tolist() == [8]


def test_ranks_order_the_candidates(source: SliceSet, target: SliceSet, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("source_id,target_id,rank\nmr-3,ct-8,2\nmr-3,ct-2,1\n")
    assert read_pairs(tmp_path / "pairs.csv", source, target).candidates(3).tolist() == [2, 8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source_id,target_id\nmr-0,ct-0\nmr-7,ct-0\nmr-7,ct-1\nmr-9,ct-0\n", r"pairs\.csv, source_id: 2 of 3 .* mr-7"),
        ("source_id,target_id\nmr-0,pt-1\n", r"pairs\.csv, target_id: 1 of 1 .* pt-1"),
        ("source_id,rank\nmr-0,1\n", r"pairs\.csv: no column target_id"),
        ("source_id,target_id,rank\nmr-0,ct-0,1\nmr-0,ct-0,first\n", r"pairs\.csv: line 3: rank"),
        ("source_id,target_id\n", r"pairs\.csv: holds no pair"),
        ("", r"pairs\.csv: not a readable table"),
        ('"a,b\nc', r"pairs\.csv: "),
        ("\x00\x01\x02", r"pairs\.csv: "),
    ],
    ids=["source", "target", "column", "rank", "header only", "empty", "quote", "binary"],
)
def test_bad_pairs_give_one_line(text: str, message: str, source: SliceSet, target: SliceSet, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(tmp_path / "pairs.csv", source, target)
    assert "\n" not in str(caught.value)


def test_missing_pairs_and_a_folder(source: SliceSet, target: SliceSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_pairs(tmp_path / "none.csv", source, target)
    with pytest.raises(InputError, match="a folder, not a file"):
        read_pairs(tmp_path, source, target)


def test_nothing_is_left_when_writing_fails(source: SliceSet, target: SliceSet, tmp_path: Path) -> None:
    pairs = match(source, target, AmdMetric(), top=1)
    (tmp_path / "pairs.csv").mkdir()
    with pytest.raises(OSError):
        write_pairs(pairs, tmp_path / "pairs.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_the_file_is_what_pandas_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "WRITTEN", 3)
    numbers = [0.0, -0.0, 1 / 3, 1e300, 5e-324, np.nan, 1918.75, 1e16 + 2]
    pairs = pd.DataFrame(
        {
            "source_id": ["a", 'say "b"', "c,d", " e", "ü", "line\nbreak", "", "g"],
            "target_id": list("12345678"),
            "rank": np.arange(8),
            "distance": numbers,
            "hamming": np.arange(8, dtype=np.uint8),
            "part": np.array([*numbers[:3], 1e30, *numbers[4:]], dtype=np.float32),
        }
    )
    write_pairs(pairs, tmp_path / "pairs.csv")
    expected = safe_table(pairs).to_csv(index=False, float_format="%.17g", lineterminator="\n")
    assert (tmp_path / "pairs.csv").read_text(encoding="utf-8") == expected
    stream = io.StringIO()
    write_pairs(pairs, stream)
    assert stream.getvalue() == expected


@pytest.mark.parametrize("split", [None, "train"])
def test_sets_are_described_block_by_block(
    source: SliceSet, split: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = AmdMetric().describe(source.images, source.masks)
    rows = source.rows(split)
    for size in (1, 2, 100):
        monkeypatch.setattr(described, "DESCRIBED", size)
        said: list[tuple[int, int | None, str]] = []
        found = describe_set(source, AmdMetric(), split, masked=True, progress=lambda *call, to=said: to.append(call))
        assert found.names.tolist() == [f"mr-{row}" for row in rows]
        for name, values in whole.items():
            np.testing.assert_array_equal(found.descriptors[name], values[rows])
        assert said[-1] == (len(rows), len(rows), "")
        assert len(said) == (1 if size == 100 else len({row // size for row in rows}))


def test_a_metric_that_asks_for_the_whole_set_gets_it(source: SliceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "DESCRIBED", 2)
    found = describe_set(source, NormalisedMetric(), "train", masked=True)
    rows = source.rows("train")
    whole = NormalisedMetric().describe(source.images[rows], source.masks[rows])
    np.testing.assert_array_equal(found.descriptors["lesion_rank"], whole["lesion_rank"])
