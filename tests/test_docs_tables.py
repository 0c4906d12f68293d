"""Every table of the pages is one: a header, a line of dashes, and as many cells in each row."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md"),
     *(ROOT / "plugins").glob("*/docs/**/*.md")]
)  # fmt: skip
DASHES = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")


def tables(text: str) -> list[list[str]]:
    """The rows of each table; what is in a block of code is none."""
    shown = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [list(rows) for is_row, rows in groupby(shown.splitlines(), lambda line: line.startswith("|")) if is_row]


def cells(row: str) -> int:
    """How many cells a row has; a bar within code, or behind a backslash, ends none."""
    return len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) - 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_table_has_a_header_and_whole_rows(page: Path) -> None:
    """Three rows behind an empty line had been shown as text."""
    for table in tables(page.read_text(encoding="utf-8")):
        assert len(table) > 2, table
        assert DASHES.fullmatch(table[1].strip()), table[0]
        assert {cells(row) for row in table} == {cells(table[0])}, table[0]


def test_rows_without_a_header_are_found() -> None:
    (table,) = tables("text\n\n| a | b |\n| c | `d|e` |\n\n```\n| no | table |\n```\n")
    assert not DASHES.fullmatch(table[1])
    assert [cells(row) for row in table] == [2, 2]
