"""Every flag of every command is on the page of flags, and on the page of its command or among the shared ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from test_docs_words import ROOT

from ctseg.cli.flags_page import PAGES, flags_page
from ctseg.cli.main import ELSEWHERE, build_app
from ctseg.cli.man_page import commands_of

REPRODUCE = "../plugins/ctseg-reproduce/docs"
ELSEWHERE_PAGES = {
    "reproduce": f"{REPRODUCE}/reproduce.md", "implant": f"{REPRODUCE}/implant.md", "recovery-study": "recovery.md",
}  # fmt: skip
SHARED = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8").partition("## Flags that every command has")[2]


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    return dict(commands_of(typer.main.get_command(build_app())))


def is_named(flag: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text) is not None


def test_the_page_of_flags_is_that_of_the_commands(commands: dict[str, Any]) -> None:
    if not set(ELSEWHERE) <= set(commands):
        pytest.skip("ctseg-reproduce is not installed")
    page = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    assert page == flags_page(), "python -m ctseg.cli.flags_page > docs/flags.md"
    for path, command in commands.items():
        if path.partition(" ")[0] in {**PAGES, **ELSEWHERE}:
            section = page.partition(f"## ctseg {path}\n")[2].partition("\n## ")[0]
            flags = [name for parameter in command.params for name in parameter.opts if name.startswith("-")]
            assert [flag for flag in flags if f"`{flag}`" not in section] == [], path


def test_every_flag_is_on_the_page_of_its_command(commands: dict[str, Any]) -> None:
    lacking = []
    for path, command in commands.items():
        page = {**PAGES, **ELSEWHERE_PAGES}.get(path.partition(" ")[0], "").partition("#")[0]
        if not page:
            continue
        text = SHARED + (ROOT / "docs" / page).read_text(encoding="utf-8")
        options = [parameter.opts for parameter in command.params if parameter.opts[0].startswith("-")]
        lacking += [(path, names[0], page) for names in options if not any(is_named(name, text) for name in names)]
    assert lacking == []


def test_every_command_has_its_page(commands: dict[str, Any]) -> None:
    assert {path.partition(" ")[0] for path in commands} - {"plugin-template"} <= {*PAGES, *ELSEWHERE}
    for page in {*PAGES.values(), *ELSEWHERE_PAGES.values()}:
        assert (ROOT / "docs" / page.partition("#")[0]).is_file(), page


def test_a_flag_is_found_whole() -> None:
    assert is_named("--set", "add `--set NAME=VALUE`")
    assert not is_named("--set", "`--settings`")
    assert not is_named("-0", "8-0 and --0")
