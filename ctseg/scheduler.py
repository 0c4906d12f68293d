"""A Dask scheduler that is gone: known by its errors, or by its client, while a result of it is waited for."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

from ctseg.errors import ClusterError

LOST = "the scheduler is gone; start it and call again: what was finished is kept where the command has --resume"
LOST_ERRORS = frozenset({"CancelledError", "FutureCancelledError", "ClosedClientError", "CommClosedError"})
"""What Dask raises, where it is done with waiting for a scheduler that is gone."""
LOOK_SECONDS = 2.0
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


def _client(executor: Executor | None) -> Any:
    """Dask's client behind an executor; None for other executors."""
    return getattr(executor, "_client", None)
