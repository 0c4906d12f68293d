"""The study of the label-free rules, on tables made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ctseg_reproduce.selection_report import write_study
from ctseg_reproduce.selection_study import regrets, run_epochs_table

from ctseg.errors import InputError
from ctseg.selection.rules import RULES, select_epoch


def epochs(dice: list[float], **scores: list[float | None]) -> pd.DataFrame:
    count = len(dice)
    table = pd.DataFrame({"epoch": np.arange(1, count + 1), "last": np.arange(1.0, count + 1)})
    for name in RULES:
        if name != "last":
            table[name] = scores.get(name, [None] * count)
    return table.assign(dice_test=dice)


def test_replay_keeps_what_a_run_would_have_record() -> None:
    assert select_epoch("entropy", [0.5, 0.2, 0.3]) == 1
    assert select_epoch("tta_consistency", [0.5, 0.9, 0.9]) == 1  # of equal scores the earlier epoch
    assert select_epoch("tta_consistency", [None, None, 0.1]) == 2
    assert select_epoch("tta_consistency", [None, None]) == 1  # as long as none has a score, the newest
    assert select_epoch("tta_consistency", [0.1, None]) == 0


def test_regret_is_the_way_to_the_best_epoch() -> None:
    tables = [
        epochs([0.2, 0.8, 0.6], tta_consistency=[0.1, 0.9, 0.5], entropy=[0.1, 0.2, 0.3]),
        epochs([0.5, 0.6, 0.7], tta_consistency=[0.3, 0.2, 0.1], entropy=[0.3, 0.2, 0.1]),
    ]
    found = {item.rule: item for item in regrets(tables, "test")}
    assert set(found) == {"last", "tta_consistency", "entropy"}  # the others served no run
    assert found["last"].mean == pytest.approx((20 + 0) / 2)
    assert (found["tta_consistency"].mean, found["tta_consistency"].worst) == (
        pytest.approx((0 + 20) / 2),
        pytest.approx(20),
    )
    assert found["entropy"].mean == pytest.approx((60 + 0) / 2)
    assert found["entropy"].low <= found["entropy"].mean <= found["entropy"].high
    assert found["tta_consistency"].correlation == pytest.approx((1 - 1) / 2)
    assert [item.rule for item in regrets(tables, "test")][-1] == "entropy"


def test_an_epoch_without_foreground_counts_as_zero() -> None:
    found = regrets([epochs([0.4, float("nan"), 0.1], tta_consistency=[0.2, None, 0.3])], "test")
    assert {item.rule: item.mean for item in found} == {"last": pytest.approx(30), "tta_consistency": pytest.approx(30)}


def test_a_run_that_kept_no_epochs_says_how_to(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0, "val_tta_consistency": 0.5}\n')
    with pytest.raises(InputError, match="keep_epochs=true"):
        run_epochs_table(tmp_path, {}, lambda header: None)  # type: ignore[arg-type,return-value]


def test_epochs_that_a_run_could_not_choose_have_no_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "epochs").mkdir()
    (tmp_path / "config.toml").write_text("[settings]\nselect_from = 2\n")
    lines = [f'{{"epoch": {epoch}, "val_tta_consistency": {0.9 - 0.1 * epoch}}}' for epoch in range(4)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    for epoch in range(1, 5):
        (tmp_path / f"epochs/epoch_{epoch:04d}.safetensors").touch()
    monkeypatch.setattr(
        "ctseg_reproduce.selection_study._dice", lambda path, *_: {"dice_test": int(path.stem[-1]) / 10}
    )
    table = run_epochs_table(tmp_path, {"test": None}, lambda header: None)  # type: ignore[arg-type,return-value,dict-item]
    assert list(table["tta_consistency"].notna()) == [False, False, True, True]
    found = {item.rule: item.mean for item in regrets([table], "test")}
    assert found == {"tta_consistency": pytest.approx(10), "last": pytest.approx(0)}  # the third epoch, not the first


def test_the_study_is_written_in_all_forms(tmp_path: Path) -> None:
    tables = {
        ("das", 0): epochs([0.2, 0.8], tta_consistency=[0.1, 0.9]),
        ("mr", 1): epochs([0.3, 0.1], tta_consistency=[0.5, 0.4]),
    }
    paths = write_study(tmp_path, tables, ["test"], "ctseg reproduce selection", "study")
    assert [path.name for path in paths] == ["study.csv", "study-epochs.csv", "study.md", "study.html"]
    flat = pd.read_csv(paths[0]).set_index("rule")
    assert flat.loc["tta_consistency", "mean"] == 0
    assert len(pd.read_csv(paths[1])) == 4
    for path in paths[2:]:
        assert "No run read either" in path.read_text()
