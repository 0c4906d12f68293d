from __future__ import annotations

import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from ctseg_reproduce.inputs import Inputs, own_inputs
from ctseg_reproduce.plan import BRAIN_MASKS, Plan
from ctseg_reproduce.run import settled_plan
from ctseg_reproduce.scales import SCALES, cohort_seed, get_scale
from ctseg_reproduce.stages import (
    Stage,
    in_order,
    is_done,
    run_stage,
    seconds_of,
    stage_lock,
    study_text,
)
from ctseg_reproduce.systems import ROWS, TABLES, get_rows

from ctseg.errors import InputError, SettingError
from ctseg.files import write_json
from ctseg.study import read_study, run_study
from ctseg.training import presets
from ctseg.training.resolve import resolve_training
from ctseg.training.settings import AdaptationSettings, FinetuneSettings, SynthesisSettings


def plan(scale: str = "smoke") -> Plan:
    return Plan(get_scale(scale))


def folders(table: str, seed: int = 0) -> list[str]:
    return [stage.folder for stage in in_order(plan().row(row, seed) for row in get_rows(table))]


def test_rows_share_what_is_equal() -> None:
    both = [plan().row(row, 0) for table in ("table2", "table3") for row in get_rows(table)]
    names = [stage.folder for stage in in_order(both)]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("synthesis/")] == [
        f"synthesis/{name}/seed-0" for name in ("cyclegan", "mask-cyclegan", "matched-mask-cyclegan", "proposed")
    ]
    assert names.count("data/seed-0") == 1


@pytest.mark.parametrize("table", TABLES)
def test_needs_come_first(table: str) -> None:
    stages = in_order(plan().row(row, 1) for row in get_rows(table))
    seen: set[str] = set()
    for stage in stages:
        assert {item.folder for item in stage.needs} <= seen, stage.folder
        seen.add(stage.folder)


def test_seeds_of_the_phantom_share_nothing_and_those_of_own_data_share_the_data(tmp_path: Path) -> None:
    assert not set(folders("table4", 0)) & set(folders("table4", 1))
    for name in ("mr", "ct", "scans", "truth"):
        (tmp_path / name).mkdir()
    own = Plan(get_scale("cpu"), own_inputs(*(tmp_path / name for name in ("mr", "ct", "scans", "truth"))))
    both = [{item.folder for item in in_order(own.row(row, seed) for row in get_rows("table4"))} for seed in (0, 1)]
    assert both[0] & both[1] == {"data", "labelled"}
    assert (own.cohort(1), plan().cohort(1)) == (None, cohort_seed(1))


@pytest.mark.parametrize("scale", SCALES)
def test_every_seed_has_a_cohort_of_its_own_that_no_one_has_looked_at(scale: str) -> None:
    cohorts = [plan(scale).data(seed).steps[0]["seed"] for seed in range(50)]
    assert cohorts == [cohort_seed(seed) for seed in range(50)]
    assert len(set(cohorts)) == 50
    assert not {0, 2023} & set(cohorts)
    assert plan(scale).data(0).key != replace(plan(scale).data(1), folder="data/seed-0").key


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ROWS)
def test_no_training_is_given_a_setting_without_effect(scale: str, name: str) -> None:
    """It would be refused."""
    models = {"synth-train": SynthesisSettings, "das-train": AdaptationSettings, "finetune": FinetuneSettings}
    for stage in in_order([plan(scale).row(ROWS[name], 0)]):
        for step in stage.steps:
            if step["command"] in models:
                known = presets.SYNTHESIS if step["command"] == "synth-train" else presets.ADAPTATION
                given = {key: value for key, value in step["set"].items() if "." not in key}
                resolve_training(models[step["command"]], known[step["preset"]], given, step["command"])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ROWS)
def test_every_study_can_be_read_and_reads_what_an_earlier_stage_writes(scale: str, name: str, tmp_path: Path) -> None:
    stages = in_order([plan(scale).row(ROWS[name], 2)])
    written = {(tmp_path / item.folder / step["output"]).resolve() for item in stages for step in item.steps}
    written.add((tmp_path / BRAIN_MASKS).resolve())  # kept by whichever row is segmented first
    for stage in stages:
        folder = tmp_path / stage.folder
        folder.mkdir(parents=True)
        (folder / "study.toml").write_text(study_text(stage))
        for step in read_study(folder / "study.toml").steps:
            paths = [(folder / word).resolve() for word in step.argv if word.startswith("..")]
            for path in paths:
                assert any(path == made or made in path.parents for made in written), (step.line, path)


def test_only_matched_systems_get_pairs_and_only_das_gets_an_adversary() -> None:
    def step(folder: str, command: str) -> dict:
        stages = {item.folder: item for item in in_order(plan().row(row, 0) for row in ROWS.values())}
        return next(step for step in stages[folder].steps if step["command"] == command)

    assert "pairs" not in step("synthesis/mask-cyclegan/seed-0", "synth-train")
    assert step("synthesis/matched-mask-cyclegan/seed-0", "synth-train")["pairs"] == "../../../data/seed-0/pairs.csv"
    assert step("rows/mr/seed-0", "das-train")["set"]["lambda_adv"] == 0
    assert "lambda_adv" not in step("rows/das/seed-0", "das-train")["set"]
    assert step("rows/unmatched-2/seed-0", "das-train")["source_list"].endswith("seed-0/subsets/unmatched-2.txt")
    assert step("rows/fcn-amd-das/seed-0", "finetune")["from"] == "../../amd-das/seed-0/run"
    assert "from" not in step("rows/unet-none/seed-0", "finetune")


def test_each_reading_of_a_row_has_its_stages() -> None:
    stages = {item.folder: item for item in in_order(plan().row(row, 0) for row in ROWS.values())}
    whole = stages["whole-head/seed-0"].steps[0]
    assert (whole["brain"], whole["select"]) == ("whole-head", "intraparenchymal")
    assert whole["labels"].endswith("stage_2_train.csv")
    assert "masks" not in whole
    assert stages["rows/das-whole-head/seed-0"].steps[0]["tgt"] == "../../../whole-head/seed-0/ct"
    assert stages["rows/das-whole-head/seed-0"].steps[0]["src"] == stages["rows/das/seed-0"].steps[0]["src"]
    matched, listed = (stages[f"rows/{name}/seed-0"].steps[0] for name in ("matched-pairs", "matched"))
    assert matched["pairs"] == "../../../data/seed-0/pairs-stage2.csv"
    assert matched["set"]["matched"] is True
    assert "source_list" not in matched
    assert "pairs" not in listed
    prior = stages["rows/location-prior/seed-0"].steps[0]
    assert (prior["command"], prior["src"]) == ("location-prior", "../../../data/seed-0/sets/mr")


@pytest.mark.parametrize("preset", ["", "paper"])
def test_another_window_has_stages_of_its_own_and_the_same_commands(preset: str) -> None:
    scale = get_scale("cpu").with_preset(preset) if preset else get_scale("cpu")
    own, other = Plan(scale), Plan(scale.with_window(0, 50))
    below = "/".join(part for part in (preset, "hu-0-50") if part)
    for name in ("mr", "das", "das-whole-head", "cyclegan", "amd-das", "matched", "matched-pairs", "supervised"):
        row, usual = other.row(ROWS[name], 1), own.row(ROWS[name], 1)
        assert row.folder == f"{below}/rows/{name}/seed-1"
        assert row.key != usual.key
        made = {step["output"]: step for stage in in_order([row]) for step in stage.steps}
        assert {step["window"] for step in made.values() if "window" in step} == {"0:50"}
        for step, like in zip(row.steps, usual.steps, strict=True):
            assert set(step) == set(like)
            assert step.get("set") == like.get("set")
        train = row.steps[0]
        held = (Path("/r") / row.folder / train["tgt"]).resolve().relative_to("/r")
        assert held.parts[0] == "hu-0-50"
        folders = {stage.folder for stage in in_order([row])}
        assert "data/seed-1" in folders
        assert str(held.parent) in folders
    stages = {stage.folder: stage for stage in in_order([other.row(ROWS["matched-pairs"], 1)])}
    target = stages["hu-0-50/target/seed-1"]
    assert [step["command"] for step in target.steps] == ["preprocess", "match", "match"]
    assert target.steps[0]["select"] == "intraparenchymal"
    assert (target.steps[1]["tgt"], target.steps[1]["output"]) == ("ct", "pairs.csv")
    assert own.scale.with_window(0, 100) == own.scale


def test_own_data_in_another_window_need_scans() -> None:
    inputs = Inputs("mr", "ct", "scans", "truth")
    plan = Plan(get_scale("cpu").with_window(0, 50), inputs)
    assert not plan.can_run(ROWS["mr"])
    with pytest.raises(SettingError, match="--window needs scans of the target's patients.*leave it out"):
        plan.row(ROWS["mr"], 0)


def test_a_start_that_is_no_row_is_trained_and_not_tested() -> None:
    stages = {item.folder: item for item in in_order([plan().row(ROWS["unet-mr"], 0)])}
    assert [step["command"] for step in stages["rows/unet-on-mr/seed-0"].steps] == ["das-train"]


class Recorder:
    """Stands for the commands: writes each step's output and remembers what ran."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = []

    def __call__(self, study: Path) -> int:
        def execute(argv: list[str]) -> int:
            self.lines.append(argv)
            output = Path(argv[argv.index("-o") + 1])
            assert not output.exists() or "--overwrite" in argv or "--resume" in argv
            output.mkdir(exist_ok=True)
            return 0

        return max(item.code for item in run_study(read_study(study), execute))


@pytest.fixture
def stage() -> Stage:
    first = Stage("first", ({"name": "a", "command": "match", "output": "pairs"},))
    return Stage(
        "second",
        ({"name": "b", "command": "match", "output": "b"}, {"name": "c", "command": "match", "output": "c"}),
        (first,),
    )


def test_a_second_run_does_nothing(tmp_path: Path, stage: Stage) -> None:
    run = Recorder()
    for _ in range(2):
        for item in in_order([stage]):
            assert run_stage(tmp_path, item, run) == 0
    assert len(run.lines) == 3
    assert all(is_done(tmp_path, item) for item in in_order([stage]))


def test_a_change_upstream_makes_everything_below_anew(tmp_path: Path, stage: Stage) -> None:
    run = Recorder()
    for item in in_order([stage]):
        run_stage(tmp_path, item, run)
    (tmp_path / "second" / "notes.txt").write_text("mine")
    first = replace(stage.needs[0], steps=({**stage.needs[0].steps[0], "top": 5},))
    changed = replace(stage, needs=(first,))
    assert not is_done(tmp_path, changed)
    run.lines.clear()
    for item in in_order([changed]):
        run_stage(tmp_path, item, run)
    assert [line[-1] for line in run.lines] == ["pairs", "b", "c"]
    assert (tmp_path / "second" / "notes.txt").read_text() == "mine"


def test_a_call_waits_for_the_stage_that_another_is_making(tmp_path: Path, stage: Stage) -> None:
    said: list[str] = []
    inside, waiting = threading.Event(), threading.Event()

    def other() -> None:
        with stage_lock(tmp_path, stage):
            inside.set()
            waiting.wait(10)
            run_stage(tmp_path, stage, Recorder())

    def say(text: str) -> None:
        said.append(text)
        waiting.set()

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with stage_lock(tmp_path, stage, say):
        assert is_done(tmp_path, stage)
    thread.join()
    assert said == ["== second: another call is making it; waiting"]


def test_a_stage_without_its_output_is_not_done(tmp_path: Path, stage: Stage) -> None:
    run_stage(tmp_path, stage, Recorder())
    assert is_done(tmp_path, stage)
    (tmp_path / "second" / "c").rmdir()
    assert not is_done(tmp_path, stage)


def test_time_is_that_of_all_it_rests_on(tmp_path: Path, stage: Stage) -> None:
    for folder, seconds in (("first", (3.0,)), ("second", (1.0, 0.5))):
        records = {f"{folder}{place}": {"seconds": value} for place, value in enumerate(seconds)}
        (tmp_path / folder).mkdir()
        write_json(tmp_path / folder / "study.state.json", records)
    assert seconds_of(tmp_path, stage) == 4.5


def test_a_folder_keeps_its_scale_device_and_precision(tmp_path: Path) -> None:
    settled_plan(tmp_path, replace(plan(), device="cpu", precision="bf16"))
    settled = settled_plan(tmp_path, replace(plan(), workers=1))
    assert (settled.device, settled.precision, settled.workers) == ("cpu", "bf16", 1)
    with pytest.raises(InputError, match="another scale"):
        settled_plan(tmp_path, plan("cpu"))


def test_a_preset_that_has_changed_makes_its_stages_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS["amd-das"]
    before = plan().row(row, 0)
    monkeypatch.setitem(presets.ADAPTATION, "smoke", {**presets.ADAPTATION["smoke"], "lr": 0.5})
    after = plan().row(row, 0)
    assert after.key != before.key
    assert [stage.key for stage in after.needs] == [stage.key for stage in before.needs]


def test_precision_changes_what_is_made_and_workers_do_not() -> None:
    row = ROWS["amd-das"]
    assert replace(plan(), workers=5).row(row, 0).key == plan().row(row, 0).key
    assert replace(plan(), precision="bf16").row(row, 0).key != plan().row(row, 0).key
    assert all(
        step["precision"] == "bf16"
        for stage in in_order([replace(plan(), precision="bf16").row(row, 0)])
        for step in stage.steps
        if step["command"] in ("synth-train", "synthesize", "das-train")
    )


def test_own_data_need_no_phantom(tmp_path: Path) -> None:
    for name in ("mr", "ct", "scans", "truth"):
        (tmp_path / name).mkdir()
    own = own_inputs(*(tmp_path / name for name in ("mr", "ct", "scans", "truth")))
    stages = in_order([Plan(get_scale("cpu"), own).row(ROWS["amd-das"], 0)])
    commands = [step["command"] for stage in stages for step in stage.steps]
    assert commands == ["match", "match", "synth-train", "synthesize", "das-train", "segment", "evaluate"]
    assert tomllib.loads(study_text(stages[0]))["step"][0]["src"] == str(tmp_path / "mr")
    with pytest.raises(InputError, match="no such file"):
        own_inputs(tmp_path / "mr", tmp_path / "ct", tmp_path / "scans", tmp_path / "nothing")
    assert isinstance(own, Inputs)
