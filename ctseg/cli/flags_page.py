"""The page `docs/flags.md`, made from the same help as `--help`: `python -m ctseg.cli.flags_page > docs/flags.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from ctseg.cli.man_page import commands_of, shown_default, value_name
from ctseg.harmless import markdown_row

PAGES = {
    "preprocess": "preprocess.md", "match": "method-matching.md", "synth-train": "method-synthesis.md",
    "synthesize": "method-synthesis.md", "das-train": "method-segmentation.md", "segment": "segment.md",
    "evaluate": "evaluation.md", "finetune": "method-segmentation.md", "run": "studies.md", "demo": "tutorial.md",
    "phantom": "phantom.md", "export": "export.md", "bids": "bids.md", "settings": "commands.md#settings",
    "config": "commands.md#options-from-elsewhere", "inspect": "commands.md#inspect", "doctor": "commands.md#doctor",
    "models": "models.md", "plugins": "plugins.md",
}  # fmt: skip
"""Command -> the page about it."""
INTRODUCTION = """\
# Flags

Every argument and flag of every command, as `ctseg COMMAND --help` says it. The pages of the commands say when to use
them; those that many commands share are explained in [commands](commands.md#flags-that-many-commands-share).
`python -m ctseg.cli.flags_page` makes this page, and a test compares it with the commands.
"""


def flags_page() -> str:
    """The page in Markdown: the commands of ctseg and of the other packages of this project that are installed."""
    from ctseg.cli.examples import finish_help
    from ctseg.cli.main import build_app
    from ctseg.cli.words import ELSEWHERE

    root = typer.main.get_command(build_app())
    finish_help(root)
    lines = [INTRODUCTION, "## ctseg", "", *_table(root)]
    for path, command in commands_of(root):
        name = path.partition(" ")[0]
        if name not in PAGES and name not in ELSEWHERE:
            continue
        page = PAGES.get(name)
        where = f"[More about {name}]({page})." if page else f"A command of the package `{ELSEWHERE[name]}`."
        summary = (command.help or "").partition("\n\n")[0]
        lines += ["", f"## ctseg {path}", "", *_wrapped(f"{summary} {where}"), "", *_table(command)]
    return "\n".join(lines) + "\n"


def _table(command: Any) -> Iterator[str]:
    """A row for each argument and flag."""
    yield markdown_row(("argument, flag", "value", "default", "what it does"))
    yield "|---|---|---|---|"
    for parameter in command.params:
        value, default = (f"`{text}`" if text else "" for text in (value_name(parameter), shown_default(parameter)))
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        if parameter.param_type_name == "argument":
            names, value = value, ""
        default = "needed" if parameter.required else default
        yield markdown_row((names, value, default, getattr(parameter, "help", None) or ""))


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    return wrap(text, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(flags_page())
