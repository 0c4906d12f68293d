"""A result of a Dask cluster that never comes: the client behind the executor says that nothing is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from ctseg import scheduler
from ctseg.errors import ClusterError
from ctseg.parallel import Failure, ordered_map
from ctseg.scheduler import is_lost, result_of, width


class Cluster(Executor):
    """An executor with a client, as Dask's has; its futures are done when the test says so."""

    def __init__(self, status: str = "running", futures: dict[str, Any] | None = None) -> None:
        self._client = SimpleNamespace(status=status, futures=futures or {}, nthreads=lambda: {"a": 2, "b": 1})
        self.made: list[Future[Any]] = []

    def submit(self, work: Callable[..., Any], /, *words: Any, **named: Any) -> Future[Any]:
        self.made.append(Future())
        return self.made[-1]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.02)


@pytest.mark.parametrize("cluster", [Cluster("closed", {"key": 1}), Cluster("closed"), Cluster("running")])
def test_a_future_that_nobody_will_finish_ends_the_call(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="the scheduler is gone; start it and call again"):
        list(ordered_map(abs, [-1, -2], workers=1, executor=cluster))


def test_work_under_way_is_waited_for() -> None:
    cluster, future = Cluster("running", {"key": 1}), Future[int]()
    timer = threading.Timer(0.02 * scheduler.LOOKS * 4, future.set_result, [7])
    timer.start()
    assert result_of(future, cluster) == 7


def test_a_result_in_time_is_taken_from_a_closed_client() -> None:
    future = Future[int]()
    future.set_result(7)
    assert result_of(future, Cluster("closed")) == 7


def test_an_error_of_the_work_is_no_wait() -> None:
    future = Future[int]()
    future.set_exception(TimeoutError("the work's own"))
    with pytest.raises(TimeoutError, match="the work's own"):
        result_of(future, Cluster("running", {"key": 1}))
    cluster = Cluster("running", {"key": 1})
    results = ordered_map(abs, [-1], workers=1, executor=cluster)
    threading.Timer(0.1, lambda: cluster.made[0].set_exception(TimeoutError("slow disk"))).start()
    ((_, outcome),) = results
    assert isinstance(outcome, Failure)
    assert "slow disk" in outcome.error


def test_a_cancelled_future_is_a_lost_scheduler() -> None:
    cluster = Cluster("running", {"key": 1})
    threading.Timer(0.1, lambda: cluster.made[0].cancel()).start()
    with pytest.raises(ClusterError, match="the scheduler is gone"):
        list(ordered_map(abs, [-1], workers=1, executor=cluster))
    assert is_lost(CancelledError())
    assert not is_lost(OSError())


def test_other_executors_have_no_client_to_look_at() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert result_of(pool.submit(abs, -3), pool) == 3
        assert width(pool, 4) == 4
    assert width(None, 0) == 1
    assert width(Cluster()) == 3
