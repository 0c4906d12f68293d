"""The words of a call and what they may be: global flags come anywhere, and some values are paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

GLOBAL_FLAGS = {
    "-q": "--quiet", "--quiet": "--quiet", "-v": "--verbose", "--verbose": "--verbose", "--no-plugins": "--no-plugins",
}  # fmt: skip
"""As typed -> in full."""
ELSEWHERE = dict.fromkeys(
    (
        "reproduce", "implant", "recovery-study", "source-subsets", "location-prior", "shuffle-labels",
        "planted-faults",
    ),
    "ctseg-reproduce",
)  # fmt: skip
"""Commands that other packages of this project bring."""


def globals_first(root: Any, argv: Sequence[str]) -> list[str]:
    """The words with `-q`, `-v` and `--no-plugins` in front, wherever they stood.

    A word stays where it is if the command has a flag of that name itself, if it is the value of the option before
    it, or after `--`.
    """
    front, rest, command, takes_value = list[str](), list[str](), root, False
    for place, word in enumerate(argv):
        if word == "--":
            rest += argv[place:]
            break
        options = _options(command)
        if not takes_value and word in GLOBAL_FLAGS and (command is root or word not in options):
            front.append(GLOBAL_FLAGS[word])
            continue
        rest.append(word)
        takes_value = not takes_value and word in options and not options[word]
        command = getattr(command, "commands", {}).get(word, command)
    return [*dict.fromkeys(front), *rest]


def _options(command: Any) -> dict[str, bool]:
    """Each option of a command as typed, and whether it is a flag without a value."""
    return {
        name: bool(getattr(parameter, "is_flag", False))
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("-")
    }


def takes_path(parameter: Any) -> bool:
    """Whether the values of a parameter are paths; before it had types of its own, typer took click's."""
    descriptor = getattr(parameter, "type_descriptor", None)
    if descriptor is not None:
        return descriptor.annotation in (Path, list[Path])
    return "Path" in type(parameter.type).__name__
