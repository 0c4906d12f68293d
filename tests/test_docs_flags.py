"""Every flag of every command is on the page of flags, and on the page of its command or among the shared ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from test_docs_words import ROOT

from ctseg.cli.flags_page import PAGES, flags_page
from ctseg.cli.main import build_app
from ctseg.cli.man_page import commands_of
from ctseg.cli.words import ELSEWHERE

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


SPAN = re.compile(r"`((?:\S+=\S+ )*ctseg [^`]+)`")
LINE = re.compile(r"^(?:    )?(?:\$ )?((?:\S+=\S+ )*ctseg .+)$", re.MULTILINE)
STANDS_FOR = {"COMMAND", "...", "[OPTIONS]"}
"""What a page writes for any command."""


def calls_of(text: str) -> list[list[str]]:
    """The words of every call of ctseg on a page, in a line of a block or within a sentence."""
    joined = text.replace("\\\n", " ")
    fenced = re.findall(r"^```.*?^```", joined, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", joined, flags=re.MULTILINE | re.DOTALL).replace("\n", " ")
    lines = [line for block in fenced for line in LINE.findall(block)]
    found = [re.split(r"\s[|>&#]|;|\s\[|\)", call)[0].split() for call in [*SPAN.findall(prose), *lines]]
    return [words[words.index("ctseg") + 1 :] for words in found]


def faults(words: list[str], commands: dict[str, Any], everywhere: set[str]) -> list[str]:
    """What a call names that is not there: a command, or a flag of it."""
    rest = [word for word in words if word not in everywhere]
    if not rest or rest[0] in STANDS_FOR or rest[0].startswith("-"):
        return [word for word in rest[:1] if word.startswith("--")]
    path = rest[0].strip(",.:")
    if path not in commands:
        return [path]
    path = f"{path} {rest[1]}" if len(rest) > 1 and f"{path} {rest[1]}" in commands else path
    flags = {name for parameter in commands[path].params for name in (*parameter.opts, *parameter.secondary_opts)}
    named = [word.partition("=")[0].rstrip(",.:") for word in rest if word.startswith("--") and word != "--"]
    return [f"{path} {flag}" for flag in named if flag not in flags]


def test_no_page_names_a_command_or_a_flag_that_is_not_there(commands: dict[str, Any]) -> None:
    root = typer.main.get_command(build_app())
    everywhere = {name for parameter in root.params for name in parameter.opts} | {"-h", "--help"}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md")]
    pages += [*(ROOT / "plugins" / "ctseg-reproduce" / "docs").glob("*.md")]
    found = [(page, words) for page in pages for words in calls_of(page.read_text(encoding="utf-8"))]
    assert len(found) > 300
    wrong = [
        (page.relative_to(ROOT).as_posix(), " ".join(words), fault)
        for page, words in found
        for fault in faults(words, commands, everywhere)
    ]
    assert [item for item in wrong if (item[0], item[2]) not in MEANT] == []
    assert MEANT - {(page, fault) for page, _, fault in wrong} == set(), "these are there no more"


MEANT = {("docs/plugins.md", "larger"), ("docs/studies.md", "did")}
"""(page, what is not there): a command that the page itself makes, and a message that begins with ctseg's name."""


def test_a_command_or_flag_that_is_not_there_is_found(commands: dict[str, Any]) -> None:
    text = "Use `ctseg segmnt x`, `ctseg segment x\n--modle y`.\n```sh\n$ ctseg match --src a --tgt b | head\n```\n"
    calls = calls_of(text)
    assert [faults(words, commands, {"-q"}) for words in calls] == [["segmnt"], ["segment --modle"], []]
    assert faults(["models", "show", "x", "--json"], commands, set()) == []
