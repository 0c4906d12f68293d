from __future__ import annotations

import ast
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import active_children, current_process, get_context
from pathlib import Path

import pytest
from killed_worker import Unpacked, ask, slowly, triple_or_die, triple_or_end, where

from ctseg.deaths import death
from ctseg.errors import CaseError, InputError
from ctseg.parallel import Failure, attempt, failure, ordered_map, worker_pool

PARENT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from ctseg.parallel import worker_pool

if __name__ == "__main__":
    pool = worker_pool(2)
    print(*{pool.submit(os.getpid).result() for _ in range(20)} | set(pool._processes), flush=True)
    pool.submit(time.sleep, 300)
    time.sleep(300)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = str(Path(__file__).parents[1])
    with subprocess.Popen([sys.executable, str(script), root], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        assert all(map(is_running, pids))
        parent.kill()
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, pids))


def test_workers_work() -> None:
    with worker_pool(1) as pool:
        assert pool.submit(os.getppid).result() == os.getpid()


def test_expected_errors_are_one_line_and_others_keep_their_traceback() -> None:
    assert failure(CaseError("case: broken;\n copy it")) == Failure("case: broken; copy it")
    found = attempt(triple_or_die, 0)
    assert isinstance(found, Failure)
    assert found.error.startswith("ZeroDivisionError: integer division")
    assert "killed_worker.py" in found.traceback


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_and_failures_come_in_order(workers: int) -> None:
    outcomes = list(ordered_map(triple_or_die, [5, 0, 3, 4], workers=workers))
    assert [item for item, _ in outcomes] == [5, 0, 3, 4]
    assert [outcome for item, outcome in outcomes if item] == [15, 9, 12]
    assert isinstance(outcomes[1][1], Failure)
    assert "1 // number" in outcomes[1][1].traceback  # the worker's own, not that of the future


@pytest.mark.slow
def test_workers_that_share_their_imports_see_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTSEG_TODAY", raising=False)
    asked = [("CTSEG_TODAY", "none")]
    assert [found for _, found in ordered_map(ask, asked, workers=1, modules=("json",))] == ["none"]
    monkeypatch.setenv("CTSEG_TODAY", "Thursday")
    assert [found for _, found in ordered_map(ask, asked, workers=1, modules=("json",))] == ["Thursday"]


@pytest.mark.slow
def test_what_workers_begin_with_and_what_follows_when_they_end() -> None:
    ended: list[int] = []
    start = partial(os.putenv, "CTSEG_BEGUN", "yes")
    more = {"start": start, "ended": lambda: ended.append(1), "modules": ("json",)}
    assert [found for _, found in ordered_map(triple_or_die, [1, 2], workers=1, **more)] == [3, 6]
    assert not ended
    outcomes = [found for _, found in ordered_map(triple_or_die, [1, -1, 2], workers=2, **more)]
    assert outcomes[0] == 3
    assert "SIGKILL" in outcomes[1].error
    assert outcomes[2] == 6
    assert ended
    ended.clear()
    for _ in ordered_map(triple_or_die, [1, 2, 3], workers=2, **more):
        break
    assert ended


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("items", [[-1, 1, 2, 3, 4, 5], [1, 2, -1, 3, 4, -1, 5], [1, -1]])
def test_a_killed_worker_costs_one_item(items: list[int], workers: int) -> None:
    outcomes = list(ordered_map(triple_or_die, items, workers=workers))
    assert [item for item, _ in outcomes] == items
    assert [outcome for _, outcome in outcomes] == [Failure(death(-9)) if n == -1 else 3 * n for n in items]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "words"), [(-11, "crashed.*SIGSEGV.*not memory"), (-3, "exit code 3.*--workers 0")])
def test_a_dead_worker_says_what_ended_it(number: int, words: str) -> None:
    (_, before), (_, lost), (_, after) = ordered_map(triple_or_end, [1, number, 2], workers=2)
    assert (before, after) == (3, 6)
    assert isinstance(lost, Failure)
    assert re.search(words, lost.error)


def test_every_way_to_die_is_told_apart() -> None:
    words = {None: "out of memory, stopped from outside or crashed", -9: "lack of memory", -15: "stopped from outside"}
    for code, text in words.items():
        assert text in death(code)
    assert "signal 99" in death(-99)


@pytest.mark.slow
def test_an_executor_from_outside_that_is_lost_costs_one_item() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        outcomes = list(ordered_map(triple_or_die, [1, -1, 2, 3], workers=2, executor=executor))
    assert [outcome for _, outcome in outcomes] == [3, Failure(death(-9)), 6, 9]


class KilledWorker(Exception):
    """What Dask raises, by this name."""


class _Cluster(Executor):
    """Goes on when a worker is killed, as Dask does, and only the future of the guilty item says so."""

    def submit(self, function, /, *args, **kwargs):
        future: Future = Future()
        if args and pickle.loads(args[-1])[1] == -1:  # noqa: S301
            future.set_exception(KilledWorker("task", "worker"))
        else:
            future.set_result(function(*args, **kwargs))
        return future


def test_a_cluster_that_gives_an_item_up_costs_that_item() -> None:
    outcomes = list(ordered_map(triple_or_die, [1, -1, 2], workers=1, executor=_Cluster()))
    assert [outcome for _, outcome in outcomes] == [3, Failure(death(None)), 6]


@pytest.mark.parametrize(("look_ahead", "workers", "most"), [(None, 3, 6), (2, 3, 2), (None, 1, 2)])
def test_items_are_taken_as_results_are_taken(look_ahead: int | None, workers: int, most: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1, 21):
            taken = number
            yield number

    with ThreadPoolExecutor(workers) as executor:
        results = ordered_map(triple_or_die, items(), workers=workers, executor=executor, look_ahead=look_ahead)
        for done, (item, outcome) in enumerate(results, start=1):
            assert (item, outcome) == (done, 3 * done)
            assert taken <= done + most
    assert taken == 20


def test_what_cannot_be_sent_to_a_worker_is_a_failure() -> None:
    ((_, outcome),) = ordered_map(lambda number: number, [1], workers=1)
    assert isinstance(outcome, Failure)
    assert outcome.error.startswith("cannot be sent to a worker process (AttributeError: Can't pickle local object")
    assert outcome.error.endswith("; use --workers 0")


@pytest.mark.parametrize(
    ("how", "words"),
    [("raise", "ValueError: no licence here"), ("exit", "SystemExit: 0"), ("interrupt", "KeyboardInterrupt")],
)
def test_what_a_worker_cannot_unpack_is_one_line_with_its_place(how: str, words: str) -> None:
    outcomes = [found for _, found in ordered_map(where, [Unpacked(how), "a"], workers=1)]
    place = r"\(tests/killed_worker\.py:\d+\)"
    assert re.fullmatch(f"a worker process cannot unpack the work: {words} {place}", outcomes[0].error)
    assert outcomes[1] == f"a {Path.cwd()}"


def test_a_daemon_process_that_may_have_no_workers_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="^workers: a daemon process.*; give workers=0$"):
        list(ordered_map(where, ["a"], workers=1))


def test_what_is_unpacked_in_a_worker_reaches_no_results(capfd: pytest.CaptureFixture[str]) -> None:
    assert [found for _, found in ordered_map(where, [Unpacked("loud")], workers=1)] == [f"loud {Path.cwd()}"]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "unpackedunpacked")


@pytest.mark.slow
def test_workers_have_ended_before_an_error_of_the_caller_is_handled() -> None:
    with pytest.raises(LookupError) as caught, closing(ordered_map(slowly, range(9), workers=2)) as outcomes:
        for _ in outcomes:
            raise LookupError
    assert caught.value.__traceback__ is not None
    assert not active_children()


CODE = sorted(path for part in ("ctseg", "plugins") for path in (Path(__file__).parents[1] / part).rglob("*.py"))
WRAPPERS = {"ordered_map", "outcomes_of", "prefetch_prepared", "_read_headers"}
"""What hands on results of workers as they come."""


def names_called(node: ast.AST) -> set[str]:
    return {call.func.id for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}


def closed(node: ast.With) -> Iterator[ast.AST]:
    """What `with closing(...)` closes: calls, and the names of generators."""
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "closing":
            yield call.args[0]


def left_open(tree: ast.Module) -> list[int]:
    """Lines that take results of workers without closing them at once.

    Allowed are `with closing(call())`, `return call()` for another to close, `name = call()` where the same function
    has `with closing(name)`, and an unpacking, which takes all there is.
    """
    allowed: set[ast.AST] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        shut = [thing for node in ast.walk(function) if isinstance(node, ast.With) for thing in closed(node)]
        names = {thing.id for thing in shut if isinstance(thing, ast.Name)}
        allowed |= set(shut)
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                allowed.add(node.value)
            if isinstance(node, ast.Assign):
                target = node.targets[0]
                if isinstance(target, ast.Tuple) or (isinstance(target, ast.Name) and target.id in names):
                    allowed.add(node.value)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [call.lineno for call in calls if call.func.id in WRAPPERS and call not in allowed]  # type: ignore[attr-defined]


def test_every_caller_closes_what_it_takes() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in CODE}
    users = [path for path, tree in trees.items() if names_called(tree) & WRAPPERS]
    assert len(users) > 8
    assert not {str(path): lines for path in users if (lines := left_open(trees[path]))}
    assert left_open(ast.parse("def f():\n    for _, x in ordered_map(abs, [1], workers=2):\n        print(x)")) == [2]
