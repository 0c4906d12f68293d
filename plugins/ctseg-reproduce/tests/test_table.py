from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from ctseg_reproduce.kept import LATER, Kept, read_outcomes, write_outcomes
from ctseg_reproduce.results import METRICS, Outcome, estimate
from ctseg_reproduce.scales import get_scale
from ctseg_reproduce.systems import ROWS, get_rows
from ctseg_reproduce.table import Result, control_verdict, shown, table_of, write_table


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


def test_a_row_whose_interval_holds_the_control_is_not_said_to_be_above() -> None:
    row = result("mr", 0.9)
    row.outcomes[0].cases["pooled_part"] = [0.0, 0.1, 0.9]
    worse, text = control_verdict([row, result("shuffled", 0.2)])
    assert worse is False
    assert "does not exclude 0" in text


def with_seeds(item: Result, *parts: list[float]) -> Result:
    """A row with a seed and cohort for each list of its patients' pooled parts."""
    first = item.outcomes[0]
    outcomes = [
        replace(first, seed=seed, cohort=3000 + seed, cases=first.cases.assign(pooled_part=part))
        for seed, part in enumerate(parts)
    ]
    return replace(item, outcomes=tuple(outcomes))


def test_the_papers_order_is_said_as_far_as_intervals_go() -> None:
    reference = with_seeds(result("proposed", 0.8), [0.8] * 3, [0.8] * 3)
    below, above = (
        with_seeds(result("mr", 0.5), [0.5] * 3, [0.5] * 3),
        with_seeds(result("cyclegan", 0.9), [0.9] * 3, [0.9] * 3),
    )
    table = table_of("table2", [below, above, reference])
    assert list(table["paper_order"]) == ["reproduces", "contradicts", ""]
    unsure = with_seeds(result("mr", 0.5), [0.1] * 3, [0.9] * 3)
    table = table_of("table2", [unsure, reference, result("shuffled", 0.1)])
    assert list(table["paper_order"]) == ["undecided", "", ""]
    assert shown(table)[0][10] == "undecided"


def test_one_seed_decides_no_order() -> None:
    table = table_of("table2", [result("mr", 0.5), result("proposed", 0.8)])
    assert (table["difference_high"][0], table["paper_order"][0]) == (-30.0, "undecided")


def test_a_difference_over_fewer_seeds_than_the_values_says_so() -> None:
    more = result("mr", 0.5)
    cases = more.outcomes[0].cases.assign(pooled_part=0.9)
    more = replace(more, outcomes=(*more.outcomes, replace(more.outcomes[0], seed=1, cases=cases)))
    table = table_of("table2", [more, result("proposed", 0.8)])
    assert (table["difference"][0], table["difference_of_values"][0]) == (-30.0, -10.0)
    assert shown(table)[0][9].endswith("seeds 0; of the values -10.00")


def test_outcomes_of_an_earlier_version_are_read_without_the_later_columns(tmp_path: Path) -> None:
    kept = Kept("mr", "k", 1.0, "m", result("mr", 0.5).outcomes[0])
    path = write_outcomes(tmp_path / "outcomes.csv", [replace(kept, outcome=replace(kept.outcome, cohort=3000))])
    assert read_outcomes(path)[0].outcome.cohort == 3000
    pd.read_csv(path).drop(columns=list(LATER)).to_csv(path, index=False)
    old = read_outcomes(path)[0].outcome
    assert old.cohort is None
    assert pd.isna(estimate([old], "per_slice_positive").value)
    assert estimate([old], "pooled").value == 0.5


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
