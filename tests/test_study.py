"""Studies: flags, skipping, resuming, stopping."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ctseg.errors import InputError
from ctseg.study import flags, read_study, run_study, step_keys

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


@pytest.mark.parametrize("name", ["sets/lr=0.1", "-a", "--b=c", "ä é"])
def test_a_step_follows_outputs_of_odd_names(tmp_path: Path, name: str) -> None:
    first = f'[[step]]\ncommand = "make"\ninput = "raw"\noutput = "{name}"\n'
    second = f'[[step]]\ncommand = "take"\n{{key}} = "{name}"\noutput = "b"\n'
    for key in ("input", "src"):
        study = write(tmp_path, first + second.format(key=key))
        plain = step_keys(read_study(study))
        changed = step_keys(read_study(write(tmp_path, study.read_text().replace('"raw"', '"other"'))))
        assert plain[1] != changed[1]


@pytest.mark.parametrize("name", ["-scans", "--scans", "--a=b", "-o"])
def test_an_input_that_begins_like_an_option_is_read(tmp_path: Path, name: str) -> None:
    study = write(tmp_path, f'[[step]]\ncommand = "take"\ninput = "{name}"\noutput = "b"\n')
    assert read_study(study).steps[0].argv == ("take", f"./{name}", "-o", "b")
    (tmp_path / name).write_text("1")
    before = step_keys(read_study(study))
    (tmp_path / name).write_text("2")
    assert step_keys(read_study(study)) != before


@pytest.mark.parametrize("name", ["-scans", "--a=b"])
def test_a_flag_s_value_that_begins_like_an_option_is_read(tmp_path: Path, name: str) -> None:
    study = write(tmp_path, f'[[step]]\ncommand = "take"\nsrc = "{name}"\noutput = "b"\n')
    (tmp_path / name).write_text("1")
    before = step_keys(read_study(study))
    (tmp_path / name).write_text("2")
    assert step_keys(read_study(study)) != before


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


SEGMENT = """
[[step]]
command = "segment"
input = "scans"
output = "masks"

[[step]]
command = "evaluate"
pred = "masks"
ref = "truth"
output = "evaluation"
"""


def test_failed_cases_are_tried_again_until_a_later_step_has_used_the_others(tmp_path: Path) -> None:
    """Where every case has failed, the next step stops the study, and the same call must get past both."""
    path, calls = write(tmp_path, SEGMENT), []
    for name in ("scans", "truth"):
        (tmp_path / name).mkdir()
    codes = [run_study(read_study(path), fake(calls, given))[-1].code for given in (
        {"segment": 1, "evaluate": 2}, {"segment": 1}, {},
    )]  # fmt: skip
    assert codes == [2, 0, 0]
    assert [call[0] for call in calls] == ["segment", "evaluate", "segment", "evaluate"]
    assert calls[2][-1] == "--resume"


def test_failed_cases_of_the_last_step_are_tried_again(tmp_path: Path) -> None:
    path, calls = write(tmp_path, SEGMENT.split("\n\n")[0]), []
    (tmp_path / "scans").mkdir()
    codes = [run_study(read_study(path), fake(calls, given))[0].code for given in ({"segment": 1}, {}, {})]
    assert codes == [1, 0, 0]
    assert [call[-1] for call in calls] == ["masks", "--resume"]


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
        ("[[step]]\ncommand='a'\n[[stpe]]\ncommand='b'", "holds 'stpe' beside its steps"),
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


# What a step reads

READING = """
[[step]]
command = "preprocess"
input = "raw"
domain = "ct"
output = "sets/a"

[[step]]
command = "match"
src = "sets/a"
tgt = "other"
output = "pairs"

[[step]]
command = "plugins"
labels = "labels.csv"
output = "alone"
"""


@pytest.fixture
def reading(tmp_path: Path) -> Path:
    """A study with two scans, a set from elsewhere, a table, and a folder that has the name of a flag's value."""
    for folder in ("raw/deep", "other", "ct"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "raw/a.nii").write_text("one")
    (tmp_path / "raw/deep/b.nii").write_text("two")
    (tmp_path / "other/x.npy").write_text("three")
    (tmp_path / "labels.csv").write_text("four")
    (tmp_path / "ct/y").write_text("five")
    write(tmp_path, READING)
    return tmp_path


def again(folder: Path) -> tuple[list[str], list[str]]:
    """The commands that ran, and why."""
    calls: list[list[str]] = []
    said: list[str] = []
    run_study(read_study(folder / "study.toml"), fake(calls), said.append)
    return [call[0] for call in calls], [line.partition("differs: ")[2] for line in said if "differs: " in line]


CHANGES = {
    "content of a scan": (lambda here: (here / "raw/a.nii").write_text("eno"), ["preprocess", "match"],
                          ["raw (a.nii changed)", "the step 'preprocess'"]),
    "a new scan": (lambda here: (here / "raw/deep/c.nii").write_text("new"), ["preprocess", "match"],
                   ["raw (deep/c.nii changed)", "the step 'preprocess'"]),
    "a scan gone": (lambda here: (here / "raw/a.nii").unlink(), ["preprocess", "match"],
                    ["raw (1 gone)", "the step 'preprocess'"]),
    "a scan with another name": (lambda here: (here / "raw/a.nii").rename(here / "raw/z.nii"), ["preprocess", "match"],
                                 ["raw (z.nii changed, 1 gone)", "the step 'preprocess'"]),
    "the set from elsewhere": (lambda here: (here / "other/x.npy").write_text("3"), ["match"],
                               ["other (x.npy changed)"]),
    "the table": (lambda here: (here / "labels.csv").write_text("4"), ["plugins"], ["labels.csv"]),
    "a folder named as a value": (lambda here: (here / "ct/y").write_text("5"), [], []),
    "notes": (lambda here: (here / "raw/README.md").write_text("n"), [], []),
    "hidden files": (lambda here: (here / "raw/.DS_Store").write_text("n"), [], []),
    "times alone": (lambda here: (here / "raw/a.nii").touch(), [], []),
    "the same content anew": (lambda here: ((here / "raw/a.nii").unlink(), (here / "raw/a.nii").write_text("one")),
                              [], []),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_step_runs_again_where_what_it_reads_has_changed(reading: Path, change: str) -> None:
    act, commands, reasons = CHANGES[change]
    assert again(reading) == (["preprocess", "match", "plugins"], [])
    assert again(reading) == ([], [])
    act(reading)
    assert again(reading) == (commands, reasons)
    assert again(reading) == ([], [])


def test_unchanged_inputs_are_not_read_again(reading: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctseg.study_inputs

    read: list[str] = []
    whole = ctseg.study_inputs._read
    monkeypatch.setattr("ctseg.study_inputs._read", lambda path, state: (read.append(path.name), whole(path, state))[1])
    again(reading)
    assert sorted(read) == ["a.nii", "b.nii", "labels.csv", "x.npy"]
    again(reading)
    assert len(read) == 4
    (reading / "raw/a.nii").touch()
    again(reading)
    again(reading)
    assert read[4:] == ["a.nii"], "a touched file is read once"


def test_the_memory_holds_no_file_names(reading: Path) -> None:
    (reading / "raw/Doe^Jane.dcm").write_text("x")
    again(reading)
    assert "Doe" not in (reading / "study.state.json").read_text()
    (reading / "raw/Doe^Jane.dcm").write_text("y")
    assert again(reading)[1][0] == "raw (Doe^Jane.dcm changed)", "the file is named while it is there"


def test_lists_and_globs_of_scans_are_looked_at(tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii"):
        (tmp_path / name).write_text(name)
    (tmp_path / "list.txt").write_bytes("a.nii\r\n".encode("utf-16"))
    step = '[[step]]\ncommand = "segment"\ninput = ["list.txt", "b*.nii"]\noutput = "masks"\n'
    write(tmp_path, step)
    assert again(tmp_path)[0] == ["segment"]
    for name in ("a.nii", "b.nii"):
        (tmp_path / name).write_text("new")
        assert again(tmp_path) == (["segment"], [name])
    (tmp_path / "b2.nii").write_text("x")
    assert again(tmp_path)[0] == ["segment"], "another file fits the pattern"


def test_a_memory_without_inputs_is_believed(reading: Path) -> None:
    """Records of an earlier version: nothing is run again for want of what they do not say."""
    import json
    import re

    again(reading)
    state = json.loads((reading / "study.state.json").read_text())
    plain = _plain_keys(reading)
    state = {name: {"key": plain[name], "done": True, "seconds": 1.0, "code": 0} for name in state}
    (reading / "study.state.json").write_text(json.dumps(state))
    assert again(reading) == ([], [])
    write(reading, READING.replace('domain = "ct"', 'domain = "mr"'))
    assert again(reading)[0] == ["preprocess", "match"]
    assert not re.search("differs", str(again(reading)))


def _plain_keys(folder: Path) -> dict[str, str]:
    from contextlib import chdir

    from ctseg.study_keys import step_key

    study = read_study(folder / "study.toml")
    keys: list = []
    with chdir(folder):
        for row in range(len(study.steps)):
            keys.append(step_key(study.steps, row, keys, {}))
    return {step.name: key.plain for step, key in zip(study.steps, keys, strict=True)}


def test_a_study_within_a_study_is_always_asked(tmp_path: Path) -> None:
    write(tmp_path, '[[step]]\ncommand = "run"\ninput = "inner.toml"\n')
    (tmp_path / "inner.toml").write_text('[[step]]\ncommand = "plugins"\n')
    study, calls = read_study(tmp_path / "study.toml"), list[list[str]]()
    for _ in range(2):
        run_study(study, lambda argv: calls.append(argv) or 0)
    assert calls == [["run", "inner.toml"]] * 2


@pytest.mark.parametrize(
    "inputs", [5, [], {"raw": 5}, {"raw": {"digest": 1}}, {"raw": {"digest": "a", "looks": "b", "files": {"x": [1]}}}]
)
def test_a_spoilt_memory_of_inputs_runs_the_step_again_or_skips_it(reading: Path, inputs: object) -> None:
    import json

    again(reading)
    state = json.loads((reading / "study.state.json").read_text())
    state["preprocess"] |= {"inputs": inputs, "feeds": inputs}
    (reading / "study.state.json").write_text(json.dumps(state))
    assert again(reading)[0] == [], "the key alone decides"
