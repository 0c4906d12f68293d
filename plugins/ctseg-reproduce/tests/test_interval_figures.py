"""Rows and claims with their intervals, drawn from outcomes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ctseg_reproduce import interval_figures
from ctseg_reproduce.claims import Claim, decide
from ctseg_reproduce.results import METRICS, Outcome
from ctseg_reproduce.scales import get_scale
from ctseg_reproduce.systems import ROWS
from ctseg_reproduce.table import Result, write_table


def outcome(seed: int, value: float) -> Outcome:
    """Two patients with this value of every metric."""
    parts = {f"{metric}_part": [value, value] for metric in METRICS}
    wholes = {f"{metric}_whole": [1.0, 1.0] for metric in METRICS}
    cases = pd.DataFrame({"patient": ["a", "b"], **parts, **wholes})
    return Outcome(seed, cases, "last", 3, cohort=3000 + seed)


def lines_of(mr: tuple[float, ...], proposed: tuple[float, ...]) -> list[Result]:
    """Two rows with a seed and cohort for each value."""
    rows = (("mr", mr), ("proposed", proposed))
    return [
        Result(ROWS[name], tuple(outcome(seed, value) for seed, value in enumerate(values)), 1.0, "ctseg")
        for name, values in rows
    ]


def test_every_row_with_an_outcome_has_its_line_with_interval_seeds_and_the_papers_number() -> None:
    lines = {item.name: item for item in interval_figures.table_lines(lines_of((0.4, 0.6), (0.9, 0.9)))}
    assert list(lines) == ["mr", "proposed"]
    assert lines["mr"].value == pytest.approx(50)
    assert lines["mr"].seeds == pytest.approx((40, 60))
    assert (lines["mr"].low, lines["mr"].high) == (0, 100)  # two seeds: a wide interval, cut where Dice ends
    assert lines["mr"].paper == 72.42
    figure = interval_figures.draw_intervals(list(lines.values()), "pooled Dice %", (0, 100))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["mr", "proposed"]


def test_a_table_of_imported_outcomes_has_its_intervals_drawn(tmp_path: Path) -> None:
    results, scale = lines_of((0.4, 0.6), (0.8, 0.9)), get_scale("cpu")
    drawn = interval_figures.intervals_figure(tmp_path, "table2", results)
    assert [item.path for item in drawn] == [tmp_path / "intervals-table2.png"]
    assert drawn[0].path.stat().st_size > 1000
    paths = write_table(tmp_path, "table2", results, scale, own_data=False, command="ctseg", figures=drawn)
    assert "](intervals-table2.png)" in paths[2].read_text()
    assert "data:image/png;base64," in paths[3].read_text()
    assert interval_figures.intervals_figure(tmp_path, "table3", lines_of((), ())) == []


def test_intervals_that_cannot_be_drawn_are_said_and_cost_no_table(tmp_path: Path) -> None:
    (tmp_path / "intervals-table2.png").mkdir()
    said: list[str] = []
    assert interval_figures.intervals_figure(tmp_path, "table2", lines_of((0.4, 0.6), ()), said.append) == []
    assert len(said) == 1
    assert said[0].startswith("intervals-table2.png could not be drawn: ")


def test_claims_are_drawn_as_far_as_they_were_run(tmp_path: Path) -> None:
    claims = [Claim("proposed over mr", ROWS["proposed"], ROWS["mr"]), Claim("not run", ROWS["amd-das"], ROWS["mr"])]
    decided = [decide(claim, lines_of((0.4, 0.5), (0.8, 0.9))) for claim in claims]
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        draw = interval_figures.draw_intervals

        def look(lines, *rest):  # type: ignore[no-untyped-def]
            seen.extend(lines)
            return draw(lines, *rest)

        patch.setattr(interval_figures, "draw_intervals", look)
        drawn = interval_figures.claims_figure(tmp_path, "claims", decided)
    assert [item.name for item in seen] == ["proposed over mr: reproduces"]
    assert seen[0].value == pytest.approx(40)
    assert seen[0].paper == pytest.approx(81.41 - 72.42)
    assert drawn[0].path.stat().st_size > 1000
