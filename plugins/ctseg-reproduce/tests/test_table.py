from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from ctseg_reproduce.outcomes import OutcomeRecord, read_outcomes, write_outcomes
from ctseg_reproduce.results import METRICS, Outcome, estimate
from ctseg_reproduce.scales import get_scale
from ctseg_reproduce.systems import ROWS, get_rows
from ctseg_reproduce.table import (
    Result,
    control_lines,
    control_verdict,
    failure_lines,
    prior_verdict,
    table_of,
    text_cells,
    write_table,
)

from ctseg.errors import InputError


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
    assert text_cells(table)[0][10] == "undecided"


def test_one_seed_decides_no_order() -> None:
    table = table_of("table2", [result("mr", 0.5), result("proposed", 0.8)])
    assert (table["difference_high"][0], table["paper_order"][0]) == (-30.0, "undecided")


def test_a_difference_over_fewer_seeds_than_the_values_says_so() -> None:
    more = result("mr", 0.5)
    cases = more.outcomes[0].cases.assign(pooled_part=0.9)
    more = replace(more, outcomes=(*more.outcomes, replace(more.outcomes[0], seed=1, cases=cases)))
    table = table_of("table2", [more, result("proposed", 0.8)])
    assert (table["difference"][0], table["difference_of_values"][0]) == (-30.0, -10.0)
    assert text_cells(table)[0][9].endswith("seeds 0; of the values -10.00")


def test_outcomes_come_back_with_their_cohort_and_those_of_earlier_versions_are_refused(tmp_path: Path) -> None:
    record = OutcomeRecord("mr", "k", 1.0, "m", result("mr", 0.5).outcomes[0])
    path = write_outcomes(tmp_path / "outcomes.csv", [replace(record, outcome=replace(record.outcome, cohort=3000))])
    found = read_outcomes(path)[0].outcome
    assert found.cohort == 3000
    assert estimate([found], "pooled").value == 0.5
    pd.read_csv(path).drop(columns="cohort").to_csv(path, index=False)
    with pytest.raises(InputError, match="lacks the column 'cohort'"):
        read_outcomes(path)


def test_retired_outcomes_are_refused() -> None:
    retired = Path(__file__).parents[1] / "docs/results/retired-2026-11/cpu"
    for path in retired.glob("*-outcomes.csv"):
        with pytest.raises(InputError, match="lacks the column"):
            read_outcomes(path)


def test_the_location_prior_is_a_control_of_its_own() -> None:
    prior = replace(result("mr", 0.4), row=ROWS["location-prior"])
    rows = [result("proposed", 0.8), result("shuffled", 0.2), prior]
    assert prior_verdict(rows)[0] is True
    assert control_verdict(rows)[0] is True
    lines = control_lines([result("mr", 0.3), *rows])
    assert "location prior at the true volume (40.00) is not shown to score worse than mr:" in lines[1]
    assert len(control_lines(rows[:2])) == 1


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
    results = [result(row.name, 0.5) for row in get_rows("table2") if not row.shuffled]
    results.append(result("shuffled", None, ("seed 0: rows/shuffled/seed-0 ended with 2",)))
    paths = write_table(tmp_path, "table2", results, get_scale("cpu"), own_data=False, command="ctseg reproduce table2")
    assert [path.name for path in paths] == ["table2.csv", "table2-outcomes.csv", "table2.md", "table2.html"]
    assert len(pd.read_csv(paths[0])) == len(get_rows("table2"))
    for path in paths[2:]:
        text = path.read_text()
        for needed in ("72.42", "81.41", "FAILED", "0004-default-preset", "no CT label", "no phantom is a patient"):
            assert needed in text, (path.name, needed)


def test_the_reason_of_a_lost_seed_is_in_every_form_and_its_row_is_marked(tmp_path: Path) -> None:
    why = "seed 4: rows/mr/seed-4 ended with 2: segmentation is nan at epoch 1, step 24; lower the learning rate"
    results = [result("mr", 0.5, (why,)), result("proposed", 0.6)]
    paths = write_table(tmp_path, "table2", results, get_scale("cpu"), own_data=False, command="ctseg reproduce table2")
    for path in (paths[0], *paths[2:]):
        assert why in path.read_text(), path.name
    cells = text_cells(table_of("table2", results))
    assert [row[0] for row in cells] == ["Baseline (MR) (a seed FAILED)", "The proposed synthesis network"]


def test_a_network_that_found_nothing_is_named_with_its_seeds_and_the_way_out(tmp_path: Path) -> None:
    row = with_seeds(result("das", 0.5), [0.0, 0.0, 0.0], [0.5, 0.6, 0.4], [0.0, 0.0, 0.005])
    paths = write_table(tmp_path, "table3", [row], get_scale("cpu"), own_data=False, command="ctseg reproduce table3")
    assert pd.read_csv(paths[0])["collapsed"].tolist() == ["0 2"]
    for path in paths[2:]:
        text = path.read_text()
        assert "(found nothing: seed 0 2)" in text
        assert "das found next to nothing with seed 0 2: that training collapsed" in text
        assert "lower lr_discriminator" in text


def test_a_row_that_found_something_with_every_seed_is_not_marked() -> None:
    table = table_of("table3", [with_seeds(result("das", 0.5), [0.02, 0.0, 0.0], [0.5, 0.6, 0.4])])
    assert table["collapsed"].tolist() == [""]
    assert text_cells(table)[0][0] == "DAS (one stage)"


def test_every_test_patient_is_counted_and_each_cohorts_are_others() -> None:
    """One without a lesion in whom nothing is found adds nothing to the pooled Dice; it was tested all the same."""
    row = with_seeds(result("mr", 0.5), [0.5, 0.5, 0.0], [0.5, 0.4, 0.0])
    for item in row.outcomes:
        item.cases.loc[2, "pooled_whole"] = 0.0
    assert table_of("table2", [row])["patients"][0] == 6


def test_a_control_that_finds_nothing_is_no_failure() -> None:
    table = table_of(
        "table2", [with_seeds(result("shuffled", 0.5), [0.0] * 3), with_seeds(result("mr", 0.5), [0.0] * 3)]
    )
    assert table["collapsed"].tolist() == ["0", "0"]
    lines = failure_lines(table)
    assert len(lines) == 1
    assert lines[0].startswith("mr found next to nothing")
