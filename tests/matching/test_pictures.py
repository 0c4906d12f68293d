"""The page of pairs: examples, distances and uses are those of the pairs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toy_sets import toy

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.io.slices import SliceSet, open_slices
from ctseg.matching.pictures import Paired, distance_figure, example_pictures, match_page, uses_figure

Sets = tuple[SliceSet, SliceSet]


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    return open_slices(toy(tmp_path / "mr", "mr", 1)), open_slices(toy(tmp_path / "ct", "ct", 2))


def pairs_of(*rows: tuple[str, str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source_id", "target_id", "rank", "distance"])


THREE = pairs_of(
    ("mr0", "ct5", 1, 10.0), ("mr0", "ct2", 2, 30.0), ("mr3", "ct5", 1, 20.0), ("mr3", "ct7", 2, 40.0),
    ("mr4", "ct5", 1, 25.0), ("mr4", "ct2", 2, 50.0),
)  # fmt: skip


def test_uses_count_every_slice_that_was_searched(sets: Sets) -> None:
    paired = Paired.of(THREE, *sets, "source", "train")
    assert paired.uses().tolist() == [3, 2, 1, 0, 0, 0, 0, 0]
    other = Paired.of(THREE, *sets, "target", "train")
    assert (other.names, other.uses().tolist()) == (("CT", "MR"), [2, 2, 2, 0, 0, 0, 0, 0])
    assert Paired.of(THREE, *sets, "source", None).available == 8
    page = match_page(paired).html()
    assert "3 of 8 CT slices serve (38 %), the most used one 3 times. Half of the pairs are of 1 slice." in page


def test_examples_are_one_slice_a_patient_beside_its_nearest(sets: Sets) -> None:
    paired = Paired.of(THREE, *sets, "source", "train")
    found = {picture.caption: picture for picture in example_pictures(paired)}
    assert sorted(found) == [
        "mr0: CT at distances 10, 30; nearest ct5", "mr3: CT at distances 20, 40; nearest ct5",
        "mr4: CT at distances 25, 50; nearest ct5",
    ]  # fmt: skip
    picture = np.asarray(
        Image.open(io.BytesIO(found["mr0: CT at distances 10, 30; nearest ct5"].png)).convert("RGB")
    ).astype(int)
    coloured = (picture.max(axis=2) - picture.min(axis=2) > 60).any(axis=0)
    assert coloured[:240].any()  # the MR has its mask
    assert not coloured[244:].any()  # masks of CT are never drawn


def test_the_histogram_holds_every_pair_and_the_curve_every_use(sets: Sets) -> None:
    paired = Paired.of(THREE, *sets, "source", "train")
    axes = distance_figure(paired).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == len(THREE) + 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all pairs", "nearest"]
    assert uses_figure(paired).axes[0].get_xlim() == (0, 8)
    assert "from its nearest CT slice and of all its pairs." in match_page(paired).html()
    alone = Paired.of(THREE[THREE["rank"] == 1], *sets, "source", "train")
    assert distance_figure(alone).axes[0].get_legend() is None
    assert "from its nearest CT slice." in match_page(alone).html()


@pytest.mark.slow
def test_match_writes_the_page_and_replaces_nothing_else(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "STATE", common.State())
    monkeypatch.chdir(tmp_path)
    call = ["match", "--src", "mr", "--tgt", "ct", "-o", "pairs.csv", "--report"]
    assert main([*call, "pairs.html"]) == 0
    assert "MR slices and their nearest CT slices" in Path("pairs.html").read_text()
    assert main([*call, "pairs.html"]) == 2
    assert main([*call, "pairs.html", "--overwrite"]) == 0
    Path("notes.html").write_text("mine")
    assert main([*call, "notes.html", "--overwrite"]) == 2
    assert Path("notes.html").read_text() == "mine"
    assert main([*call, "pairs.csv", "--overwrite"]) == 2
    assert main([*call, "mr/page.html", "--overwrite"]) == 2
    assert "lies in the input mr" in capsys.readouterr().err


def windowed(folder: Path, low: float, high: float) -> None:
    """Say of a slice set that it was made in another window of HU."""
    path = folder / "dataset.json"
    info = json.loads(path.read_text())
    info["settings"]["window"] = [low, high]
    path.write_text(json.dumps(info))


def test_match_finds_the_same_density_in_another_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy(tmp_path / "mr", "mr", 1)
    toy(tmp_path / "ct", "ct", 2)
    images = np.load("ct/images.npy")
    call = ["match", "--src", "mr", "--tgt", "ct", "--top", "8", "-o"]
    assert main([*call, "usual.csv"]) == 0
    assert "note" not in capsys.readouterr().err
    np.save("ct/images.npy", np.where(images > 120, 250, images * 2).astype(np.uint8))
    windowed(tmp_path / "ct", 0, 50)
    assert main([*call, "narrow.csv"]) == 0
    assert "above 240 of 255 CT counts as haemorrhage: 47 HU" in capsys.readouterr().err
    usual, narrow = (pd.read_csv(name)["lesion_difference"] for name in ("usual.csv", "narrow.csv"))
    assert narrow.tolist() == usual.tolist() == [0.0] * 64
    assert main([*call, "fixed.csv", "--set", "threshold=120"]) == 0
    assert pd.read_csv("fixed.csv")["lesion_difference"].min() > 1000
    windowed(tmp_path / "ct", 0, 40)
    assert main([*call, "dark.csv"]) == 2
    said = capsys.readouterr().err
    assert "ct: its window of HU does not reach 47 HU" in said
    assert not Path("dark.csv").exists()


def test_one_slice_in_many_pairs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy(tmp_path / "mr", "mr", 1, count=48)
    toy(tmp_path / "ct", "ct", 2)
    masks = np.load("mr/masks.npy")
    masks[:] = 0
    masks[:, :4, :4] = 1
    np.save("mr/masks.npy", masks)
    images = np.load("ct/images.npy")
    images[images > 120] = 100
    images[3, :4, :4] = 210
    images[[0, 1, 2, 4, 5, 6, 7], :18] = 210
    np.save("ct/images.npy", images)
    assert main(["match", "--src", "mr", "--tgt", "ct", "-o", "crowded.csv", "--json", "--set", "lambda_ham=0"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["largest_share"] == 1.0
    assert "warning: 100 % of the pairs have one CT slice, ct3" in said.err
    assert main(["match", "--src", "mr", "--tgt", "ct", "-o", "all.csv", "--top", "8"]) == 0
    assert "warning" not in capsys.readouterr().err
