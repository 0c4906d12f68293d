"""Defaults of options from `CTSEG_` variables and the user's TOML file; flags on the command line win over both.

`CTSEG_WORKERS=8` is `--workers 8` of every command that has it, `CTSEG_DAS_TRAIN_PRESET=plus` of one. The file says the
same as `workers = 8` above all tables and as `preset = "plus"` in a table `[das-train]`. Inputs, outputs, `--set` and
flags without a value cannot be set so: what a call reads, writes or replaces is part of the call. In a study's steps
only options of the machine count, because the study's memory knows nothing of the others.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctseg.cli.words import takes_path
from ctseg.errors import InputError, nearest
from ctseg.files import read_toml
from ctseg.outputs.mark import STUDY

PREFIX = "CTSEG_"
RESERVED = frozenset(
    {"CTSEG_CONFIG", "CTSEG_DISABLE_PLUGINS", "CTSEG_MODELS", "CTSEG_PSEUDONYM_KEY", "CTSEG_TEST_DATA"}
)
"""Variables that are no options."""
INPUTS = ("model", "start")
"""Options that name models as text."""
MACHINE = "Machine"
"""The help panel of the options that say where and how fast, not what."""
EVERY = ""
"""The key that means every command."""


@dataclass(frozen=True)
class Default:
    """One option that is set outside the command line."""

    command: str
    option: str
    """The parameter's name, as click has it."""
    flag: str
    value: str
    source: str
    """The variable's name, or the file's path."""


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the user's file lies: `CTSEG_CONFIG`, else in the user's folder of settings."""
    if environment.get("CTSEG_CONFIG"):
        return Path(environment["CTSEG_CONFIG"])
    home = environment.get("APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "ctseg" / "config.toml"


def any_set(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there may be any default: a file of them, or a variable that is not known to be something else."""
    variables = (name for name, value in environment.items() if name.startswith(PREFIX) and value)
    return bool(set(variables) - RESERVED) or bool(environment.get("CTSEG_CONFIG")) or config_path(environment).exists()


def read_defaults(root: Any, environment: Mapping[str, str] = os.environ) -> tuple[list[Default], list[str]]:
    """Every default that is set, the strongest of each option alone, and a line for each name that means nothing.

    Args:
        root: the application.
        environment: variables.

    Raises:
        InputError: if the file is no TOML, or `CTSEG_CONFIG` names none.
    """
    path = config_path(environment)
    if environment.get("CTSEG_CONFIG") and not path.is_file():
        raise InputError(f"CTSEG_CONFIG={path}: no such file; correct it or unset the variable")
    table = read_toml(path) if path.is_file() else {}
    given = [*_from_file(table, str(path)), *_from_environment(environment, root)]
    found: dict[tuple[str, str], Default] = {}
    unknown: list[str] = []
    for command, name, value, source in sorted(given, key=lambda item: (item[3] != str(path), item[0] != EVERY)):
        hits = list(_matching(root, command, name, value, source))
        for item in hits:
            found[item.command, item.option] = item
        if not hits:
            unknown.append(_about_unknown(root, command, name, source))
    return list(found.values()), [line for line in unknown if line]


def _from_file(table: Mapping[str, Any], source: str) -> Iterator[tuple[str, str, str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from ((key, name, str(item), source) for name, item in value.items())
        else:
            yield EVERY, key, str(value), source


def _from_environment(environment: Mapping[str, str], root: Any) -> Iterator[tuple[str, str, str, str]]:
    commands = sorted(root.commands, key=len, reverse=True)
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in RESERVED or not value:
            continue
        name = variable.removeprefix(PREFIX).lower()
        command = next((item for item in commands if name.startswith(_plain(item) + "_")), EVERY)
        yield command, name.removeprefix(_plain(command) + "_") if command else name, value, variable


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _matching(root: Any, command: str, name: str, value: str, source: str) -> Iterator[Default]:
    """The options of that name: of one command, or of all."""
    for known, found in root.commands.items():
        if command in (EVERY, known):
            for parameter in settable(found):
                if _plain(name) in (_plain(flag.lstrip("-")) for flag in parameter.opts):
                    yield Default(known, parameter.name, parameter.opts[0], value, source)


def settable(command: Any) -> list[Any]:
    """The options of a command that may be set outside the command line."""
    return [
        parameter
        for parameter in command.params
        if parameter.opts[0].startswith("--")
        and not (parameter.required or parameter.is_flag or parameter.multiple)
        and not takes_path(parameter)
        and parameter.name not in INPUTS
    ]


def _about_unknown(root: Any, command: str, name: str, source: str) -> str:
    """A line about a name that is no option; none for a variable that resembles none, which is another program's."""
    known = {_plain(item.opts[0].lstrip("-")) for found in root.commands.values() for item in settable(found)}
    near = nearest(_plain(name), known)
    if source.startswith(PREFIX):
        return f"{source} sets no option (did you mean {PREFIX}{near.upper()}?)" if near else ""
    if command and command not in root.commands:
        return ""  # of a package that is not loaded by this call, or is not there: `ctseg config` shows it
    where = f"[{command}] {name}" if command else name
    return f"{source}: {where} is no option that can be set here" + (f" (did you mean {near}?)" if near else "")


def in_force(defaults: Sequence[Default], argv: Sequence[str], root: Any) -> list[Default]:
    """The defaults that count for a call: those of its command that are not typed; in a study, of the machine alone."""
    command = next((word for word in argv if word in root.commands), "")
    parameters = {known.name: known for known in root.commands[command].params} if command else {}
    mine = [(item, parameters[item.option]) for item in defaults if item.command == command]
    return [item for item, known in mine if _counts(known, argv)]


def _counts(parameter: Any, argv: Sequence[str]) -> bool:
    return not _is_typed(parameter, argv) and (not STUDY.get() or _is_machine(parameter))


def _is_typed(parameter: Any, argv: Sequence[str]) -> bool:
    return bool({word.partition("=")[0] for word in argv} & set(parameter.opts))


def _is_machine(parameter: Any) -> bool:
    return getattr(parameter, "rich_help_panel", None) == MACHINE


def as_map(defaults: Sequence[Default]) -> dict[str, dict[str, str]]:
    """As click's `default_map` has them."""
    result: dict[str, dict[str, str]] = {}
    for item in defaults:
        result.setdefault(item.command, {})[item.option] = item.value
    return result


def said(defaults: Sequence[Default]) -> list[str]:
    """A line for each place that options come from."""
    by_source: dict[str, list[str]] = {}
    for item in defaults:
        by_source.setdefault(item.source, []).append(f"{item.flag} {shlex.quote(item.value)}")
    return [f"from {source}: {' '.join(words)}" for source, words in by_source.items()]
