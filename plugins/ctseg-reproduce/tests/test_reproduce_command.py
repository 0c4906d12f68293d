"""`ctseg reproduce` by its real commands: on toy data, and on a tiny phantom."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ctseg_reproduce.systems import CLAIM_PAIRS

from ctseg.cli import common
from ctseg.cli.main import main

pytestmark = pytest.mark.end_to_end
CT_IMAGES = "data/seed-0/sets/ct/images.npy"


@pytest.fixture(autouse=True)
def _own_state() -> None:
    common.STATE = common.State()


def own_data(cohort: Path) -> list[str]:
    flags = {"--src": "mr", "--tgt": "ct", "--test": "scans", "--truth": "truth"}
    return [word for flag, name in flags.items() for word in (flag, str(cohort / name))]


def reproduce(out: Path, cohort: Path, *more: str) -> list[str]:
    scale = ["--scale", "smoke", "--workers", "0", "--device", "cpu", "--json"]
    return ["-q", "reproduce", *more, *scale, *own_data(cohort), "-o", str(out)]


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.parent != folder}


def test_one_row_runs_resumes_and_joins_its_table(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    argv = reproduce(out, cohort, "table4", "--rows", "matched", "--seed", "4")
    assert main(argv) == 0
    summary = json.loads(capsys.readouterr().out)
    row = next(row for row in summary["rows"] if row["row"] == "matched")
    assert row["seeds"] == "4"
    assert all(math.isfinite(row[name]) for name in ("pooled", "per_volume", "per_slice", "seconds"))
    assert row["selection"].startswith("last (no CT label)")
    assert row["patients"] == 2
    listed = (out / "source-subsets/seed-4/subsets/matched.txt").read_text().split()
    assert row["slices"] == len(listed)
    assert {path.name for path in out.glob("table4*.*")} >= {
        "table4.csv", "table4.md", "table4.html", "table4-outcomes.csv",
    }  # fmt: skip
    assert summary["figures"] == [str(out / f"table4-{name}.png") for name in ("source-subsets", "segmentations")]
    assert all(Path(path).stat().st_size > 1000 for path in summary["figures"])

    before = stamps(out)
    assert main(argv) == 0
    assert stamps(out) == before
    assert main(reproduce(out, cohort, "table3", "--rows", "das", "--seed", "4")) == 0
    known = pd.read_csv(out / "table3.csv").set_index("row")
    assert math.isfinite(known.loc["das", "pooled"])
    assert pd.isna(known.loc["amd-das", "pooled"])


def test_a_row_that_fails_is_named_and_the_others_go_on(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctseg.cli import run

    execute = run.execute

    def fail_on_das(study: Path) -> int:
        return 2 if study.parent.parent.name == "das" else execute(study)

    monkeypatch.setattr(run, "execute", fail_on_das)
    argv = reproduce(tmp_path, cohort, "table3", "--rows", "das", "--rows", "cyclegan-das", "--seeds", "1")
    assert main(argv) == 1
    rows = {row["row"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert "ended with 2" in rows["das"]["failed"]
    assert math.isfinite(rows["cyclegan-das"]["pooled"])
    # A later call that does not run the row again still says why it is not there.
    assert main(reproduce(tmp_path, cohort, "table3", "--rows", "cyclegan-das", "--seeds", "1")) == 1
    assert "ended with 2" in {row["row"]: row for row in json.loads(capsys.readouterr().out)["rows"]}["das"]["failed"]


def test_outcomes_of_another_machine_join_the_table(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    assert main(reproduce(there, cohort, "table3", "--rows", "das", "--seed", "0")) == 0
    first = {row["row"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    carried = ["--import", str(there / "table3-outcomes.csv")]
    assert main([*reproduce(here, cohort, "table3", "--rows", "das", "--seed", "0"), *carried]) == 0
    imported = {row["row"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert imported["das"] == first["das"] | {"command": imported["das"]["command"]}
    again = reproduce(here, cohort, "table3", "--rows", "das", "--seed", "0")
    assert main(again) == 0  # once imported, it stays
    assert json.loads(capsys.readouterr().out)["rows"] == list(imported.values())
    assert not (here / "rows").exists()  # what is known is not run again

    wrong, here = tmp_path / "wrong.csv", tmp_path / "elsewhere"
    wrong.write_text((there / "table3-outcomes.csv").read_text().replace(pd.read_csv(carried[1])["key"][0], "0" * 16))
    assert main([*reproduce(here, cohort, "table3", "--rows", "das", "--seed", "0"), "--import", str(wrong)]) == 0
    assert (here / "rows/das/seed-0").exists()
    wrong.write_text("row,seed\n")
    assert main([*reproduce(here, cohort, "table3", "--rows", "das"), "--import", str(wrong)]) == 2
    assert "wrong.csv: lacks the column" in capsys.readouterr().err
    assert len(list((here / "imported").iterdir())) == 1  # and what was refused is not kept


def test_the_selection_rules_are_measured_apart_from_the_runs(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["--train", str(cohort / "scans"), "--train-truth", str(cohort / "truth")]
    assert main([*reproduce(tmp_path, cohort, "selection", "--rows", "das", "--seed", "1"), *labels]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 1
    found = pd.read_csv(tmp_path / "selection-epochs.csv")
    assert list(found["epoch"]) == [1, 2]
    assert found[["dice_train", "dice_test"]].notna().all(axis=None)
    assert found["source_val"].isna().equals(found["tta_consistency"].isna())  # none where nothing is segmented
    assert set(pd.read_csv(tmp_path / "selection.csv")["labels"]) == {"train", "test"}
    known = (tmp_path / "rows/das/seed-1/run/epochs/dice.csv").stat().st_mtime_ns
    assert main([*reproduce(tmp_path, cohort, "selection", "--rows", "das", "--seed", "1"), *labels]) == 0
    assert (tmp_path / "rows/das/seed-1/run/epochs/dice.csv").stat().st_mtime_ns == known


def test_a_scale_that_keeps_no_epochs_has_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "selection", "--scale", "gpu", "-o", str(tmp_path / "out")]) == 2
    assert "use cpu" in capsys.readouterr().err


def test_the_upper_bound_needs_labels_and_the_others_do_not(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(reproduce(tmp_path / "none", cohort, "plus", "--seed", "0")) == 2
    assert "--train-truth" in capsys.readouterr().err
    assert not (tmp_path / "none" / "rows").exists()
    assert main(reproduce(tmp_path / "out", cohort, "plus", "--rows", "plus", "--seed", "0")) == 0
    rows = {row["row"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert math.isfinite(rows["plus"]["pooled"])
    assert rows["supervised"]["seeds"] == ""


def test_own_data_come_whole_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "table2", "--src", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "--truth" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.phantom
def test_every_row_of_every_table_on_the_phantom(tmp_path: Path) -> None:
    counts = (("table2", 7), ("table3", 8), ("table4", 8), ("table5", 8), ("plus", 18))
    for table, rows in counts:
        argv = ["-q", "reproduce", table, "--scale", "smoke", "--seeds", "1", "--workers", "0", "-o", str(tmp_path)]
        assert main(argv) == 0, table
        found = pd.read_csv(tmp_path / f"{table}.csv")
        assert len(found) == rows
        drawn = sorted(path.name for path in tmp_path.glob(f"{table}-*.png"))
        figures = {
            "table2": ["fingerprint", "pairs", "pseudo-ct", "segmentations"],
            "table3": ["one-and-two-stages", "segmentations"],
            "table4": ["segmentations", "source-subsets"],
            "table5": [],
        }
        assert drawn == [f"{table}-{name}.png" for name in figures.get(table, ["segmentations"])]
        assert found[["pooled", "per_volume", "per_slice"]].notna().all(axis=None), table
        assert found["pooled"].between(0, 100).all()
    with_skull, stripped = (np.load(tmp_path / name) for name in ("whole-head/seed-0/ct/images.npy", CT_IMAGES))
    assert with_skull.shape == stripped.shape
    assert (with_skull > 240).mean() > 2 * (stripped > 240).mean()  # bone
    argv = ["-q", "reproduce", "table2", "--window", "0:50", "--scale", "smoke", "--seeds", "1", "--workers", "0"]
    assert main([*argv, "-o", str(tmp_path)]) == 0
    in_window = pd.read_csv(tmp_path / "table2-hu-0-50.csv").set_index("row")
    assert in_window["pooled"].notna().all()
    assert "CT slices are of 0 to 50 HU." in (tmp_path / "table2-hu-0-50.md").read_text()
    assert "CT slices are of" not in (tmp_path / "table2.md").read_text()
    assert in_window.loc["mr", "command"].split()[5:7] == ["--window", "0:50"]
    drawn = sorted(path.name for path in tmp_path.glob("table2-hu-0-50-*.png"))
    assert drawn == [f"table2-hu-0-50-{name}.png" for name in ("fingerprint", "pairs", "pseudo-ct", "segmentations")]
    window = np.load(tmp_path / "hu-0-50/target/seed-0/ct/images.npy")  # 0 to 50 HU: each grey is doubled
    inner = (stripped > 10) & (stripped < 120)
    assert np.percentile(np.abs(window[inner] - 2.0 * stripped[inner]), 90) <= 2  # but at bone, which is cut first

    before = stamps(tmp_path / "rows")
    assert main(["-q", "reproduce", "claims", "--scale", "smoke", "--seeds", "1", "-o", str(tmp_path)]) == 0
    assert stamps(tmp_path / "rows") == before  # the tables have run all that the claims need
    claims = pd.read_csv(tmp_path / "claims.csv")
    assert len(claims) == len(CLAIM_PAIRS)
    assert claims[["pooled_difference", "per_slice_difference"]].notna().all(axis=None)
    assert set(claims["pooled_verdict"]) == {"undecided"}  # one seed


def test_a_preset_has_tables_and_stages_of_its_own_and_shares_the_data(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = reproduce(tmp_path, cohort, "table3", "--rows", "das", "--seed", "0", "--preset", "paper")
    assert main(argv) == 0
    rows = {row["row"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert math.isfinite(rows["das"]["pooled"])
    assert "--preset paper" in rows["das"]["command"]
    assert (tmp_path / "paper/rows/das/seed-0/run").is_dir()
    assert not (tmp_path / "rows").exists()
    assert {path.name for path in tmp_path.glob("table3*.md")} == {"table3-paper.md"}
    assert "Preset 'paper'" in (tmp_path / "table3-paper.md").read_text()
    assert main([*reproduce(tmp_path, cohort, "table3", "--rows", "das"), "--preset", "pape"]) == 2
    assert "did you mean 'paper'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["0:50"], ["50"], ["50:0"], ["plus"]])
def test_a_window_is_refused_where_it_makes_no_sense(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, window = ("plus", "0:50") if words == ["plus"] else ("table2", words[0])
    own = [f"--{name}={tmp_path}" for name in ("src", "tgt", "test", "truth")] if words == ["0:50"] else []
    assert main(["-q", "reproduce", table, "--window", window, *own, "-o", str(tmp_path / "out")]) == 2
    said = {"0:50": "--train", "50": "expected LOW:HIGH", "50:0": "must be the smaller", "plus": "leave --window out"}
    assert said[words[0]] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_das_with_the_skull_needs_scans_and_a_whole_table_goes_without_it(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = reproduce(tmp_path / "out", cohort, "table3", "--seed", "0")
    assert main([*argv, "--rows", "das-whole-head"]) == 2
    assert "--train" in capsys.readouterr().err
    assert main([*[word for word in argv if word != "-q"], "--plan"]) == 0
    said = capsys.readouterr()
    assert "left out: das-whole-head" in said.err
    assert "rows/das/seed-0" in [stage["folder"] for stage in json.loads(said.out)["stages"]]
    labels = ["--train", str(cohort / "scans"), "--train-truth", str(cohort / "truth")]
    assert main([*argv, *labels, "--rows", "das-whole-head", "--plan"]) == 0
    found = [stage["folder"] for stage in json.loads(capsys.readouterr().out)["stages"]]
    assert found == ["data", "whole-head", "rows/das-whole-head/seed-0"]
    assert not (tmp_path / "out").exists()
