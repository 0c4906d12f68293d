"""One ordered parallel map for every command: a bad case is a `Failure`, a killed worker costs one case."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Generic, TypeVar

from ctseg.deaths import death, exit_code
from ctseg.errors import ClusterError, CtsegError, InputError, PluginError, first_line
from ctseg.harmless import shortened
from ctseg.scheduler import LOST, check_plugins, is_lost, result_of, width

end_now = os._exit
"""The system's own function: while a plugin is called, `os._exit` is another one."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why an item has no result."""

    error: str
    """One line."""
    traceback: str = ""
    """Where it was raised; empty where the input, the disk or the memory is to blame, which is no defect."""


def failure(error: BaseException) -> Failure:
    """An exception as one line and, unless it is an expected one or the machine's fault, with its traceback."""
    text = shortened(" ".join(str(error).split()))
    if isinstance(error, CtsegError):
        return Failure(text)
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return Failure(f"{where}{error.strerror}; check the disk or the network, its permissions and the free space")
    if isinstance(error, MemoryError):
        return Failure("does not fit into memory; use fewer --workers, or a machine with more memory")
    return Failure(f"{type(error).__name__}: {text}", "".join(traceback.format_exception(error)))


def attempt(work: Callable[[Item], Result], item: Item) -> Result | Failure:
    """`work(item)`, or its exception as a `Failure`."""
    try:
        return work(item)
    except (Exception, SystemExit) as error:  # SystemExit of a library: no case may end the others
        return failure(error)


def _packed(value: object) -> bytes:
    """Work and item for a worker process.

    Raises:
        PluginError: for what cannot be pickled.
    """
    try:
        return bytes(ForkingPickler.dumps(value))
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise PluginError(f"cannot be sent to a worker process ({reason}); use --workers 0") from None


def unpacked(packed: bytes) -> Any:
    """What a worker process was given; modules of plugins that this imports are within bounds.

    Raises:
        PluginError: for whatever they raise, naming file and line.
    """
    from ctseg.plugins.called import plugin_call

    with plugin_call("a worker process cannot unpack the work"):
        return pickle.loads(packed)  # noqa: S301 - by the process that started this one


def _work_on(packed: bytes) -> Any:
    """In a worker: work and item by pickle, read within `attempt`; the pool would end the worker where it cannot."""
    work, item = unpacked(packed)
    return work(item)


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    executor: Executor | None = None,
    look_ahead: int | None = None,
    start: Callable[[], object] | None = None,
    ended: Callable[[], object] | None = None,
    modules: Sequence[str] = (),
) -> Generator[tuple[Item, Result | Failure]]:
    """Yield every item with its result or its `Failure`, in order; a bad item never stops the others.

    Callers take it in `with closing(ordered_map(...))`. So workers have ended before an error of the caller is handled;
    else they go on writing until the error is forgotten.

    When a worker is killed, its pool is lost. The items that were in progress are then done again one at a time. So
    the item that kills its worker becomes a `Failure`, and all others get their results.

    Args:
        work: called with each item; with workers it has to be picklable, as items and results have.
        items: taken one by one as they are needed.
        workers: processes; 0 does everything in this one.
        executor: used instead of own processes, such as that of a Dask cluster.
        look_ahead: most items in progress or done but not yet taken, so that memory does not grow with the number
            of items; default: two for each worker, those of a Dask cluster included.
        start: called once in each of the own processes before its first item; has to be picklable.
        ended: called here when own processes were killed or ended in the middle of something and none is left, to
            clean up after them.
        modules: what own processes import, see `worker_pool`.
    """
    if executor is None and not workers:
        yield from ((item, attempt(work, item)) for item in items)
        return
    depth = look_ahead or max(2, 2 * width(executor, workers))
    with _Pool(work, workers, executor, partial(worker_pool, start=start, modules=modules), ended) as pool:
        upcoming = iter(items)
        waiting = deque((item, pool.start(item)) for item in islice(upcoming, depth))
        while waiting:
            item, future = waiting.popleft()
            outcome = _outcome(future, executor)
            if isinstance(outcome, _Killed):
                under_way = [(item, future), *waiting]
                yield from pool.recover(under_way)
                waiting = deque((item, pool.start(item)) for item in islice(upcoming, depth))
                continue
            waiting.extend((following, pool.start(following)) for following in islice(upcoming, 1))
            yield item, outcome


class _Killed:
    """The worker is gone, and with it what it did."""


def _outcome(future: Future[Any], executor: Executor | None) -> Any:
    """A result, a `Failure`, or `_Killed`; Dask's own word for it is KilledWorker."""
    try:
        return result_of(future, executor)
    except ClusterError:
        raise
    except Exception as error:
        if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":
            return _Killed()
        if is_lost(error):
            raise ClusterError(LOST) from None
        return failure(error)


class _Pool(Generic[Item, Result]):
    """Own worker processes, which can be replaced, or an executor from outside."""

    def __init__(
        self,
        work: Callable[[Item], Result],
        workers: int,
        executor: Executor | None,
        make: Callable[[int], Executor],
        ended: Callable[[], object] | None,
    ) -> None:
        self.work, self.workers, self.outside = work, max(1, workers), executor
        self._make, self._ended = make, ended or (lambda: None)
        self._checked: set[tuple[tuple[str, str], ...]] = {()}
        self.pool: Executor = executor or make(self.workers)

    def __enter__(self) -> _Pool[Item, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """An interrupted map does not wait for the items that nobody takes any more."""
        if self.pool is self.outside:
            return
        if kind is not None:
            end_workers(self.pool)
        self.pool.shutdown(wait=True, cancel_futures=True)
        if kind is not None:
            self._ended()

    def start(self, item: Item) -> Future[Any]:
        """Begin with an item; in a pool that is lost, the future says so."""
        try:
            with interrupts_blocked():
                if self.pool is self.outside:
                    from ctseg.remote import Origin, attempt_in, packed_of

                    packed = packed_of((self.work, item))
                    origin = Origin.here(packed)
                    self._check(origin.plugins)
                    return self.pool.submit(attempt_in, origin, packed)
                return self.pool.submit(attempt, _work_on, _packed((self.work, item)))
        except (BrokenExecutor, PluginError) as error:
            return _failed(error)
        except Exception as error:
            if is_lost(error):
                raise ClusterError(LOST) from None
            raise

    def _check(self, plugins: tuple[tuple[str, str], ...]) -> None:
        """Ask the workers of an executor from outside once for each set of plugins that work needs.

        Raises:
            ClusterError: naming a worker that lacks one, or has other code of it.
        """
        if plugins not in self._checked:
            self._checked.add(plugins)
            check_plugins(self.pool, dict(plugins))

    def recover(self, under_way: Iterable[tuple[Item, Future[Any]]]) -> Iterator[tuple[Item, Any]]:
        """The items in progress when a worker was killed: what is done already, and the rest one at a time."""
        for item, future in under_way:
            outcome = _outcome(future, self.outside)
            if isinstance(outcome, _Killed):
                self._use(1)
                outcome = _outcome(self.start(item), self.outside)
            if isinstance(outcome, _Killed):
                outcome = Failure(death(None if self.pool is self.outside else exit_code(self.pool)))
            yield item, outcome
        self._use(self.workers)

    def _use(self, workers: int) -> None:
        """Have a pool that works, of `workers` processes; an executor from outside stays while it takes items."""
        if self.pool is self.outside and not _is_broken(self.pool):
            return
        if not _is_broken(self.pool) and getattr(self.pool, "_max_workers", None) == workers:
            return
        if self.pool is not self.outside:
            self.pool.shutdown(cancel_futures=True)
            self._ended()
        self.pool = self._make(workers)


def _failed(error: Exception) -> Future[Any]:
    """The future of an item that no worker has begun with."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _is_broken(pool: Executor) -> bool:
    try:
        pool.submit(int).cancel()
    except BrokenExecutor:
        return True
    return False


def worker_pool(
    workers: int, start: Callable[[], object] | None = None, modules: Sequence[str] = ()
) -> ProcessPoolExecutor:
    """A pool of processes that end when their parent does, however it ends.

    Without that, a parent that is killed (by a batch system, for want of memory) leaves workers that wait for ever:
    each holds the writing end of the queue that the others read, so none sees it close. Workers are no forks of this
    process, because forking one that runs torch can hang.

    Args:
        workers: how many, at least 1.
        start: called in each before its first item.
        modules: what workers import; where the system allows it, once for all of them, see `import_for_workers`.

    Raises:
        InputError: within a worker of a `multiprocessing.Pool` of the caller's, which may have no processes.
    """
    if multiprocessing.current_process().daemon:
        raise InputError("workers: a daemon process, as of multiprocessing.Pool, may have none; give workers=0")
    method = "forkserver" if modules and import_for_workers(modules) else "spawn"
    begin = partial(_begin_worker, dict(os.environ), start)
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method), initializer=begin)


def import_for_workers(modules: Sequence[str]) -> bool:
    """Begin to import modules in a process beside this one, whose forks later workers are.

    Returns whether there is one. It runs nothing else, so its forks are safe. On Linux alone: the libraries of macOS do
    not bear forks.
    """
    if sys.platform != "linux":
        return False
    from multiprocessing import forkserver

    try:
        with interrupts_blocked():
            forkserver.set_forkserver_preload(list(modules))
            forkserver.ensure_running()
    except OSError:  # this process is itself a fork of one that has such a process
        return False
    return True


def _begin_worker(environment: dict[str, str], start: Callable[[], object] | None) -> None:
    """In a worker: the environment is that of its parent now, not that of when modules were imported."""
    watch_parent()
    os.environ.clear()
    os.environ.update(environment)
    if start is not None:
        start()


def end_workers(pool: Executor) -> None:
    """End the processes of a pool without waiting for what they are doing."""
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Ctrl-C waits until the block is over, and never reaches a process that the block starts.

    A terminal sends Ctrl-C to the workers, too; each would print a traceback. Their parent ends them instead.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def watch_parent() -> None:
    """End this process when the one that spawned it ends, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        end_now(1)
