"""A study is checked whole before its first step: nothing runs where a later step cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ctseg.cli import common
from ctseg.cli.demo_study import demo_steps, study_text
from ctseg.cli.main import main
from ctseg.cli.study_check import MADE, WANTED, check_study
from ctseg.outputs import new_folder
from ctseg.study import read_study, step_keys

SETS = {"src": "sets/mr", "tgt": "sets/ct"}
RAW = [
    {"command": "preprocess", "name": "mr", "input": "raw", "output": "sets/mr"},
    {"command": "preprocess", "name": "ct", "input": "raw", "output": "sets/ct"},
]


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "STATE", common.State(outside_plugins=False))
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()


def write(*steps: dict[str, Any]) -> Path:
    Path("study.toml").write_text(study_text(steps))
    return Path("study.toml")


def faults(*steps: dict[str, Any]) -> list[str]:
    return check_study(read_study(write(*RAW, *steps)))


def match(**more: Any) -> dict[str, Any]:
    return {"command": "match", **SETS, "output": "pairs.csv", **more}


def das(**more: Any) -> dict[str, Any]:
    return {"command": "das-train", **SETS, "output": "run", "set": {"matched": False}, **more}


@pytest.mark.parametrize("full", [False, True])
def test_the_demo_has_no_fault(full: bool) -> None:
    assert check_study(read_study(write(*demo_steps(full=full)))) == []


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (match(toop=3), "--toop"),
        (match(direction="up"), "'up' is not one of 'source', 'target'"),
        (match(top="many"), "'--top'"),
        (match(similarity="ammd"), "did you mean 'amd'"),
        (match(set={"lambda_hem": 3}), "did you mean 'lambda_ham'"),
        (
            match(tgt="sets/ctt"),
            "--tgt sets/ctt: no such file or folder, and no earlier step makes it (did you mean se",
        ),
        (das(preset="papr"), "did you mean 'paper'"),
        (das(set={"lr": -1, "matched": False}), "lr=-1"),
        (das(set={"ema_decay": 0.5, "matched": False}), "has no effect with lambda_consistency=0"),
        (das(set={}), "no --pairs given"),
        (das(segmenter="unett"), "did you mean 'unet'"),
        (das(device="gpu"), "--device gpu: unknown"),
        (das(precision="16"), "--precision 16: unknown"),
        ({"command": "das-train", "src": "sets/mr", "output": "run"}, "Missing option '--tgt'"),
        ({"command": "preprocess", "input": "raw", "output": "a", "split": "0.5"}, "sum to 1"),
        ({"command": "preprocess", "input": "raw", "output": "a", "domain": "pet"}, "'pet' is not one of"),
        ({"command": "preprocess", "input": "-", "output": "a"}, "has no stdin"),
        ({"command": "preprocess", "input": "raw/*.nii", "output": "a"}, "input raw/*.nii: no such file"),
        ({"command": "segment", "input": "raw", "model": "sets/mr", "output": "a"}, "makes a slice set of it"),
        ({"command": "segment", "input": "raw", "model": "sets/mr", "output": "a", "threshold": 2}, "threshold=2"),
        ({"command": "evaluate", "pred": "raw", "ref": "raw", "output": "a", "set": {"levl": 1}}, "mean 'level'"),
        ({"command": "finetune", "data": "sets/ct", "output": "a", "set": {"copy_paste": 1}}, "das-train alone"),
        ({"command": "phantom", "output": "a", "set": {"mr_matrix": 1}}, "mr_matrix=1"),
        ({"command": "plugins chek amd"}, "No such command 'chek'"),
        ({"command": "mach", "output": "a"}, "No such command 'mach'. Did you mean 'match'"),
    ],
)
def test_a_fault_of_a_later_step_is_known_before_the_first(step: dict[str, Any], words: str) -> None:
    found = faults(step)
    assert any(words in fault for fault in found), found
    assert all(fault.startswith(f"step {step['command']!r}") for fault in found)


def test_files_that_earlier_steps_make_are_there_and_those_of_later_ones_are_not() -> None:
    last = {"command": "preprocess", "name": "last", "input": "raw", "output": "late"}
    assert faults(match(), das(set={}, pairs="pairs.csv"), last)[0].endswith(
        "add direction = 'target' to a step for it"
    )
    assert faults(match(direction="target"), das(set={}, pairs="pairs.csv")) == []
    assert faults(match(src="late/deep"), last) == [
        "step 'match': --src late/deep: is made by step 'last', which does not come before; change the order"
    ]


def test_what_a_step_would_overwrite_is_a_fault_unless_the_study_wrote_it() -> None:
    with new_folder(Path("sets/mr"), kind="preprocess") as folder:
        (folder / "a").touch()
    assert faults() == ["step 'mr': would be refused: sets/mr exists and this study did not write it"]
    key = step_keys(read_study(Path("study.toml")))[0]
    Path("study.state.json").write_text(json.dumps({"mr": {"key": key, "done": False}}))
    assert len(faults()) == 1  # its mark says that a call by hand wrote it


def test_nothing_runs_where_a_step_is_at_fault(capsys: pytest.CaptureFixture[str]) -> None:
    write(*RAW, match(toop=3), das(preset="papr"))
    assert main(["run", "study.toml"]) == 2
    err = capsys.readouterr().err
    assert re.search("step 'match': No such option:? '?--toop", err)  # as this version of click says it
    assert "(2 faults; `ctseg run study.toml --dry-run` lists them); nothing was run" in err
    assert sorted(path.name for path in Path().iterdir()) == ["raw", "study.toml"]


def test_a_dry_run_shows_what_each_step_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    write(*RAW, match())
    assert main(["run", "study.toml", "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in shown["steps"]] == ["runs", "runs", "runs"]
    assert shown["faults"] == []
    write(*RAW, match(toop=3))
    assert main(["run", "study.toml", "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert "[3/3] match: runs\n    ctseg match --src sets/mr --tgt sets/ct --toop 3 -o pairs.csv" in out
    assert re.search("step 'match': No such option:? '?--toop", err)  # as this version of click says it
    assert sorted(path.name for path in Path().iterdir()) == ["raw", "study.toml"]


def test_kinds_are_those_of_commands_with_outputs() -> None:
    assert {kind for kinds in WANTED.values() for kind in kinds} <= set(MADE.values())
    assert {command for command, _ in WANTED} <= set(MADE)


@pytest.mark.parametrize(
    "command", ["--install-completion", "--show-completion bash", "--version", "match --help", "-q"]
)
def test_options_in_place_of_a_command_are_not_carried_out(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    write({"command": command})
    for more in ([], ["--dry-run"]):
        assert main(["run", "study.toml", *more]) == 2
        assert "its command holds the option -" in capsys.readouterr().err
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("seconds", ["inf", "nan", "-1", '"x"'])
def test_an_expected_time_is_a_number_of_seconds(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("study.toml").write_text(f'[[step]]\ncommand = "plugins"\nexpect_s = {seconds}\n')
    assert main(["run", "study.toml"]) == 2
    assert "expected a number of seconds" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["study.state.json", "study.toml", "./x/../study.state.json"])
def test_no_step_writes_over_the_study_or_its_memory(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    write({"command": "match", "output": output, "src": "raw", "tgt": "raw"})
    assert main(["run", "study.toml"]) == 2
    assert "would write over the study or its memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "key", ["a" + ".a" * 60_000, "a" + ' . "b c"' * 60, "[" + "x." * 70 + "x]\ny", "'a'" + ".'é'" * 99]
)
def test_keys_of_many_parts_are_refused_before_they_cost_memory(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("study.toml").write_text(f"{key} = 1\n", encoding="utf-8")
    assert main(["run", "study.toml"]) == 2
    assert "keys of 50 parts or more" in capsys.readouterr().err
    names = ", ".join(f'"{"1." * 60}{place}"' for place in range(3))
    Path("study.toml").write_text(f"x = [{names}, {', '.join(['0.5'] * 90)}]\n", encoding="utf-8")
    assert main(["run", "study.toml"]) == 2
    assert "holds no [[step]]" in capsys.readouterr().err
