"""Cases read and prepared ahead of the network, in worker processes, one result a case in the cases' order."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from functools import partial
from itertools import islice

from ctseg.errors import CtsegError
from ctseg.inference.prepare import ReadyCase, prepare_case
from ctseg.io.discover import Case
from ctseg.parallel import worker_pool
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.settings import PreprocessSettings


@dataclass(frozen=True)
class Failure:
    """Why a case could not be done."""

    error: str
    """One line."""
    traceback: str = ""


Outcome = ReadyCase | Failure


def failure(error: Exception) -> Failure:
    """An exception as one line and, unless it is an expected one, with its traceback."""
    text = " ".join(str(error).split())
    if isinstance(error, CtsegError):
        return Failure(text)
    return Failure(f"{type(error).__name__}: {text}", "".join(traceback.format_exception(error)))


def prepared_ahead(
    cases: Sequence[Case],
    recipes: Sequence[PreprocessSettings],
    extractor: BrainExtractor,
    *,
    workers: int = 0,
    executor: Executor | None = None,
) -> Iterator[tuple[Case, Outcome]]:
    """Yield every case with its prepared slices or its failure; never raises for a bad case.

    Args:
        cases: to be read.
        recipes: how slices are made.
        extractor: finds the brain; must be picklable with workers.
        workers: processes; 0 does everything here, one case at a time.
        executor: used instead of own processes, e.g. that of a Dask cluster.
    """
    work = partial(_attempt, recipes=tuple(recipes), extractor=extractor)
    if executor is not None:
        yield from _stream(cases, work, executor, max(2, 2 * workers))
    elif workers:
        yield from _in_processes(cases, work, workers)
    else:
        yield from ((case, work(case)) for case in cases)


def _attempt(case: Case, recipes: Sequence[PreprocessSettings], extractor: BrainExtractor) -> Outcome:
    try:
        return prepare_case(case, recipes, extractor)
    except Exception as error:
        return failure(error)


def _stream(
    cases: Sequence[Case], work: Callable[[Case], Outcome], pool: Executor, depth: int
) -> Iterator[tuple[Case, Outcome]]:
    """At most `depth` cases are under way or wait in memory."""
    waiting: deque[tuple[Case, Future[Outcome]]] = deque()
    upcoming = iter(cases)
    for case in islice(upcoming, depth):
        waiting.append((case, pool.submit(work, case)))
    while waiting:
        case, future = waiting.popleft()
        outcome = future.result()
        for following in islice(upcoming, 1):
            waiting.append((following, pool.submit(work, following)))
        yield case, outcome


def _in_processes(
    cases: Sequence[Case], work: Callable[[Case], Outcome], workers: int
) -> Iterator[tuple[Case, Outcome]]:
    """When a worker is killed, mostly for want of memory, the rest goes one by one to find the guilty case."""
    done = 0
    try:
        with worker_pool(workers) as pool:
            for outcome in _stream(cases, work, pool, workers + 1):
                yield outcome
                done += 1
    except BrokenExecutor:
        yield from _one_by_one(cases[done:], work)


def _one_by_one(cases: Sequence[Case], work: Callable[[Case], Outcome]) -> Iterator[tuple[Case, Outcome]]:
    pool = worker_pool(1)
    try:
        for case in cases:
            try:
                yield case, pool.submit(work, case).result()
            except BrokenExecutor:
                pool.shutdown()
                pool = worker_pool(1)
                yield case, Failure(f"{case.case_id}: its worker process died (out of memory?); try --workers 0")
    finally:
        pool.shutdown(cancel_futures=True)
