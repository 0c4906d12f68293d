"""From a step of a study to the words of a command line: what its keys say, and what a command must not hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ctseg.errors import InputError

OWN_KEYS = ("name", "command", "input", "output", "expect_s")


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
    """A step's words as on a command line: command, inputs, flags, output."""
    inputs = table.get("input", [])
    argv = [*command.split(), *(str(item) for item in (inputs if isinstance(inputs, list) else [inputs]))]
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
