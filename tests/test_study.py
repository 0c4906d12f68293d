"""Studies: flags, skipping, resuming, stopping."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ctseg.errors import InputError
from ctseg.study import flags, read_study, run_study

STUDY = """
[[step]]
command = "make"
input = "raw"
output = "a"

[[step]]
command = "das-train"
src = "a"
output = "runs/b"
set = { epochs = 3, name = "x" }
"""


def write(tmp_path: Path, text: str = STUDY) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def fake(calls: list[list[str]], codes: dict[str, int] | None = None):
    def execute(argv: list[str]) -> int:
        calls.append(argv)
        output = Path(argv[argv.index("-o") + 1])
        output.mkdir(parents=True, exist_ok=True)
        return (codes or {}).get(argv[0], 0)

    return execute


def test_a_step_is_its_command_line(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    assert study.steps[0].line == "ctseg make raw -o a"
    assert study.steps[1].line == "ctseg das-train --src a --set epochs=3 --set name=x -o runs/b"
    assert flags("overwrite", True) == ["--overwrite"]
    assert flags("overwrite", False) == []
    assert flags("model", ["a", "b"]) == ["--model", "a", "--model", "b"]
    assert flags("set", {"betas": [0.5, 0.9], "skip": True}) == ["--set", "betas=[0.5, 0.9]", "--set", "skip=true"]


def test_finished_steps_are_skipped_and_changed_ones_run_again_with_what_follows(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    run_study(read_study(write(tmp_path)), fake(calls))
    assert len(calls) == 2
    assert [item.skipped for item in run_study(read_study(write(tmp_path)), fake(calls))] == [True, True]
    assert len(calls) == 2
    run_study(read_study(write(tmp_path, STUDY.replace("raw", "other"))), fake(calls))
    assert [call[0] for call in calls[2:]] == ["make", "das-train"]
    assert all("--overwrite" in call for call in calls[2:])


def test_a_finished_step_stays_done_with_other_workers(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    for workers in (0, 4):
        study = read_study(write(tmp_path, STUDY.replace('src = "a"', f'src = "a"\nworkers = {workers}')))
        run_study(study, fake(calls))
    assert [call[0] for call in calls] == ["make", "das-train"]


def test_an_interrupted_training_is_resumed(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    results = run_study(read_study(write(tmp_path)), fake(calls, {"das-train": 130}))
    assert results[-1].code == 130
    run_study(read_study(write(tmp_path)), fake(calls))
    assert [call[0] for call in calls] == ["make", "das-train", "das-train"]
    assert calls[-1][-1] == "--resume"


def test_the_time_of_a_resumed_step_is_that_of_all_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 100.0, 130.0, 200.0, 202.0])
    monkeypatch.setattr("ctseg.study.time", SimpleNamespace(monotonic=lambda: next(clock)))
    run_study(read_study(write(tmp_path)), fake([], {"das-train": 130}))
    results = run_study(read_study(write(tmp_path)), fake([]))
    assert [item.seconds for item in results] == [0.0, 32.0]


def test_a_failing_step_stops_the_study_but_failed_cases_do_not(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    results = run_study(read_study(write(tmp_path)), fake(calls, {"make": 2}))
    assert [item.code for item in results] == [2]
    results = run_study(read_study(write(tmp_path)), fake(calls, {"make": 1}))
    assert [item.code for item in results] == [1, 0]


def test_a_foreign_output_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    calls: list[list[str]] = []
    run_study(read_study(write(tmp_path)), fake(calls))
    assert calls[0] == ["make", "raw", "-o", "a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no"),
        ("[[step]]\noutput='a'", "step 1 has no command"),
        ("[[step]]\ncommand='a'\n[[step]]\ncommand='a'", "two steps are called 'a'"),
        ("[[step", "not a TOML file"),
    ],
)
def test_a_broken_study_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_study(write(tmp_path, text))


def test_a_step_killed_between_two_moves_finds_its_output_again(tmp_path: Path) -> None:
    from ctseg.outputs import new_folder

    (tmp_path / "study.toml").write_text('[[step]]\ncommand = "phantom"\noutput = "set"\n')
    study, calls = read_study(tmp_path / "study.toml"), list[list[str]]()

    def execute(argv: list[str]) -> int:
        calls.append(argv)
        with new_folder(Path("set"), overwrite="--overwrite" in argv, kind="phantom") as made:
            (made / "a").write_text(str(len(calls)))
        if len(calls) == 1:
            Path("set").rename(".replaced-set-0a1b2c3d")  # as a kill leaves it
            return 2
        return 0

    said: list[str] = []
    assert run_study(study, execute)[0].code == 2
    assert run_study(study, execute, said.append)[0].code == 0
    assert calls[1][-1] == "--overwrite"
    assert any(line.startswith("restored") for line in said)
    assert (tmp_path / "set" / "a").read_text() == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "study.state.json", "study.toml"]
