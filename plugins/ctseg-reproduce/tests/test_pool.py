from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ctseg_reproduce.pool import DIED, KILLED, LOGS, Schedule, run_pool
from ctseg_reproduce.stages import Stage, failure_of, is_done, run_stage

from ctseg.cli.ending import complain
from ctseg.cli.main import main
from ctseg.io.slices import SliceSet
from ctseg.outputs import read_mark


def shuffle(folder: str, source: str, *needs: Stage, seed: int = 0) -> Stage:
    """A stage of one short command."""
    step = {"name": "shuffle", "command": "shuffle-labels", "src": source, "output": "set", "seed": seed}
    return Stage(folder, (step,), needs)


@pytest.fixture
def chain(tmp_path: Path, make_slices: Callable[..., SliceSet]) -> list[Stage]:
    """First, a second that reads what the first wrote, one that fails, and one that rests on it."""
    make_slices(tmp_path / "mr", "mr", 3, 2, labelled=True)
    first = shuffle("a/seed-0", "../../mr")
    second = shuffle("b/seed-0", "../../a/seed-0/set", first, seed=1)
    failing = shuffle("c/seed-0", "../../nowhere")
    return [first, second, failing, shuffle("d/seed-0", "../../c/seed-0/set", failing)]


def test_a_stage_starts_only_when_all_it_needs_is_done(tmp_path: Path, chain: list[Stage]) -> None:
    schedule = Schedule.of(tmp_path, [chain[1], chain[3]])
    taken = [schedule.take(), schedule.take()]
    assert [item.folder for item in taken if item] == ["a/seed-0", "c/seed-0"]
    assert schedule.take() is None
    schedule.end("a/seed-0", 0)
    assert schedule.take() == chain[1]
    schedule.end("c/seed-0", 2)
    assert schedule.take() is None
    assert schedule.broken == {"c/seed-0": 2, "d/seed-0": 2}
    assert not schedule.waiting


def test_the_most_wanted_comes_first(tmp_path: Path, chain: list[Stage]) -> None:
    later = replace(chain[0], folder="z/seed-0")
    schedule = Schedule.of(tmp_path, [later, chain[0]])
    assert [schedule.take(), schedule.take()] == [later, chain[0]]


@pytest.mark.slow
def test_stages_are_made_at_once_and_a_second_call_has_nothing_to_do(tmp_path: Path, chain: list[Stage]) -> None:
    said: list[str] = []
    assert run_pool(tmp_path, chain, jobs=2, say=said.append) == {"c/seed-0": 2, "d/seed-0": 2}
    assert [is_done(tmp_path, stage) for stage in chain] == [True, True, False, False]
    assert len(said) == 3
    log = "".join(path.read_text() for path in (tmp_path / LOGS).iterdir())
    assert "nowhere" in log
    assert "nowhere" in failure_of(tmp_path, chain[3])
    again: list[str] = []
    assert run_pool(tmp_path, chain[:2], jobs=2, say=again.append) == {}
    assert again == []


@pytest.mark.slow
def test_the_bytes_are_those_of_one_stage_after_the_other(
    tmp_path: Path, chain: list[Stage], make_slices: Callable[..., SliceSet]
) -> None:
    run_pool(tmp_path, chain[:2], jobs=2)
    other = tmp_path / "other"
    make_slices(other / "mr", "mr", 3, 2, labelled=True)
    from ctseg.cli.run import execute

    for stage in chain[:2]:
        run_stage(other, stage, execute)
    name = "b/seed-0/set/masks.npy"
    assert (tmp_path / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.slow
def test_a_process_that_dies_costs_its_stage_alone(tmp_path: Path, chain: list[Stage]) -> None:
    import ctseg_reproduce.pool as pool

    start, killed = pool._start, []

    def start_and_kill_first(root: Path, number: int) -> pool.Worker:
        worker = start(root, number)
        if not killed:
            killed.append(worker.process.pid)
            worker.process.kill()
        return worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_start", start_and_kill_first)
        broken = run_pool(tmp_path, [chain[0], replace(chain[0], folder="e/seed-0")], jobs=1)
    assert broken in ({}, {"a/seed-0": KILLED})
    assert failure_of(tmp_path, chain[0]) == (f"a/seed-0 {DIED}" if broken else "")
    assert is_done(tmp_path, replace(chain[0], folder="e/seed-0"))


def test_why_a_stage_failed_is_stored_and_that_of_what_rests_on_it(tmp_path: Path, chain: list[Stage]) -> None:
    from ctseg.cli.run import execute

    assert failure_of(tmp_path, chain[3]) == ""
    assert run_stage(tmp_path, chain[2], execute) == 2
    text = failure_of(tmp_path, chain[3])
    assert text.startswith("c/seed-0 ended with 2: ")
    assert "nowhere" in text
    assert "\n" not in text
    assert failure_of(tmp_path, replace(chain[2], preset_digest="other")) == ""
    (tmp_path / "nowhere").symlink_to(tmp_path / "mr")
    assert run_stage(tmp_path, chain[2], execute) == 0
    assert failure_of(tmp_path, chain[3]) == ""


@pytest.mark.parametrize("code", [130, 143, 1, 0])
def test_an_interrupted_stage_or_one_with_bad_cases_has_not_failed(
    tmp_path: Path, chain: list[Stage], code: int
) -> None:
    assert run_stage(tmp_path, chain[0], lambda _: code) == code
    assert failure_of(tmp_path, chain[0]) == ""


def test_the_line_of_an_earlier_command_is_not_taken_for_the_reason(tmp_path: Path, chain: list[Stage]) -> None:
    complain("of another call", 2)
    assert run_stage(tmp_path, chain[0], lambda _: 3) == 3
    assert failure_of(tmp_path, chain[0]) == "a/seed-0 ended with 3"


def sessions(number: int) -> list[int]:
    """Processes of a session that are no zombies."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                state, _, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            found += [int(place.name)] if int(session) == number and state != "Z" else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_the_processes_and_what_they_write(cohort: Path, tmp_path: Path, number: int, code: int) -> None:
    """Sent to all as a terminal does with Ctrl-C, to the call alone otherwise."""
    flags = {"--src": "mr", "--tgt": "ct", "--test": "scans", "--truth": "truth"}
    data = [word for flag, name in flags.items() for word in (flag, str(cohort / name))]
    argv = ["-q", "reproduce", "table3", "--rows", "das", "--seeds", "2", "--jobs", "2", "--scale", "smoke", *data]
    command = [sys.executable, "-m", "ctseg", *argv, "--device", "cpu", "-o", str(tmp_path / "out")]
    call = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "out").glob("rows/das/seed-*/run/config.toml")) and time.monotonic() < deadline:
        assert call.poll() is None, call.communicate()
        time.sleep(0.1)
    os.killpg(call.pid, number) if number == signal.SIGINT else os.kill(call.pid, number)
    err = call.communicate(timeout=120)[1]
    for _ in range(300):
        if not sessions(call.pid):
            break
        time.sleep(0.1)
    assert sessions(call.pid) == []
    assert call.returncode == code, err
    if code > 0:
        assert len(err.splitlines()) == 1, err
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".partial-", ".ctseg-lock-"))]
    logs = "".join(path.read_text() for path in (tmp_path / "out" / LOGS).iterdir())
    assert "Traceback" not in logs
    mark = read_mark(tmp_path / "out")
    assert mark is not None
    assert not mark.finished
    if number == signal.SIGTERM:
        assert main([*argv, "--device", "cpu", "-o", str(tmp_path / "out")]) == 0
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith((".partial-", ".ctseg-lock-"))]
        assert getattr(read_mark(tmp_path / "out"), "finished", False)
