"""Worker processes that do not outlive the command that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def worker_pool(workers: int, method: str = "spawn") -> ProcessPoolExecutor:
    """A pool whose workers end when their parent does, however it ends.

    Without that, a parent that is killed (by a batch system, for want of memory) leaves workers that wait for ever:
    each holds the writing end of the queue that the others read, so none sees it close.

    Args:
        workers: how many, at least 1.
        method: 'spawn', since forking a process that runs torch can hang, or 'fork' where that cannot be.
    """
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_watch_parent)


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
