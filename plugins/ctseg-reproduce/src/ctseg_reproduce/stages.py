"""A stage is a folder with a `study.toml` of ctseg commands; it is run once, and again where what it needs changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ctseg.cli import common
from ctseg.cli.ending import INTERRUPTED
from ctseg.errors import InputError
from ctseg.files import read_json, write_json, write_text
from ctseg.outputs import remove_output
from ctseg.study import SPEED_KEYS, read_study

Step = dict[str, Any]
STAGE_FILE = "stage.json"
"""Says in a stage's folder what the stage is, and why it failed where it did."""


@dataclass(frozen=True)
class Stage:
    """A folder below the reproduction's, the commands run in it, and the stages that must be there first."""

    folder: str
    steps: tuple[Step, ...]
    needs: tuple[Stage, ...] = ()
    preset_digest: str = ""
    """A digest of the values of the steps' preset: the same commands with other values are another stage."""

    @cached_property
    def key(self) -> str:
        """A digest of all that leads to its results."""
        deciding = [{key: value for key, value in step.items() if key not in SPEED_KEYS} for step in self.steps]
        parts = [deciding, [stage.key for stage in self.needs], *([self.preset_digest] if self.preset_digest else [])]
        return sha256(json.dumps(parts).encode()).hexdigest()[:16]


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """These stages and all they need, each once, needs first."""
    found: dict[str, Stage] = {}
    for stage in stages:
        for item in (*in_order(stage.needs), stage):
            found.setdefault(item.folder, item)
    return list(found.values())


def run_stage(root: Path, stage: Stage, execute: Callable[[Path], int]) -> int:
    """Write a stage's study and run what is not done of it; all of it where something it rests on has changed.

    Args:
        root: the reproduction's folder.
        stage: what to run.
        execute: runs a study file and returns its exit code.
    """
    folder = root / stage.folder
    known = folder / STAGE_FILE
    if known.exists() and read_table(known).get("key") != stage.key:
        _clear(folder)
    study = write_text(folder / "study.toml", study_text(stage))
    write_json(known, _identity(stage))
    common.STATE.error = ""
    code = execute(study)
    if 2 <= code < INTERRUPTED:  # that of SIGTERM is above it
        note_failure(root, stage, f"ended with {code}" + (f": {common.STATE.error}" if common.STATE.error else ""))
    return code


def _identity(stage: Stage) -> dict[str, Any]:
    return {"key": stage.key, "needs": [item.folder for item in stage.needs]}


def note_failure(root: Path, stage: Stage, why: str) -> None:
    """Store in a stage's folder why it did not come through, until it is run again."""
    write_json(root / stage.folder / STAGE_FILE, {**_identity(stage), "failed": f"{stage.folder} {why}"})


def failure_of(root: Path, stage: Stage) -> str:
    """Why a stage, or the first that it rests on, did not come through when it was last run; empty if nothing failed.

    What failed with other settings than the stage's own does not count.
    """
    for item in in_order([stage]):
        known = root / item.folder / STAGE_FILE
        record = read_table(known) if known.exists() else {}
        if record.get("key") == item.key and record.get("failed"):
            return str(record["failed"])
    return ""


@contextmanager
def stage_lock(root: Path, stage: Stage, say: Callable[[str], object] = str) -> Iterator[None]:
    """Lock the stage against other calls that work in this folder; the lock ends with its process."""
    folder = root / stage.folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"== {stage.folder}: another call is making it; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Remove what the commands of a stage wrote, and the memory of them; nothing else that lies there."""
    study = read_study(folder / "study.toml")
    for step in study.steps:
        remove_output(folder / step.output)
    study.state_path.unlink(missing_ok=True)


def study_text(stage: Stage) -> str:
    """The stage as a study file."""
    import tomli_w

    steps = [{key: value for key, value in step.items() if value != {}} for step in stage.steps]
    rests = f"# Rests on: {', '.join(item.folder for item in stage.needs)}.\n" if stage.needs else ""
    return f"# Made by `ctseg reproduce`; run it again with `ctseg run study.toml`.\n{rests}\n" + tomli_w.dumps(
        {"step": steps}
    )


def read_table(path: Path) -> dict[str, Any]:
    """A JSON object that a reproduction remembers something in.

    Raises:
        InputError: if it is something else.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: not what `ctseg reproduce` writes; move it and call again")
    return data


def read_state(path: Path) -> dict[str, dict[str, Any]]:
    """The record of each step that a study remembers; none where it has not begun.

    Raises:
        InputError: if it is no study's memory.
    """
    records = read_table(path) if path.exists() else {}
    for record in records.values():
        if not isinstance(record, dict) or not isinstance(record.get("seconds", 0.0), int | float):
            raise InputError(f"{path}: not a study's memory; move it and call again")
    return records


def seconds_of(root: Path, stage: Stage) -> float:
    """How long the steps of a stage and of all it needs took."""
    total = 0.0
    for item in in_order([stage]):
        state = root / item.folder / "study.state.json"
        total += sum(record.get("seconds", 0.0) for record in read_state(state).values())
    return total


def is_done(root: Path, stage: Stage) -> bool:
    """Whether every step of the stage, as it is now, came through."""
    folder = root / stage.folder
    known, state = folder / STAGE_FILE, folder / "study.state.json"
    if not (known.exists() and state.exists()) or read_table(known).get("key") != stage.key:
        return False
    records = read_state(state)
    return all(records.get(step["name"], {}).get("done") and (folder / step["output"]).exists() for step in stage.steps)
