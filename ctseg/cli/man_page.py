"""The manual page `ctseg.1`, made from the same help as `--help`: `python -m ctseg.cli.man_page > ctseg.1`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from ctseg.version import __version__

EXIT_CODES = (
    ("0", "done"), ("1", "some cases failed, or something is not sound"), ("2", "bad usage or input"),
    ("130", "interrupted"), ("143", "terminated"),
)  # fmt: skip
VARIABLES = (
    ("CTSEG_CONFIG", "another file of options than config.toml in the folder ctseg of the user's settings"),
    ("CTSEG_OPTION, CTSEG_COMMAND_OPTION", "default of an option of every command, or of one; see ctseg config"),
    ("CTSEG_DISABLE_PLUGINS", "1 for every outside plugin, or names of packages"),
    ("CTSEG_MODELS", "the folder of the user's models"),
    ("CTSEG_PSEUDONYM_KEY", "a secret from which pseudonyms of patients are made"),
)


def man_page() -> str:
    """The page in roff, for `man -l`."""
    from ctseg.cli.examples import EXAMPLES, finish_help
    from ctseg.cli.main import build_app

    root = typer.main.get_command(build_app(["segment"]))
    finish_help(root)
    lines = [f'.TH CTSEG 1 "" "ctseg {__version__}" "User Commands"', ".SH NAME"]
    lines += [r"ctseg \- segment haemorrhage on head CT, trained on labelled MR and unlabelled CT", ".SH SYNOPSIS"]
    lines += [r".B ctseg", r"[\-q] [\-v] \fICOMMAND\fR [\fIOPTIONS\fR]", ".SH DESCRIPTION", *_prose(root.help or "")]
    lines += [".SH OPTIONS", *_options(root), ".SH COMMANDS"]
    for path, command in commands_of(root):
        lines += [f'.SS "ctseg {_roff(path)}"', *_prose(command.help or ""), *_options(command)]
        for example in EXAMPLES.get(path, ()):
            lines += [".PP", ".RS", ".nf", _roff(example), ".fi", ".RE"]
    lines += [".SH EXIT STATUS", *_list(EXIT_CODES), ".SH ENVIRONMENT", *_list(VARIABLES)]
    return "\n".join([*lines, ".SH NOTES", "Research software, not a medical device."]) + "\n"


def commands_of(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below one, with its words as they are typed."""
    for name, below in getattr(command, "commands", {}).items():
        here = f"{path} {name}".strip()
        yield here, below
        yield from commands_of(below, here)


def _options(command: Any) -> list[str]:
    """Arguments and options with their help and defaults."""
    return [line for parameter in command.params for line in (".TP", _names(parameter), _help(parameter) or r"\&")]


def _names(parameter: Any) -> str:
    """As they are typed, and the value's name."""
    is_option = parameter.opts[0].startswith("-")
    names = ", ".join(rf"\fB{_roff(name)}\fR" for name in parameter.opts) if is_option else ""
    value = value_name(parameter)
    return rf"{names} \fI{_roff(value)}\fR".strip() if value else names


def value_name(parameter: Any) -> str:
    """What help calls the value of an argument or option; empty for a flag."""
    if getattr(parameter, "is_flag", False):
        return ""
    choices = getattr(getattr(parameter, "type_descriptor", None), "choices", None) or ()
    name = parameter.metavar or "|".join(map(str, choices)) or parameter.name.upper()
    return f"{name}..." if parameter.nargs == -1 else str(name)


def shown_default(parameter: Any) -> str:
    """The default of an argument or option; empty where there is none to tell. 0 is one."""
    value = parameter.default
    return "" if callable(value) or value is None or value is False or value in ("", [], ()) else str(value)


def _help(parameter: Any) -> str:
    value = shown_default(parameter)
    return _roff((getattr(parameter, "help", None) or "") + (f" Default: {value}." if value else ""))


def _prose(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [".PP", _roff(" ".join(paragraph.split()))]
    return lines


def _list(items: tuple[tuple[str, str], ...]) -> list[str]:
    return [line for name, text in items for line in (".TP", rf"\fB{_roff(name)}\fR", _roff(text))]


def _roff(text: str) -> str:
    """Text that roff takes literally."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(man_page())
