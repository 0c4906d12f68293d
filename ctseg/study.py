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
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ctseg.errors import InputError
from ctseg.files import read_json, write_json
from ctseg.outputs import recover
from ctseg.progress import span
from ctseg.settings import read_toml

RESUMABLE = ("synth-train", "das-train", "finetune", "segment")
OWN_KEYS = ("name", "command", "input", "output", "expect_s")
HASTE = ("workers", "scheduler")
"""Keys that change how fast a step is and nothing in its output: one that is done stays done with others."""


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


def read_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        InputError: naming the file and the step at fault.
    """
    path = Path(path)
    tables = read_toml(path).get("step")
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{path}: holds no [[step]]; write one for each command, see docs/studies.md")
    steps = [_step(table, number, path) for number, table in enumerate(tables, start=1)]
    names = [step.name for step in steps]
    double = next((name for name in names if names.count(name) > 1), None)
    if double:
        raise InputError(f'{path}: two steps are called {double!r}; give them a name = "..." each')
    return Study(path.resolve(), tuple(steps))


def _step(table: Mapping[str, Any], number: int, path: Path) -> Step:
    command = table.get("command")
    if not isinstance(command, str) or not command:
        raise InputError(f'{path}: step {number} has no command; write command = "match", say')
    inputs = table.get("input", [])
    argv = [*command.split(), *([inputs] if isinstance(inputs, str) else [str(item) for item in inputs])]
    for key, value in table.items():
        if key not in OWN_KEYS:
            argv += flags(key, value)
    output = str(table.get("output", ""))
    if output:
        argv += ["-o", output]
    return Step(str(table.get("name", command)), tuple(argv), output, float(table.get("expect_s", 0.0)))


def flags(key: str, value: Any) -> list[str]:
    """A key of a step as command-line flags."""
    flag = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [flag] if value else []
    if isinstance(value, Mapping):
        return [word for name, item in value.items() for word in (flag, f"{name}={_text(item)}")]
    if isinstance(value, list):
        return [word for item in value for word in (flag, str(item))]
    return [flag, str(value)]


def _text(value: Any) -> str:
    """A setting's value as `--set` reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def step_keys(study: Study) -> list[str]:
    """A digest for each step of its own words and of the steps whose outputs it reads: it changes when either does."""
    keys: list[str] = []
    for row, step in enumerate(study.steps):
        feeds = [keys[earlier] for earlier in range(row) if _reads(step, study.steps[earlier].output)]
        keys.append(sha256(json.dumps([_telling(step.argv), feeds]).encode()).hexdigest())
    return keys


def _telling(argv: Sequence[str]) -> list[str]:
    """The words that decide what comes out."""
    hasty = [f"--{key}" for key in HASTE]
    return [word for before, word in zip(("", *argv), argv, strict=False) if word not in hasty and before not in hasty]


def _reads(step: Step, output: str) -> bool:
    """Whether one of a step's arguments is, or lies within, another step's output."""
    return bool(output) and any(word == output or word.startswith(output.rstrip("/") + "/") for word in step.argv)


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
    state = {} if fresh or not study.state_path.exists() else dict(read_json(study.state_path))
    results: list[StepResult] = []
    with chdir(study.path.parent):
        for number, (step, key) in enumerate(zip(study.steps, step_keys(study), strict=True), start=1):
            say(f"[{number}/{len(study.steps)}] {step.name}{_time_left(study, results)}")
            result = _run_step(study, step, key, state, execute, say, fresh)
            results.append(result)
            if result.code >= 2:
                break
    return results


def _time_left(study: Study, results: Sequence[StepResult]) -> str:
    """Expected seconds of the steps to come, scaled by how the finished ones went."""
    expected = sum(step.expect_s for step in study.steps[len(results) :])
    done = [(item.seconds, item.step.expect_s) for item in results if not item.skipped and item.step.expect_s]
    past = sum(expect for _, expect in done)
    scale = sum(seconds for seconds, _ in done) / past if past > 10 else 1.0
    return f"  (about {span(expected * scale)} left in all)" if expected else ""


def _run_step(
    study: Study,
    step: Step,
    key: str,
    state: dict[str, Any],
    execute: Callable[[list[str]], int],
    say: Callable[[str], object],
    fresh: bool,
) -> StepResult:
    record = state.get(step.name, {})
    if step.output:
        recover(Path(step.output).resolve(), say)
    exists = bool(step.output) and Path(step.output).exists()
    if record.get("key") == key and record.get("done") and (exists or not step.output):
        say(f"    done before in {span(record.get('seconds', 0.0))}, skipped")
        return StepResult(step, int(record.get("code", 0)), 0.0, skipped=True)
    extra = _extra_flags(step, key, record, exists, fresh)
    before = float(record.get("seconds", 0.0)) if "--resume" in extra else 0.0  # the whole time is what is told
    _remember(study, state, step.name, {"key": key, "done": False, "seconds": before})
    say(f"    {step.line}")
    started, code = time.monotonic(), 2
    try:
        code = execute([*step.argv, *extra])
    finally:
        seconds = before + time.monotonic() - started
        ended: dict[str, Any] = {"done": True, "code": code} if code < 2 else {"done": False}
        _remember(study, state, step.name, {"key": key, **ended, "seconds": round(seconds, 1)})
    return StepResult(step, code, seconds, skipped=False)


def _extra_flags(step: Step, key: str, record: Mapping[str, Any], exists: bool, fresh: bool) -> list[str]:
    """`--resume` for a step of ours that was interrupted, `--overwrite` for an output of ours that is out of date."""
    if not exists or not (record or fresh):
        return []
    interrupted = record.get("key") == key and not record.get("done")
    return ["--resume"] if interrupted and step.argv[0] in RESUMABLE and not fresh else ["--overwrite"]


def _remember(study: Study, state: dict[str, Any], name: str, record: dict[str, Any]) -> None:
    state[name] = record
    write_json(study.state_path, state)
