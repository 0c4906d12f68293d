"""Which plugins of other packages a study's steps were done with: where they are others now, a line says so.

Such a step stays done, as it does with another version of ctseg: a training takes days, and most new versions change
nothing in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctseg.cli import common
from ctseg.errors import CtsegError
from ctseg.files import write_json
from ctseg.locks import Busy, held
from ctseg.plugins.entry import words
from ctseg.study import read_state

if TYPE_CHECKING:
    from ctseg.plugins.host import Entry, Registry
    from ctseg.study import Step, Study

OWN = "ctseg"
Execute = Callable[[list[str]], int]


@contextmanager
def comparing(study: Study, execute: Execute) -> Iterator[Execute]:
    """Run a study in the block with what is given in place of `execute`; in the end its steps are compared.

    Args:
        study: the study.
        execute: runs one command line.
    """
    ran: list[list[str]] = []

    def run_step(argv: list[str]) -> int:
        ran.append(argv)
        return execute(argv)

    try:
        yield run_step
    finally:
        with suppress(Busy), chdir(study.path.parent), held(study.path):  # another call of it may have begun
            _compare(study, ran)


def _compare(study: Study, ran: Sequence[Sequence[str]]) -> None:
    """Remember the plugins of steps that ran, and say of others which are not what they were made with."""
    state = read_state(study.state_path)
    done = [step for step in study.steps if state.get(step.name, {}).get("done")]
    for step in done:
        now, record = plugins_of(step.argv), state[step.name]
        if any(tuple(argv[: len(step.argv)]) == step.argv for argv in ran):
            record["plugins"] = now
        _say_others(step, record.get("plugins"), now)
    if ran and done:
        write_json(study.state_path, state)


def _say_others(step: Step, before: Any, now: Mapping[str, str]) -> None:
    """A line for each plugin whose version is another than the one that a step was done with."""
    for name, had in before.items() if isinstance(before, dict) else ():
        if now.get(name) != had:
            has = f"{now[name]} is installed" if name in now else "it is not installed"
            common.warn(f"step {step.name!r} was done with {name} of {had}, and {has}; --fresh makes it again")


def plugins_of(argv: Sequence[str]) -> dict[str, str]:
    """`segmenter odd` -> `ctseg-odd 0.3.1`: what a command line names, what its models need, every metric of evaluate.

    Args:
        argv: a command and its words.
    """
    registry = common.registry()
    given = {part for word in argv for part in (word, word.partition("=")[2]) if part}
    used = [entry for entry in registry.entries.values() if _is_used(entry, argv[0], given)]
    used += _of_models(registry, given)
    return {f"{words(entry.kind)} {entry.name}": f"{entry.package} {entry.version}" for entry in used}


def _is_used(entry: Entry, command: str, given: Iterable[str]) -> bool:
    """Whether a command uses a plugin of another package by its name."""
    every = entry.kind == "metric" and command == "evaluate"
    return entry.package != OWN and (every or entry.name in given)


def _of_models(registry: Registry, given: Iterable[str]) -> Iterator[Entry]:
    """The networks of other packages that the models and runs among some words have."""
    from ctseg.runs import read_header

    for word in given:
        try:
            header = read_header(Path(word))
        except (CtsegError, OSError, ValueError):
            continue
        entry = registry.entries.get((header.kind, header.name))
        if entry is not None and entry.package != OWN:
            yield entry
