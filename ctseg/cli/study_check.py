"""A study checked whole before its first step: its flags, choices and settings, and the files that it reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ctseg.cli import common
from ctseg.cli.call_check import check_values
from ctseg.cli.run_plugin import lacks_plugin
from ctseg.cli.words import takes_path
from ctseg.errors import CtsegError, InputError, nearest
from ctseg.outputs.leftovers import filled
from ctseg.study import Step, Study, extra_flags, is_done, keys_now, read_state, spoilt_output, written_by
from ctseg.study_keys import StepKey, failed_again

MADE = {
    "preprocess": "a slice set", "synthesize": "a slice set", "match": "pairs", "synth-train": "a generator's run",
    "das-train": "a segmenter's run", "finetune": "folds of runs", "segment": "masks", "evaluate": "an evaluation",
    "phantom": "a cohort of scans",
}  # fmt: skip
"""What a command's output is."""
WANTED = {
    ("match", "source"): ("a slice set",), ("match", "target"): ("a slice set",),
    ("synth-train", "source"): ("a slice set",), ("synth-train", "target"): ("a slice set",),
    ("das-train", "source"): ("a slice set",), ("das-train", "target"): ("a slice set",),
    ("synthesize", "source"): ("a slice set",), ("finetune", "data"): ("a slice set",),
    ("synth-train", "pairs"): ("pairs",), ("das-train", "pairs"): ("pairs",),
    ("synthesize", "model"): ("a generator's run",), ("segment", "model"): ("a segmenter's run",),
    ("synth-train", "start"): ("a generator's run",), ("das-train", "start"): ("a segmenter's run",),
    ("finetune", "start"): ("a segmenter's run",),
}  # fmt: skip
"""(command, parameter) -> what it takes, where that is the output of a command."""
PAIRS_FOR = {"synth-train": "source", "das-train": "target"}
"""The direction of the pairs that a training needs."""
OUTPUTS = ("output", "brain_cache", "report")
TEXT_INPUTS = ("inputs", "images", "model", "start")
"""Parameters that are inputs, but no paths in every case: patterns, and names of models."""
REFUSED = "would be refused"


@dataclass(frozen=True)
class Call:
    """A step's words as its command understands them."""

    step: Step
    command: str
    values: Mapping[str, Any]
    """Parameter -> value, defaults filled in."""
    flags: Mapping[str, str]
    """Parameter -> how it is typed."""
    paths: frozenset[str]
    """Parameters whose values are paths."""


def check_study(study: Study, *, fresh: bool = False) -> list[str]:
    """Every fault of a study that can be known before it runs, a line each; none where it can begin."""
    faults: list[str] = []
    calls: list[Call | None] = []
    with chdir(study.path.parent):
        for step in study.steps:
            call = _call(step, faults)
            calls.append(call)
            if call is not None:
                faults += [f"step {step.name!r}: {text}" for text in _faults_of(call, study, calls)]
    refused = [(step, what) for step, what in plan(study, fresh=fresh) if what.startswith(REFUSED)]
    return faults + [f"step {step.name!r}: {what}" for step, what in refused if step.argv[0] in MADE]


def refuse_faulty(study: Study, *, fresh: bool = False) -> None:
    """Stop before the first step if a step cannot run.

    Raises:
        InputError: with the first fault, and how many there are.
    """
    faults = check_study(study, fresh=fresh)
    if faults:
        more = f" ({len(faults)} faults; `ctseg run {study.path.name} --dry-run` lists them)" if len(faults) > 1 else ""
        raise InputError(f"{study.path}: {faults[0]}{more}; nothing was run")


def plan(study: Study, *, fresh: bool = False) -> list[tuple[Step, str]]:
    """Each step and what a run would do with it, by the study's memory and the outputs that are there."""
    with chdir(study.path.parent):
        state = {} if fresh else failed_again(study.steps, read_state(study.state_path))
        keys = zip(study.steps, keys_now(study, state), strict=True)
        return [(step, _fate(step, key, state.get(step.name, {}), fresh)) for step, key in keys]


def _fate(step: Step, key: StepKey, record: Mapping[str, Any], fresh: bool) -> str:
    output = Path(step.output)
    exists = bool(step.output) and (output.is_file() or filled(output))
    written = written_by(step) if exists else None
    spoilt = spoilt_output(step, key, record, written, exists)
    if is_done(step, key, record, written, exists) and not spoilt:
        return "done before, skipped"
    if not exists:
        return "runs"
    flags = extra_flags(step, key, record, written, fresh, spoilt)
    if "--resume" in flags:
        return "goes on with --resume"
    return "runs again" if flags else f"{REFUSED}: {step.output} exists and this study did not write it"


def _call(step: Step, faults: list[str]) -> Call | None:
    """The step's words, parsed as its command does; None, with a fault, where it cannot."""
    from ctseg.cli.ending import UsageError, usage_text
    from ctseg.cli.main import build_app

    try:
        command = typer.main.get_command(build_app(step.argv))
        context = command.make_context("ctseg", list(step.argv))
        name, leaf, words = command.resolve_command(context, list(step.argv))  # type: ignore[attr-defined]
        while hasattr(leaf, "commands") and words and not words[0].startswith("-"):
            _, leaf, words = leaf.resolve_command(context, words)
        inner = leaf.make_context(name, words, parent=context)
    except UsageError as error:
        faults.append(f"step {step.name!r}: {usage_text(error)}")
        return None
    except CtsegError as error:
        faults.append(f"step {step.name!r}: {error}")
        return None
    flags = {item.name: item.opts[0] if item.opts[0].startswith("-") else "input" for item in leaf.params}
    paths = frozenset(item.name for item in leaf.params if takes_path(item))
    return Call(step, str(name), inner.params, flags, paths)


def _faults_of(call: Call, study: Study, calls: Sequence[Call | None]) -> Iterator[str]:
    """What is wrong with one step, given those up to it."""
    if call.command == "run":
        return  # `read_study` has looked at the studies inside
    try:
        check_values(call.command, call.values, common.registry())
    except CtsegError as error:
        yield str(error)
    if call.command not in MADE:
        return  # a plugin's command: which of its paths are inputs is not known
    for name, path in _inputs(call):
        fault = _fault_of_input(call, name, path, study, calls)
        if fault:
            yield f"{call.flags.get(name, name)} {path}: {fault}"


def _inputs(call: Call) -> Iterator[tuple[str, str]]:
    """(parameter, path) of every input."""
    for name, value in call.values.items():
        if name in OUTPUTS:
            continue
        items = value if isinstance(value, list | tuple) else [value]
        for item in items:
            if item and name in (*call.paths, *TEXT_INPUTS):
                yield name, str(item)


def _fault_of_input(call: Call, name: str, path: str, study: Study, calls: Sequence[Call | None]) -> str:
    if path == "-":
        return "a study's step has no stdin; write the list to a file"
    here = study.steps.index(call.step)
    makers = [other for other in calls[:here] if other is not None and _is_within(path, other.step.output)]
    if name in ("model", "start") and _is_name(path):
        return (
            f"means the model of this name, not what {makers[-1].step.name!r} makes; write ./{path}" if makers else ""
        )
    if makers:
        return _fault_of_made(call, name, path, makers[-1])
    if not _is_there(path):
        return _missing(path, study.steps[:here], study.steps[here:])
    return _unusable(name, path)


def _unusable(name: str, path: str) -> str:
    """Why a model that is there cannot be used, as far as its plugin goes."""
    return lacks_plugin(Path(path)) if name in ("model", "start") else ""


def _is_name(text: str) -> bool:
    """Whether a word is the name of a model, which then wins over a path."""
    from ctseg.models import known_models

    return text in known_models(common.registry().of_kind("model")).sources


def _missing(path: str, earlier: Sequence[Step], later: Sequence[Step]) -> str:
    """Why an input is not there when its step runs."""
    maker = next((step for step in later if _is_within(path, step.output)), None)
    if maker is not None:
        return f"is made by step {maker.name!r}, which does not come before; change the order"
    near = nearest(path, [step.output for step in earlier if step.output])
    hint = f" (did you mean {near}?)" if near else ""
    return f"no such file or folder, and no earlier step makes it{hint}"


def _fault_of_made(call: Call, name: str, path: str, maker: Call) -> str:
    """Whether another command's output is of the kind that the flag takes."""
    wanted = WANTED.get((call.command, name))
    if wanted is None or os.path.normpath(path) != os.path.normpath(maker.step.output):
        return ""
    made = "scans" if maker.values.get("format_") == "nifti" else MADE.get(maker.command, "")
    if made and made not in wanted:
        return f"step {maker.step.name!r} makes {made} of it, expected {' or '.join(wanted)}"
    direction = PAIRS_FOR.get(call.command)
    if name == "pairs" and direction and maker.values.get("direction") not in (None, direction):
        return (
            f"step {maker.step.name!r} makes pairs for the other stage; add direction = {direction!r} to a step for it"
        )
    return ""


def _is_within(path: str, output: str) -> bool:
    """Whether a path is an output or lies in it."""
    if not output:
        return False
    here, made = (Path(os.path.abspath(text)) for text in (path, output))  # noqa: PTH100 - links stay
    return here == made or made in here.parents


def _is_there(path: str) -> bool:
    """Whether an input exists, or a pattern fits anything."""
    if os.path.exists(path):  # noqa: PTH110
        return True
    from glob import glob

    return any(sign in path for sign in "*?[") and bool(glob(path, recursive=True))  # noqa: PTH207
