"""Studies: a list of ctseg commands in a TOML file, run in a row, finished steps skipped.

A step's keys are its command's flags, so a study says nothing that a shell could not:

    [[step]]
    command = "match"
    src = "sets/mr"
    tgt = "sets/ct"
    output = "pairs.csv"
    top = 20
    set = { lambda_ham = 100 }

is `ctseg match --src sets/mr --tgt sets/ct --top 20 --set lambda_ham=100 -o pairs.csv`. Paths are relative to the study
file.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.files import read_json, read_toml, write_json
from ctseg.locks import Busy, held
from ctseg.outputs import STUDY, read_file_mark, read_mark, recover, what_changed
from ctseg.progress import span
from ctseg.study_keys import RESUMABLE, SPEED_KEYS, StepKey, failed_again, step_key, why_again
from ctseg.study_words import command_of, expected_of, flags, tables_of, words_of

__all__ = [
    "SPEED_KEYS", "Step", "StepResult", "Study", "extra_flags", "flags", "is_done", "keys_now", "read_state",
    "read_study", "run_study", "spoilt_output", "step_keys", "written_by",
]  # fmt: skip

PRIOR = 0.25
"""What the plan counts beside the finished steps, as a share of its own length."""


@dataclass(frozen=True)
class Step:
    """One command of a study."""

    name: str
    argv: tuple[str, ...]
    output: str
    expect_s: float = 0.0
    """How long it took where the study was written; scales the time left."""

    @property
    def line(self) -> str:
        """The command as one types it."""
        return "ctseg " + shlex.join(self.argv)


@dataclass(frozen=True)
class Study:
    """A study file."""

    path: Path
    steps: tuple[Step, ...]

    @property
    def state_path(self) -> Path:
        """Where the finished steps are remembered."""
        return self.path.with_suffix(".state.json")


@dataclass(frozen=True)
class StepResult:
    """How a step ended."""

    step: Step
    code: int
    seconds: float
    skipped: bool


def read_study(path: Path, above: tuple[Path, ...] = ()) -> Study:
    """Read a study file, and the studies that its steps run.

    Args:
        path: the file.
        above: the studies that run this one.

    Raises:
        InputError: naming the file and the step at fault, also where a study would run itself.
    """
    path = Path(path)
    tables = tables_of(read_toml(path), path)
    steps = [_step(table, number, path) for number, table in enumerate(tables, start=1)]
    double = _first_twice([step.name for step in steps])
    if double:
        raise InputError(f'{path}: two steps are called {double!r}; give them a name = "..." each')
    study = Study(path.resolve(), tuple(steps))
    _check_outputs(path, study)
    _check_nested(study.path, steps, above)
    return study


def _check_outputs(path: Path, study: Study) -> None:
    """No output is another step's, the study's file or its memory."""
    shared = _first_twice([os.path.normpath(step.output) for step in study.steps if step.output])
    if shared:
        raise InputError(f"{path}: two steps write {shared}; give each an output of its own")
    own = (study.path, study.state_path.resolve())
    for step in study.steps:
        if step.output and (path.parent / step.output).resolve() in own:
            raise InputError(
                f"{path}: step {step.name!r} would write over the study or its memory; choose another output"
            )


def _first_twice(words: Sequence[str]) -> str | None:
    return next((word for word in words if words.count(word) > 1), None)


def _check_nested(path: Path, steps: Sequence[Step], above: tuple[Path, ...]) -> None:
    """No study runs itself, be it through others; studies that are not written yet are looked at when they run."""
    for step in steps:
        if step.argv[0] != "run":
            continue
        for word in step.argv[1:]:
            nested = (path.parent / word).resolve()
            if nested in (path, *above):
                raise InputError(f"{path}: step {step.name!r} runs the study that it is part of; take it out")
            if nested.suffix == ".toml" and nested.is_file():
                read_study(nested, (path, *above))


def _step(table: Mapping[str, Any], number: int, path: Path) -> Step:
    if not isinstance(table, Mapping):
        raise InputError(f"{path}: step {number} is no table; write [[step]] above its keys")
    where = f"{path}: step {number}"
    command = command_of(table, where)
    argv, output = words_of(command, table), str(table.get("output", ""))
    return Step(str(table.get("name", command)), tuple(argv), output, expected_of(table, where))


def step_keys(study: Study) -> list[str]:
    """The key of each step now: it changes with its words, with what it reads, and with the steps that it follows."""
    with chdir(study.path.parent):
        return [key.key for key in keys_now(study, {})]


def keys_now(study: Study, state: Mapping[str, Any]) -> list[StepKey]:
    """The identity of each step, in the study's folder.

    Args:
        study: the study.
        state: what it remembers, so that unchanged inputs are not read.
    """
    keys: list[StepKey] = []
    for row, step in enumerate(study.steps):
        keys.append(step_key(study.steps, row, keys, state.get(step.name, {})))
    return keys


def run_study(
    study: Study,
    execute: Callable[[list[str]], int],
    say: Callable[[str], object] = str,
    *,
    fresh: bool = False,
) -> list[StepResult]:
    """Run the steps that are not done yet, in order; stop at the first that fails with 2 or more.

    Args:
        study: what to run.
        execute: runs one command line (without `ctseg`) and returns its exit code.
        say: takes lines for people.
        fresh: run every step again.

    Returns:
        one result a step that was reached; the last one tells whether the study came through.
    """
    with chdir(study.path.parent), _alone(study):
        state = {} if fresh else failed_again(study.steps, read_state(study.state_path))
        results: list[StepResult] = []
        keys: list[StepKey] = []
        for row, step in enumerate(study.steps):
            say(f"[{row + 1}/{len(study.steps)}] {step.name}{_time_left(study, results, state)}")
            keys.append(step_key(study.steps, row, keys, state.get(step.name, {})))
            result = _run_step(study, step, keys[row], state, execute, say, fresh)
            results.append(result)
            if result.code >= 2:
                break
    return results


@contextmanager
def _alone(study: Study) -> Iterator[None]:
    """One process at a time runs a study, and no step of it runs it again.

    Raises:
        InputError: naming the study.
    """
    try:
        with held(study.path):
            yield
    except Busy:
        raise InputError(f"{study.path}: another call of ctseg runs this study; wait for it") from None


def read_state(path: Path) -> dict[str, Any]:
    """The records of the finished steps, by name; none where there is no file.

    Raises:
        InputError: if the file is no study's memory.
    """
    state = read_json(path) if path.exists() else {}
    if not isinstance(state, dict) or not all(_is_record(item) for item in state.values()) or not _is_finite(state):
        raise InputError(f"{path}: not the memory of a study; remove it, or run the study with --fresh")
    return state


def _is_finite(state: dict[str, Any]) -> bool:
    try:
        json.dumps(state, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def _is_record(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("key"), str):
        return False
    seconds, code = item.get("seconds", 0.0), item.get("code", 0)
    return isinstance(seconds, int | float) and isinstance(code, int)


def _time_left(study: Study, results: Sequence[StepResult], state: Mapping[str, Any]) -> str:
    """Expected seconds of the steps to come, scaled by how the finished ones went.

    The plan has a say beside them: two short steps say little of a long one. Steps that were done before count for
    nothing, until one before them runs again.
    """
    done = [item for item in results if not item.skipped and item.step.expect_s]
    prior, past = PRIOR * _expected(study.steps), _expected([item.step for item in done])
    scale = (prior + sum(item.seconds for item in done)) / (prior + past) if past else 1.0
    expected = _expected(study.steps[len(results) :], {} if done else state)
    return f"  (about {span(expected * scale)} left in all)" if expected else ""


def _expected(steps: Sequence[Step], state: Mapping[str, Any] | None = None) -> float:
    """Seconds of the steps that are not remembered as done."""
    return sum(step.expect_s for step in steps if not (state or {}).get(step.name, {}).get("done"))


def _run_step(
    study: Study,
    step: Step,
    key: StepKey,
    state: dict[str, Any],
    execute: Callable[[list[str]], int],
    say: Callable[[str], object],
    fresh: bool,
) -> StepResult:
    record = state.get(step.name, {})
    exists = _recovered(step, say)
    written = written_by(step) if exists else None
    spoilt = spoilt_output(step, key, record, written, exists)
    if is_done(step, key, record, written, exists) and not spoilt:
        _remember_looks(study, state, step.name, key)
        say(f"    done before in {span(record.get('seconds', 0.0))}, skipped")
        return StepResult(step, int(record.get("code", 0)), 0.0, skipped=True)
    extra = extra_flags(step, key, record, written, fresh, spoilt) if exists else []
    before = float(record.get("seconds", 0.0)) if "--resume" in extra else 0.0  # the whole time counts
    if why := spoilt or why_again(key, record, [other.output for other in study.steps]):
        say(f"    runs again, as this differs: {why}")
    _remember(study, state, step.name, {**key.as_dict(), "done": False, "seconds": before})
    say(f"    {step.line}")
    started, code, outer = time.monotonic(), 2, STUDY.set(key.key)
    try:
        code = execute([*step.argv, *extra])
    finally:
        STUDY.reset(outer)
        seconds = before + time.monotonic() - started
        ended: dict[str, Any] = {"done": True, "code": code} if code < 2 else {"done": False}
        _remember(study, state, step.name, {**key.as_dict(), **ended, "seconds": round(seconds, 1)})
    return StepResult(step, code, seconds, skipped=False)


def _recovered(step: Step, say: Callable[[str], object]) -> bool:
    """Put back an output that a kill left aside; returns whether there is one now."""
    if not step.output:
        return False
    recover(Path(step.output).resolve(), say)
    return Path(step.output).exists()


def is_done(step: Step, key: StepKey, record: Mapping[str, Any], written: str | None, exists: bool) -> bool:
    """Whether the study remembers the step as finished and its output, if it has one, is that step's.

    A study within the study is always run; it knows itself which of its steps are done.
    """
    known = key.accepted(record)
    is_current = written in (None, *known) and (exists or not step.output) and step.argv[0] != "run"
    return record.get("key") in known and bool(record.get("done")) and is_current


def _remember_looks(study: Study, state: dict[str, Any], name: str, key: StepKey) -> None:
    """Note that inputs of other times have the content that they had, so that they are not read again."""
    record = state[name]
    if record.get("key") == key.key and record.get("inputs") != key.as_dict()["inputs"]:
        _remember(study, state, name, {**record, "inputs": key.as_dict()["inputs"]})


def written_by(step: Step) -> str | None:
    """The key that an output's own mark has: of the step that wrote it, empty of a call by hand, None without one.

    The study's memory alone would not do: a kill can come between what it says and what the command does.
    """
    output = Path(step.output)
    mark = read_mark(output) if output.is_dir() else read_file_mark(output)
    return None if mark is None else mark.study


def spoilt_output(step: Step, key: StepKey, record: Mapping[str, Any], written: str | None, exists: bool) -> str:
    """What was changed in the output of a step that is done, so that it is made again; empty for nothing."""
    return what_changed(Path(step.output)) if exists and is_done(step, key, record, written, exists) else ""


def extra_flags(
    step: Step, key: StepKey, record: Mapping[str, Any], written: str | None, fresh: bool, spoilt: str = ""
) -> list[str]:
    """What to do with an output that is there.

    `--resume` for one that this very step began, or whose output was `spoilt` since, `--overwrite` for another of the
    study's own, and nothing for one that is not the study's: the command refuses it then.
    """
    if not fresh and (not record or written == ""):
        return []
    begun = (record.get("key") if written is None else written) in key.accepted(record)
    resumes = step.argv[0] in RESUMABLE and not fresh and (spoilt or (begun and not record.get("done")))
    return ["--resume"] if resumes else ["--overwrite"]


def _remember(study: Study, state: dict[str, Any], name: str, record: dict[str, Any]) -> None:
    state[name] = record
    write_json(study.state_path, state)
