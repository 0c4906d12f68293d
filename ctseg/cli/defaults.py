"""Defaults of options from `CTSEG_` variables and the user's TOML file; flags on the command line win over both.

`CTSEG_WORKERS=8` is `--workers 8` of every command that has it, `CTSEG_DAS_TRAIN_PRESET=plus` of one. The file says the
same as `workers = 8` above all tables and as `preset = "plus"` in a table `[das-train]`. Inputs, outputs, `--set` and
flags without a value cannot be set so: what a call reads, writes or replaces is part of the call. In a study's steps
only options of the machine count, because the study's memory knows nothing of the others.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctseg.cli.words import ELSEWHERE, takes_path
from ctseg.errors import InputError, nearest
from ctseg.files import read_toml, special
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


def config_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where the user's file lies: `CTSEG_CONFIG`, else in the user's folder of settings; None where there is no home.

    An account without a home folder is the rule in containers and batch systems (`docker run --user 12345`).
    """
    if environment.get("CTSEG_CONFIG"):
        return Path(environment["CTSEG_CONFIG"])
    named = environment.get("APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME")
    try:
        home = Path(named) if named else Path.home() / ".config"
    except RuntimeError:
        return None
    return home / "ctseg" / "config.toml"


def any_set(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there may be any default: a file of them, or a variable that is not known to be something else."""
    variables = (name for name, value in environment.items() if name.startswith(PREFIX) and value)
    path = config_path(environment)
    return bool(set(variables) - RESERVED) or (path is not None and _mode(path) != NOT_THERE)


def is_there(path: Path | None) -> bool:
    """Whether the user's file is there, as far as this account may look."""
    mode = None if path is None else _mode(path)
    return mode is not None and stat.S_ISREG(mode)


NOT_THERE = 0


def _mode(path: Path) -> int | None:
    """The mode of a file, or of a link to nothing; `NOT_THERE`, and None where this account may not look."""
    try:
        return (path.stat() if path.exists() else path.lstat()).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return NOT_THERE
    except PermissionError:
        return None


def _read_file(path: Path | None, environment: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What the user's file holds, and a line where nobody can say whether there is one.

    Raises:
        InputError: if it is no TOML, or no file, or `CTSEG_CONFIG` names none.
    """
    if path is None:
        return {}, ""
    is_named, mode = bool(environment.get("CTSEG_CONFIG")), _mode(path)
    if mode is None and not is_named:  # somebody else's home, as HOME=/root in a container
        return {}, f"{path}: this account may not look there, so no option comes from it; correct HOME or permissions"
    if mode == NOT_THERE and not is_named:
        return {}, ""
    reason = _no_file(mode)
    if reason and is_named:
        raise InputError(f"CTSEG_CONFIG={path}: {reason}; correct it or unset the variable")
    if reason:
        raise InputError(f"{path}: {reason}; correct or remove it")
    return read_toml(path), ""


def _no_file(mode: int | None) -> str:
    """Why something of a mode is no file that can be read; empty where it is one, or nobody knows."""
    if mode is None or stat.S_ISREG(mode):
        return ""
    if mode == NOT_THERE:
        return "no such file"
    return "a link to nothing" if stat.S_ISLNK(mode) else f"{special(mode)}, not a file"


def read_defaults(
    root: Any, environment: Mapping[str, str] = os.environ, *, whole: bool = False
) -> tuple[list[Default], list[str]]:
    """Every default that is set, the strongest of each option alone, and a line for each name that means nothing.

    Args:
        root: the application.
        environment: variables.
        whole: whether `root` has the commands of every package, so that another name in the file is none.

    Raises:
        InputError: if the file is no TOML, or no file, or `CTSEG_CONFIG` names none.
    """
    path = config_path(environment)
    table, unsure = _read_file(path, environment)
    given = [*_from_file(table, str(path)), *_from_environment(environment, root)]
    found: dict[tuple[str, str], Default] = {}
    unknown = [unsure, *(_about_table(root, key, str(path), whole) for key, item in table.items() if _is_table(item))]
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


def _is_table(item: Any) -> bool:
    return isinstance(item, Mapping) or (isinstance(item, list) and bool(item) and isinstance(item[0], Mapping))


def _about_table(root: Any, name: str, source: str, whole: bool) -> str:
    """A line about a table of the file that is no command's; none for what may be that of a package not loaded now."""
    known = {*root.commands, *ELSEWHERE}
    near = nearest(name.lower().replace("_", "-"), known)
    if name in known or not (near or whole):
        return ""
    return f"{source}: [{name}] is no command" + (f" (did you mean [{near}]?)" if near else "")


def _about_unknown(root: Any, command: str, name: str, source: str) -> str:
    """A line about a name that is no option; none for a variable that resembles none, which is another program's."""
    known = {_plain(item.opts[0].lstrip("-")) for found in root.commands.values() for item in settable(found)}
    near = nearest(_plain(name), known)
    if source.startswith(PREFIX):
        return f"{source} sets no option (did you mean {PREFIX}{near.upper()}?)" if near else ""
    if command and command not in root.commands:
        return ""  # `_about_table` has said what there is to say
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
