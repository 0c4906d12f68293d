"""What ends a training of several processes is said once, by the one that knows; with `--devices`, by the parent."""

from __future__ import annotations

from pathlib import Path

import pytest
import training_pair

from ctseg.cli import common, processes
from ctseg.cli.main import main
from ctseg.cli.processes import UNSAID, launch
from ctseg.errors import TrainingError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 2.0)
    monkeypatch.setattr(processes, "member", training_pair.no_training)


def ending(run: Path, *words: str | int, machines: int = 1) -> str:
    with pytest.raises(TrainingError) as error:
        launch([str(word) for word in words], len(words), machines, run)
    return str(error.value)


def test_a_process_that_does_not_go_on_is_named_and_ended(tmp_path: Path) -> None:
    text = ending(tmp_path, UNSAID, "stops")
    assert text.startswith("process 2 of 2 does not go on: it was stopped, or waits for a disk or a device; ")


def test_a_process_that_was_asked_to_end_is_named(tmp_path: Path) -> None:
    assert ending(tmp_path, UNSAID, 143).startswith("process 2 of 2 was ended by SIGTERM; ")


def test_a_process_of_another_machine_that_is_lost_is_said_on_this_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert ending(tmp_path, UNSAID, machines=2).startswith("a process on another machine was lost; ")


def test_what_a_process_has_said_is_not_said_again(tmp_path: Path) -> None:
    assert launch(["2", str(UNSAID)], 2, 1, tmp_path) == 2
    assert launch(["2", "stops"], 2, 1, tmp_path) == 2
    assert launch(["0", "0"], 2, 1, tmp_path) == 0


@pytest.mark.parametrize(("said", "code"), [("", UNSAID), ("no room", 2)])
def test_a_process_that_ends_without_a_word_tells_its_parent(
    monkeypatch: pytest.MonkeyPatch, said: str, code: int
) -> None:

    def ends(argv: list[str]) -> int:
        common.STATE.error = said
        return 2

    monkeypatch.undo()
    monkeypatch.setattr("ctseg.cli.main.main", ends)
    monkeypatch.setattr(common, "STATE", common.State())
    monkeypatch.setattr("ctseg.parallel.watch_parent", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        processes.member([], {}, "", True)
    assert ended.value.code == code


def test_finetune_refuses_a_launcher_of_several_processes_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--data", str(tmp_path / "ct"), "-o", str(tmp_path / "run")]
    for rank, text in (
        ("0", "ctseg: error: finetune trains in one process, and the launcher started 2; start one\n"),
        ("1", ""),
    ):
        for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        assert main(words) == 2
        assert capsys.readouterr().err == text
    assert not (tmp_path / "run").exists()
