from __future__ import annotations

from pathlib import Path

import pandas as pd
from ctseg_reproduce.results import METRICS, Outcome
from ctseg_reproduce.scales import get_scale
from ctseg_reproduce.systems import ROWS, get_rows
from ctseg_reproduce.table import Result, control_verdict, table_of, write_table


def result(name: str, dice: float | None, failed: tuple[str, ...] = ()) -> Result:
    values = {f"{metric}_part": [dice or 0.0] * 3 for metric in METRICS}
    wholes = {f"{metric}_whole": [1.0] * 3 for metric in METRICS}
    cases = pd.DataFrame({"patient": ["a", "b", "c"], **values, **wholes})
    outcomes = () if dice is None else (Outcome(0, cases, "last (no CT label), epoch 3", 7),)
    return Result(ROWS[name], outcomes, 61.0, f"ctseg reproduce table2 --rows {name}", failed)


def test_a_control_below_every_row_is_as_it_must_be() -> None:
    worse, text = control_verdict([result("mr", 0.5), result("proposed", 0.8), result("shuffled", 0.2)])
    assert worse is True
    assert "20.00" in text


def test_a_row_that_is_no_better_than_the_control_is_named() -> None:
    worse, text = control_verdict([result("mr", 0.2), result("proposed", 0.8), result("shuffled", 0.2)])
    assert worse is False
    assert "than mr:" in text


def test_without_a_control_there_is_no_verdict() -> None:
    assert control_verdict([result("mr", 0.2), result("shuffled", None)])[0] is None


def test_the_table_holds_the_papers_number_beside_ours() -> None:
    table = table_of("table2", [result("mr", 0.5), result("shuffled", None)])
    assert table["paper_dice"][0] == 72.42
    assert pd.isna(table["paper_dice"][1])
    assert (table["pooled"][0], table["pooled_low"][0], table["fp_ml"][0]) == (50.0, 50.0, 0.5)
    assert pd.isna(table["pooled"][1])
    assert (table["seeds"][0], table["patients"][0], table["slices"][0]) == ("0", 3, 7)


def test_rows_are_compared_with_the_one_their_table_is_about() -> None:
    table = table_of("table2", [result("mr", 0.5), result("proposed", 0.8), result("shuffled", None)])
    assert table["difference"][0] == -30.0
    assert list(table["difference_to"]) == ["proposed", "", ""]
    assert table[["difference", "difference_low"]].iloc[1:].isna().all(axis=None)


def test_all_three_forms_are_written_and_name_what_failed(tmp_path: Path) -> None:
    results = [result(row.name, 0.5) for row in get_rows("table2")[:-1]]
    results.append(result("shuffled", None, ("seed 0: rows/shuffled/seed-0 ended with 2",)))
    paths = write_table(tmp_path, "table2", results, get_scale("cpu"), own_data=False, command="ctseg reproduce table2")
    assert [path.name for path in paths] == ["table2.csv", "table2-outcomes.csv", "table2.md", "table2.html"]
    assert len(pd.read_csv(paths[0])) == 6
    for path in paths[2:]:
        text = path.read_text()
        for needed in ("72.42", "81.41", "FAILED", "0004-default-preset", "no CT label", "no phantom is a patient"):
            assert needed in text, (path.name, needed)
