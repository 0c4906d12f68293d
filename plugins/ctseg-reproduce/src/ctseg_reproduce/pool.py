"""Works on several stages of a reproduction at once, each in one of a few processes; what a stage needs comes first.

One small network keeps neither a GPU nor sixteen cores busy, but rows and seeds are independent of each other.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

from ctseg.cli.ending import INTERRUPTED, TERMINATED, Terminated
from ctseg.errors import first_line
from ctseg.parallel import interrupts_blocked, watch_parent
from ctseg_reproduce.stages import Stage, in_order, is_done, note_failure, run_stage, stage_lock

LOGS = "logs"
"""Folder of what the processes print, one file each."""
POLL_S = 0.2
"""Seconds between two looks at the processes."""
GRACE_S = 20.0
"""Seconds that the processes get to end what they are writing, together."""
KILLED = -1
"""The code of a stage whose process died."""
DIED = "ended, as its process died (killed, or out of memory); use fewer --jobs and call again"


@dataclass
class Schedule:
    """Which stages may start: those whose needs are done, in the order given."""

    root: Path
    waiting: list[Stage]
    done: set[str] = field(default_factory=set)
    """Folders of the stages that are done."""
    broken: dict[str, int] = field(default_factory=dict)
    """Folder of a stage that failed, or that rests on one -> exit code."""

    @classmethod
    def of(cls, root: Path, stages: Iterable[Stage]) -> Schedule:
        """These stages and all they need; what is done already is not run again."""
        wanted = in_order(stages)
        done = {stage.folder for stage in wanted if is_done(root, stage)}
        return cls(root, [stage for stage in wanted if stage.folder not in done], done)

    def take(self) -> Stage | None:
        """The first stage that may start; None where all that wait need one that is being made."""
        self._drop_broken()
        for stage in self.waiting:
            if all(item.folder in self.done for item in stage.needs):
                self.waiting.remove(stage)
                return stage
        return None

    def end(self, folder: str, code: int) -> None:
        """A stage came through, or failed with `code`."""
        if 0 <= code < 2:
            self.done.add(folder)
        else:
            self.broken[folder] = code

    def _drop_broken(self) -> None:
        for stage in list(self.waiting):
            cause = next((item.folder for item in stage.needs if item.folder in self.broken), None)
            if cause is not None:
                self.waiting.remove(stage)
                self.broken[stage.folder] = self.broken[cause]


@dataclass
class Worker:
    """One process, which makes one stage after the other."""

    process: BaseProcess
    tasks: Queue[Any]
    ended: Queue[Any]
    stage: Stage | None = None
    """What it is making; None while it waits."""


def run_pool(
    root: Path,
    stages: Iterable[Stage],
    *,
    jobs: int,
    seconds: float = float("inf"),
    say: Callable[[str], object] = str,
) -> dict[str, int]:
    """Run stages in `jobs` processes; an interrupted call, or one whose time is over, goes on with the next call.

    Args:
        root: the reproduction's folder.
        stages: what to make, the most wanted first.
        jobs: processes, each with one thread.
        seconds: after that time no stage is started, and those that run are ended.
        say: takes lines for people.

    Returns:
        Folder of each stage that failed -> exit code; `KILLED` where its process died.
    """
    schedule, started = Schedule.of(root, stages), time.monotonic()
    workers = [_start(root, number) for number in range(min(jobs, max(len(schedule.waiting), 1)))]
    try:
        while time.monotonic() - started < seconds:
            for number, worker in enumerate(workers):
                _collect(worker, schedule, say, started)
                if not worker.process.is_alive():
                    if worker.stage is not None:
                        note_failure(root, worker.stage, DIED)
                        schedule.end(worker.stage.folder, KILLED)
                    workers[number] = worker = _start(root, number)
                if worker.stage is None:
                    _give(worker, schedule)
            if not schedule.waiting and not any(worker.stage for worker in workers):
                break
            time.sleep(POLL_S)
    finally:
        _stop(workers)
    return schedule.broken


def _give(worker: Worker, schedule: Schedule) -> None:
    stage = schedule.take()
    if stage is not None:
        worker.stage = stage
        worker.tasks.put(stage)


def _collect(worker: Worker, schedule: Schedule, say: Callable[[str], object], started: float) -> None:
    try:
        folder, code, seconds = worker.ended.get_nowait()
    except Empty:
        return
    worker.stage = None
    schedule.end(folder, code)
    ending = f"done in {seconds:.0f} s" if code < 2 else f"ended with {code}"
    say(f"{time.monotonic() - started:6.0f} s  {folder}: {ending}; stages that wait: {len(schedule.waiting)}")


def _start(root: Path, number: int) -> Worker:
    context = multiprocessing.get_context("spawn")
    tasks: Queue[Any] = context.Queue()
    ended: Queue[Any] = context.Queue()
    process = context.Process(target=_work, args=(root, number, tasks, ended), daemon=True)
    with interrupts_blocked():  # Ctrl-C is the caller's, who ends the processes
        process.start()
    return Worker(process, tasks, ended)


def _stop(workers: Sequence[Worker]) -> None:
    """End the processes: each command cleans up as at SIGTERM, or is killed when that takes too long."""
    for worker in workers:
        worker.process.terminate()
    end = time.monotonic() + GRACE_S
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(root: Path, number: int, tasks: Queue[Any], ended: Queue[Any]) -> None:
    """Make the stages that come, with one thread, until SIGTERM; all that is printed goes to the process's log."""
    import torch

    from ctseg.cli.signals import end_by_signals

    watch_parent()  # a caller that is killed leaves nobody who trains on, or waits for ever
    _print_to(root / LOGS / f"process-{number}.log")
    torch.set_num_threads(1)
    with suppress(Terminated):
        end_by_signals()
        _serve(root, tasks, ended)


def _serve(root: Path, tasks: Queue[Any], ended: Queue[Any]) -> None:
    from ctseg.cli.run import execute

    code = 0
    while code not in (INTERRUPTED, TERMINATED):
        stage: Stage = tasks.get()
        begun = time.monotonic()
        try:
            with stage_lock(root, stage):
                code = 0 if is_done(root, stage) else run_stage(root, stage, execute)
        except Exception as error:
            # One stage never ends the others.
            print(f"{stage.folder}: {type(error).__name__}: {error}", flush=True)  # noqa: T201
            note_failure(root, stage, f"ended with {type(error).__name__}: {first_line(error, None)}")
            code = 2
        ended.put((stage.folder, code, time.monotonic() - begun))


def _print_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
