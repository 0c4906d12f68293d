"""What decides a step's output: its words, what it reads from outside the study, and the steps that it follows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.study_inputs import Content, content_of, paths_read, what_changed

if TYPE_CHECKING:
    from ctseg.study import Step

RESUMABLE = ("synth-train", "das-train", "finetune", "segment")
"""Commands that go on with what they began, and try again what failed."""
SPEED_KEYS = ("workers", "scheduler")
"""Keys that change how fast a step is and nothing in its output: one that is done stays done with others."""


@dataclass(frozen=True)
class StepKey:
    """A step's identity: its output is current while the key is the same."""

    key: str
    plain: str
    """The key without inputs, as records have it that were written before inputs were looked at."""
    words: str
    """Digest of the words that decide what comes out."""
    feeds: Mapping[str, str]
    """Steps whose outputs it reads -> their keys."""
    inputs: Mapping[str, Content]
    """Path as the study has it -> its content."""

    def accepted(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        """The keys by which a record, or a mark beside it, is this step's."""
        return (self.key, self.plain) if record.get("key") == self.plain else (self.key,)

    def as_dict(self) -> dict[str, Any]:
        """For the study's memory."""
        inputs = {name: content.as_dict() for name, content in self.inputs.items()}
        return {"key": self.key, "words": self.words, "feeds": dict(self.feeds), "inputs": inputs}


def step_key(steps: Sequence[Step], row: int, known: Sequence[StepKey], record: Mapping[str, Any]) -> StepKey:
    """The identity of a step now.

    Args:
        steps: all of the study.
        row: which one.
        known: the identities of the steps before it.
        record: what the study remembers of the step, so that unchanged inputs need not be read.
    """
    step, outputs = steps[row], [other.output for other in steps]
    feeding = [earlier for earlier in range(row) if _reads(step, steps[earlier].output)]
    words = _deciding_words(step.argv)
    inputs = {
        name: content_of(name, outputs, _remembered(record, name)) for name in paths_read(step.argv, outputs)
    }  # fmt: skip
    plain = _digest([words, [known[earlier].plain for earlier in feeding]])
    parts: list[Any] = [words, [known[earlier].key for earlier in feeding]]
    if inputs:
        parts.append({name: content.digest for name, content in inputs.items()})
    feeds = {steps[earlier].name: known[earlier].key for earlier in feeding}
    return StepKey(_digest(parts), plain, _digest(words), feeds, inputs)


def why_again(now: StepKey, record: Mapping[str, Any], outputs: Sequence[str]) -> str:
    """In words, how a step differs from what the study remembers of it; empty where that cannot be told."""
    if "words" not in record:
        return ""
    reasons = [] if record["words"] == now.words else ["its entry in the study"]
    for name, content in now.inputs.items():
        before = _remembered(record, name)
        if before is not None and before.digest != content.digest:
            reasons.append(what_changed(name, outputs, before, content))
    feeds = record.get("feeds")
    if isinstance(feeds, dict):
        reasons += [f"the step {name!r}" for name, key in now.feeds.items() if feeds.get(name, key) != key]
    return ", ".join(reasons)


def _remembered(record: Mapping[str, Any], name: str) -> Content | None:
    inputs = record.get("inputs")
    return Content.of(inputs.get(name)) if isinstance(inputs, dict) else None


def _digest(parts: Any) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()


def _deciding_words(argv: Sequence[str]) -> list[str]:
    """The words that decide what comes out."""
    speed_flags = [f"--{key}" for key in SPEED_KEYS]
    return [
        word
        for before, word in zip(("", *argv), argv, strict=False)
        if word not in speed_flags and before not in speed_flags
    ]


def _reads(step: Step, output: str) -> bool:
    """Whether one of a step's arguments is, holds, or lies within another step's output, however it is written."""
    if not output:
        return False
    made = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow the links
    for text in (text for word in step.argv for text in _paths_in(word)):
        here = Path(os.path.abspath(text))  # noqa: PTH100
        if here == made or made in here.parents or here in made.parents:
            return True
    return False


def _paths_in(word: str) -> tuple[str, ...]:
    """What a word may have for a path: itself, as `sets/lr=0.1`, or what follows `=`, as in `--model=NAME=PATH`."""
    _, _, value = word.partition("=")
    return (word, value) if value else (word,)


def failed_again(steps: Sequence[Step], state: Mapping[str, Any]) -> dict[str, Any]:
    """The memory, in which a step some of whose cases failed is only begun: the next call tries these cases again.

    It stays done where it cannot go on, and where a later step is done: that one has used what there was.
    """
    found, is_used = dict(state), False
    for step in reversed(steps):
        record = found.get(step.name, {})
        if record.get("code") == 1 and step.argv[0] in RESUMABLE and not is_used:
            found[step.name] = {**record, "done": False}
        is_used |= bool(record.get("done"))
    return found
