"""Claims: what the paper says of them, in which order they are run, and what their intervals say."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from ctseg_reproduce.claims import Claim, all_claims, decide, order_claims, rows_of
from ctseg_reproduce.claims_report import claim_cells, claim_lines, write_claims
from ctseg_reproduce.inputs import own_inputs
from ctseg_reproduce.outcomes import OutcomeRecord, read_outcomes, same_numbers
from ctseg_reproduce.plan import Plan
from ctseg_reproduce.results import METRICS, Outcome
from ctseg_reproduce.run import Request, run_rows
from ctseg_reproduce.scales import get_scale
from ctseg_reproduce.schedule import added_minutes, estimated_minutes, own_seconds, planned_stages
from ctseg_reproduce.stages import in_order
from ctseg_reproduce.systems import CLAIM_PAIRS, CLAIMS, ROWS, TABLES, get_rows
from ctseg_reproduce.table import Result

from ctseg.cli import common
from ctseg.cli.ending import Terminated
from ctseg.cli.main import main
from ctseg.files import write_json

PLAN = Plan(get_scale("cpu"))


def outcomes(*dice: float) -> tuple[Outcome, ...]:
    """One seed and cohort a value."""
    found = []
    for seed, value in enumerate(dice):
        parts = {f"{metric}_part": [value] * 3 for metric in METRICS}
        wholes = {f"{metric}_whole": [1.0] * 3 for metric in METRICS}
        cases = pd.DataFrame({"patient": ["a", "b", "c"], **parts, **wholes})
        found.append(Outcome(seed, cases, "last", 7, 3000 + seed))
    return tuple(found)


def result(name: str, *dice: float) -> Result:
    return Result(ROWS[name], outcomes(*dice), 1.0, "ctseg")


CLAIM = Claim("Fusion helps", ROWS["proposed"], ROWS["matched-mask-cyclegan"])


def test_the_paper_has_every_claim_with_the_sign_that_is_written_down() -> None:
    claims = all_claims(PLAN)
    assert len(claims) == len(CLAIM_PAIRS)
    assert len({claim.text for claim in claims}) == len(claims)
    controls = [claim for claim in claims if claim.points is None]
    assert [claim.worse.name for claim in controls] == ["shuffled-das", "location-prior"]
    assert all(claim.points > 0 for claim in claims if claim.points is not None)


def test_every_row_that_the_paper_reports_is_in_a_claim() -> None:
    named = {row.name for row in rows_of(all_claims(PLAN))}
    for table in ("table2", "table3", "table4", "table5"):
        assert {name for name, dice in TABLES[table].items() if dice is not None} <= named


def test_the_order_is_of_points_at_stake_per_added_minute() -> None:
    known: set[str] = set()
    rates = []
    for claim in order_claims(PLAN):
        minutes, known = added_minutes(PLAN, (claim.better, claim.worse), known)
        rates.append(claim.weight / (minutes + 1e-3))
    free = [claim.text for claim in order_claims(PLAN)]
    assert sorted(free) == sorted(claim.text for claim in all_claims(PLAN))
    costs = {
        claim.text: claim.weight / (added_minutes(PLAN, (claim.better, claim.worse), set())[0] + 1e-3)
        for claim in all_claims(PLAN)
    }
    assert order_claims(PLAN)[0].text == max(costs, key=lambda text: costs[text])
    assert rates[0] == pytest.approx(max(costs.values()))


def test_a_time_leaves_out_what_does_not_fit() -> None:
    few = order_claims(PLAN, 60)
    assert 0 < len(few) < len(all_claims(PLAN))
    assert added_minutes(PLAN, rows_of(few), set())[0] <= 60
    assert order_claims(PLAN, 0.1) == []


def test_claims_that_lack_data_are_left_out(tmp_path: Path) -> None:
    for name in ("mr", "ct", "scans", "truth"):
        (tmp_path / name).mkdir()
    own = Plan(get_scale("cpu"), own_inputs(*(tmp_path / name for name in ("mr", "ct", "scans", "truth"))))
    assert "das-whole-head" not in {row.name for row in rows_of(order_claims(own))}
    assert len(order_claims(own)) == len(CLAIM_PAIRS) - 1


@pytest.mark.parametrize(
    ("better", "worse", "expected"),
    [
        ((0.8, 0.81, 0.8), (0.6, 0.6, 0.61), "reproduces"),
        ((0.6, 0.6, 0.61), (0.8, 0.81, 0.8), "contradicts"),
        ((0.8, 0.5, 0.7), (0.6, 0.7, 0.7), "undecided"),
        ((0.8,), (0.6,), "undecided"),
        ((), (0.6,), "undecided"),
    ],
)
def test_a_verdict_is_what_the_interval_says(
    better: tuple[float, ...], worse: tuple[float, ...], expected: str
) -> None:
    found = decide(CLAIM, [result("proposed", *better), result("matched-mask-cyclegan", *worse)])
    assert found.verdict == expected
    line = found.flat()
    assert line["pooled_verdict"] == expected
    assert line["paper_points"] == 5.13
    if better:
        assert line["pooled_difference"] == pytest.approx(100 * (sum(better) - sum(worse)) / len(better), abs=1e-3)
    else:
        assert math.isnan(line["pooled_difference"])


def test_claims_are_written_in_all_forms(tmp_path: Path) -> None:
    decided = [
        decide(claim, [result("proposed", 0.8, 0.8), result("matched-mask-cyclegan", 0.6, 0.6)])
        for claim in order_claims(PLAN)
    ]
    scale = get_scale("cpu").with_preset("paper")
    record = OutcomeRecord("mr", PLAN.row(ROWS["mr"], 0).key, 1.0, "m", outcomes(0.5)[0])
    made = Result(ROWS["mr"], (record.outcome,), 1.0, "ctseg reproduce claims", records=(record,))
    failed = ["rows/mr ended with 2"]
    paths = write_claims(tmp_path, scale, decided, "ctseg reproduce claims", failed, results=[made])
    names = ["claims-paper.csv", "claims-paper-outcomes.csv", "claims-paper.md", "claims-paper.html"]
    assert [path.name for path in paths] == names
    [read] = read_outcomes(paths.pop(1))
    assert (read.row, read.key, read.outcome.seed) == (record.row, record.key, record.outcome.seed)
    assert same_numbers(read, record)
    flat = pd.read_csv(paths[0]).set_index("better")
    assert list(flat.loc[["proposed"], "pooled_verdict"]).count("reproduces") == 1
    for path in paths[1:]:
        text = path.read_text()
        assert "FAILED: rows/mr ended with 2" in text
        assert "+5.13" in text
    assert len(claim_cells(decided)) == len(decided) == len(claim_lines([item.claim for item in decided]))


def test_a_stage_that_has_run_tells_how_long_its_like_takes(tmp_path: Path) -> None:
    request = Request(tmp_path, CLAIMS, PLAN, (ROWS["mr"],), (0, 1))
    before = {item.folder: item for item in planned_stages(request)}
    assert list(before) == ["data/seed-0", "rows/mr/seed-0", "data/seed-1", "rows/mr/seed-1"]
    assert before["rows/mr/seed-1"].minutes == PLAN.scale.minutes["segmenter"]
    stage = PLAN.row(ROWS["mr"], 0)
    records = {step["name"]: {"done": True, "seconds": 30.0} for step in stage.steps}
    (tmp_path / stage.folder).mkdir(parents=True)
    write_json(tmp_path / stage.folder / "study.state.json", records)
    assert own_seconds(tmp_path / stage.folder) == 90
    after = {item.folder: item.minutes for item in planned_stages(request)}
    assert after["rows/mr/seed-1"] == 1.5


@pytest.mark.parametrize(("code", "raised"), [(130, KeyboardInterrupt), (143, Terminated)])
def test_a_signal_that_ends_a_command_ends_the_call(code: int, raised: type[BaseException], tmp_path: Path) -> None:
    begun: list[Path] = []

    def execute(study: Path) -> int:
        begun.append(study)
        return code

    with pytest.raises(raised):
        run_rows(Request(tmp_path, CLAIMS, PLAN, (ROWS["mr"], ROWS["das"]), (0, 1)), execute)
    assert begun == [tmp_path / "data/seed-0/study.toml"]


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_every_stage_has_an_estimate(scale: str) -> None:
    plan = Plan(get_scale(scale))
    for stage in in_order(plan.row(row, 0) for row in get_rows(CLAIMS)):
        assert estimated_minutes(stage, plan.scale) > 0


def test_a_plan_runs_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common.STATE = common.State()
    out = tmp_path / "out"
    assert (
        main(["reproduce", "claims", "--scale", "cpu", "--seeds", "2", "--hours", "2", "--plan", "-o", str(out)]) == 0
    )
    said = capsys.readouterr()
    assert "data/seed-1" in said.out + said.err
    assert not out.exists()
    assert main(["reproduce", "table2", "--hours", "1", "-o", str(out)]) == 2
    assert "--hours is for" in capsys.readouterr().err


def test_imported_outcomes_count_in_claims(tmp_path: Path) -> None:
    from ctseg_reproduce.run import collect

    row = ROWS["mr"]
    record = OutcomeRecord("mr", PLAN.row(row, 0).key, 1.0, "m", outcomes(0.5)[0])
    found = collect(Request(tmp_path, CLAIMS, PLAN, (), (0,), (record,)), {})
    assert [len(item.outcomes) for item in found if item.row.name == "mr"] == [1]
