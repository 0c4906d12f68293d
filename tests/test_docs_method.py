"""The table of equations on the page about the method names every equation once, and functions that there are."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

ROWS = re.findall(
    r"^\| (\(?[\d., ()to]+) \| .+? \| `(ctseg[\w.]+)` \|",
    Path(__file__).parents[1].joinpath("docs", "method.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def equations(text: str) -> list[int]:
    """The numbers that a cell names: `(9), (10)` or `(11) to (14)`."""
    numbers = [int(number) for number in re.findall(r"\((\d+)\)", text)]
    return list(range(numbers[0], numbers[-1] + 1)) if " to " in text else numbers


def test_every_equation_has_its_row() -> None:
    assert sorted(number for text, _ in ROWS for number in equations(text)) == list(range(1, 25))


def test_every_row_names_something_that_there_is() -> None:
    assert len(ROWS) >= 20
    for _, name in ROWS:
        module, _, attribute = name.rpartition(".")
        assert callable(getattr(import_module(module), attribute)), name
