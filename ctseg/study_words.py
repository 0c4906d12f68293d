"""From a step of a study to the words of a command line: what its keys say, and what a command must not hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctseg.errors import InputError

OWN_KEYS = ("name", "command", "input", "output", "expect_s")


def tables_of(content: Mapping[str, Any], path: Path) -> list[Any]:
    """The steps of a study, which holds nothing else: a step under a misspelt name would not be run.

    Args:
        content: of the whole file.
        path: of the file, for messages.

    Raises:
        InputError: if it holds no steps, or anything beside them.
    """
    tables = content.get("step")
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{path}: holds no [[step]]; write one for each command, see docs/studies.md")
    other = next((key for key in content if key != "step"), None)
    if other is not None:
        raise InputError(f"{path}: holds {other[:40]!r} beside its steps; write [[step]] above each, or take it out")
    return tables


def command_of(table: Mapping[str, Any], where: str) -> str:
    """A step's command: words that name one, and no option.

    An option before a command is carried out while the words are read, also in a rehearsal: `--install-completion`
    writes into the shell's own settings.

    Args:
        table: the step.
        where: the file and the step, for messages.

    Raises:
        InputError: if there is none, or it holds options.
    """
    command = table.get("command")
    if not isinstance(command, str) or not command.split():
        raise InputError(f'{where} has no command; write command = "match", say')
    odd = next((word for word in command.split() if word.startswith("-")), None)
    if odd is not None:
        raise InputError(f"{where}: its command holds the option {odd}; write a command alone, and options as keys")
    return command


def expected_of(table: Mapping[str, Any], where: str) -> float:
    """How many seconds a step is expected to take.

    Raises:
        InputError: if it is no number of seconds.
    """
    expected = table.get("expect_s", 0.0)
    if not isinstance(expected, int | float) or not 0 <= expected < math.inf:
        raise InputError(f"{where}: expect_s is {expected!r}, expected a number of seconds")
    return float(expected)


def words_of(command: str, table: Mapping[str, Any]) -> list[str]:
    """A step's words as on a command line: command, inputs, flags, output.

    An input is no option: one that begins like an option gets `./` in front.
    """
    inputs = table.get("input", [])
    texts = [str(item) for item in (inputs if isinstance(inputs, list) else [inputs])]
    argv = [*command.split(), *(f"./{text}" if text[:1] == "-" and text != "-" else text for text in texts)]
    for key, value in table.items():
        if key not in OWN_KEYS:
            argv += flags(key, value)
    return [*argv, "-o", str(table["output"])] if table.get("output") else argv


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
