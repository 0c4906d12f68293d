"""A Dask scheduler that is gone: known by its errors, or by its client, while a result of it is waited for."""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

from ctseg.errors import ClusterError

LOST = "the scheduler is gone; start it and call again: what was finished is kept where the command has --resume"
LOST_ERRORS = frozenset({"CancelledError", "FutureCancelledError", "ClosedClientError", "CommClosedError"})
"""What Dask raises, where it is done with waiting for a scheduler that is gone."""
LOOK_SECONDS = 2.0
ANSWER_SECONDS = 20.0
"""A scheduler or a worker that does not answer for so long is not there."""
LOOKS = 5
"""A client that has nothing under way so often in a row will not bring a result any more."""


def width(executor: Executor | None, workers: int = 1) -> int:
    """How many items are worked on at once: a Dask cluster's threads as they are now, else `workers`, at least 1."""
    client = _client(executor)
    threads = sum(client.nthreads().values()) if client is not None else workers
    return max(1, threads)


def is_lost(error: Exception) -> bool:
    """Whether an error says that the scheduler is gone."""
    return type(error).__name__ in LOST_ERRORS


def result_of(future: Future[Any], executor: Executor | None) -> Any:
    """The result of a future, or its exception.

    Dask leaves a future without either where the scheduler goes while it hands over the result. So the client is
    looked at while the future is waited for.

    Raises:
        ClusterError: if the client is closed, or has nothing under way, and the future is still not done.
    """
    client, idle = _client(executor), 0
    if client is None:
        return future.result()
    while idle < LOOKS:
        try:
            return future.result(LOOK_SECONDS)
        except TimeoutError:
            if future.done():  # by now, or with an error of that name
                return future.result()
        idle = idle + 1 if client.status == "closed" or not client.futures else 0
    raise ClusterError(LOST)


def worker_name() -> str:
    """What a message calls the machine of this process: its name, and the address of Dask's worker where it is one."""
    distributed, name = sys.modules.get("distributed"), platform.node()
    try:
        return f"{name} ({distributed.get_worker().address})" if distributed is not None else name
    except ValueError:  # no worker
        return name


def check_plugins(executor: Executor, plugins: Mapping[str, str]) -> None:
    """Refuse a Dask cluster with a worker that has other plugins than the work needs; each of its cases would fail.

    Args:
        executor: others than Dask's are passed over.
        plugins: package -> digest of its modules here.

    Raises:
        ClusterError: naming the first such worker.
    """
    from ctseg.same_code import difference, digests_of

    client = _client(executor)
    if client is None or not plugins:
        return
    answers = within(ANSWER_SECONDS, lambda: client.run(digests_of, list(plugins), on_error="return")) or {}
    for worker, theirs in sorted(answers.items()):
        for name in plugins if isinstance(theirs, dict) else ():
            other = difference(name, plugins[name], theirs.get(name, ""))
            if other:
                raise ClusterError(f"its worker {worker} {other}; install the same there, and start the workers again")


def within(seconds: float, act: Callable[[], Any]) -> Any:
    """What an act gives, or None if it takes longer or fails; it then goes on by itself."""
    given: list[Any] = []

    def work() -> None:
        with suppress(Exception):
            given.append(act())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return given[0] if given else None


def _client(executor: Executor | None) -> Any:
    """Dask's client behind an executor; None for other executors."""
    return getattr(executor, "_client", None)
