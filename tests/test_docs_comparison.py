"""The table of docs/comparison.md: 45 rows, each with a command that parses, whose settings exist, or with a page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from test_docs_messages import is_said
from test_docs_words import ROOT

from ctseg.cli import common
from ctseg.cli.command_settings import COMMANDS, groups_of
from ctseg.cli.main import build_app

PAGE = ROOT / "docs" / "comparison.md"
QUOTED = re.compile(r"`([^`]+)`")
WITH_A_PAGE = {"25", "33", "37", "41", "43", "44", "45"}
"""Rows that have a page in place of a command, or beside it."""
NOBODY_ELSE = ["5", "6", "8", "22", "24", "29", "38", "41", "42"]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of a table that begins with a number."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [row for row in cells if row[0].isdigit()]


def first_table() -> list[list[str]]:
    return rows(PAGE.read_text(encoding="utf-8").partition("\n## ")[0])


def calls(cell: str) -> list[list[str]]:
    """The commands of a cell, in words."""
    return [shlex.split(text) for text in QUOTED.findall(cell) if text.startswith("ctseg ")]


@pytest.fixture(scope="module")
def root() -> Any:
    return typer.main.get_command(build_app(["segment"]))


def parsed(root: Any, words: list[str]) -> Any:
    """The context of the command that some words call; raises where a flag or a command is not there."""
    from ctseg.cli.words import globals_first

    command, rest = root, globals_first(root, words[1:])
    if "--help" in rest or "--install-completion" in rest:
        flags = {name for parameter in root.params for name in parameter.opts} | {"--help"}
        assert set(rest) <= flags, rest
        return None
    context = root.make_context("ctseg", list(rest))
    rest = [word for word in rest if not (command is root and word in ("--quiet", "--verbose"))]
    while getattr(command, "commands", {}).get(rest[0] if rest else ""):
        name, command, rest = rest[0], command.commands[rest[0]], rest[1:]
        context = command.make_context(name, list(rest), parent=context)
    assert command is not root, words
    return context


def unknown_settings(context: Any) -> list[str]:
    """Names behind `--set` that the command does not have."""
    name, values = context.info_name, [text.partition("=")[0] for text in context.params.get("settings") or ()]
    if not values:
        return []
    assert name in COMMANDS, name
    known = {
        f"{group.prefix}{field}" for group in groups_of(name, common.registry()) for field in group.model.model_fields
    }
    return [value for value in values if value not in known]


def test_every_row_is_there_with_a_command_or_a_page() -> None:
    table = first_table()
    assert [row[0] for row in table] == [str(number) for number in range(1, 46)]
    assert {row[0] for row in table if "](" in row[4]} == WITH_A_PAGE
    for row in table:
        assert calls(row[4]) or row[0] in WITH_A_PAGE, row[0]
        assert row[5] or row[0] in WITH_A_PAGE, row[0]


def test_every_command_of_the_table_parses(root: Any) -> None:
    found = [(row[0], words) for row in first_table() for words in calls(row[4])]
    assert len(found) > 40
    for number, words in found:
        context = parsed(root, words)
        assert context is None or unknown_settings(context) == [], (number, words)


@pytest.mark.parametrize("line", ["ctseg segmnt x", "ctseg segment x --rtstructs", "ctseg --hlep", "ctseg match"])
def test_a_command_that_is_wrong_does_not_parse(root: Any, line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - click's, or the assertion
        parsed(root, shlex.split(line))


def test_a_setting_that_is_wrong_is_found(root: Any) -> None:
    words = "ctseg segment x --set previews_3d=true --set preview_3d=true"
    assert unknown_settings(parsed(root, words.split())) == ["previews_3d"]


def test_what_a_row_prints_is_said_by_the_code() -> None:
    """Words in backticks that are no file: each is a message, a name or a key of the package."""
    sources = [*(ROOT / "ctseg").rglob("*.py"), *(ROOT / "ctseg").rglob("*.json")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for row in first_table():
        for text in QUOTED.findall(row[5]):
            is_example = re.fullmatch(r"[\d.]+ (?:to|of) [\d.]+(?: scans)?", text)
            if "/" not in text and not is_example and not text.startswith("brains"):
                said = text.strip('"') in code or text.replace("-", "_") in code
                assert said or is_said(text), (row[0], text)


def test_every_page_of_the_table_is_there() -> None:
    for text in re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        page, _, anchor = text.partition("#")
        if page.startswith("http"):
            continue
        path = PAGE.parent / page
        assert path.is_file(), text
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {_anchor(heading) for heading in headings}, text


def _anchor(heading: str) -> str:
    """As Markdown's `toc` makes it."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def test_the_rows_where_nobody_scores_say_how_they_are_tested() -> None:
    second = rows(PAGE.read_text(encoding="utf-8").partition("## Where nobody else scores")[2])
    assert [row[0] for row in second] == NOBODY_ELSE
    assert all(row[2] for row in second)
    assert Path(ROOT / "tests/cli/test_completion_shells.py").is_file()
