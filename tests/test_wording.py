"""Counts and names in sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctseg.wording import counted, first_of


@pytest.mark.parametrize(("count", "words"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases")])
def test_only_one_is_singular(count: int, words: str) -> None:
    assert counted(count, "case") == words


@pytest.mark.parametrize(
    ("names", "most", "words"),
    [
        (["a"], 1, "a"),
        (["a", "b"], 1, "a and 1 more"),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d", "e"], 3, "a, b, c and 2 more"),
        ([Path("x/a"), Path("x/b")], 1, f"{Path('x/a')} and 1 more"),
        ([], 3, ""),
    ],
)
def test_names_beyond_the_first_are_a_number(names: list[str | Path], most: int, words: str) -> None:
    assert first_of(names, most) == words
