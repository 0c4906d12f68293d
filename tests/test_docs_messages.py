"""Every message on a page is in the code: its words, but for names and numbers, stand in one string of ctseg."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in (ROOT / "docs").glob("*.md") if "| message" in page.read_text(encoding="utf-8"))
ANY = "\0"
"""What an f-string puts in."""
MOST = 4
"""How many words of a message may be one thing that is put in."""


def texts(node: ast.AST) -> Iterator[str]:
    """Every string of a module; the parts of f-strings and sums joined, with `ANY` for what they put in."""
    if isinstance(node, ast.Constant):
        yield from [node.value] if isinstance(node.value, str) else []
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else ANY for part in node.values)
        for part in node.values:  # what is put in may be text, too
            yield from texts(part) if not isinstance(part, ast.Constant) else ()
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


@lru_cache(maxsize=1)
def templates() -> list[tuple[str, ...]]:
    """The strings of the code as words; `ANY` for a word that something is put into."""
    found: set[tuple[str, ...]] = set()
    for path in sorted((ROOT / "ctseg").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for text in texts(tree):
            found.add(tuple(word for part in text.split() if (word := ANY if ANY in part else bare(part))))
    return sorted(found)


@lru_cache(maxsize=1)
def places() -> dict[str, list[int]]:
    """Word -> the templates that have it."""
    found: dict[str, list[int]] = {}
    for place, template in enumerate(templates()):
        for word in set(template) - {ANY}:
            found.setdefault(word, []).append(place)
    return found


def bare(word: str) -> str:
    return word.strip(".,;:()`'\"")


def words_of(message: str) -> tuple[str, ...]:
    """A message of a page as words; `ANY` for dots, and for words that look like a name, a number or a path."""
    parts = re.sub(r"…|\.\.\.", f" {ANY} ", message).split()
    words = (ANY if ANY in word or re.search(r"\d|^'|/|^[A-Z]{2}", word) else bare(word) for word in parts)
    return tuple(word for word in words if word)


def is_said(message: str) -> bool:
    """Whether some string of the code says a message, whole or in part, with what is put into either."""
    words = words_of(message)
    literal = {word for word in words if word != ANY}
    if not literal:
        return False
    enough = max(1, (len(literal) + 1) // 2)
    near = Counter(place for word in literal for place in places().get(word, ()))
    for place, shared in near.items():
        template = templates()[place] if shared >= min(enough, 2) else ()
        starts = (start for start, word in enumerate(template) if ANY in (word, words[0]) or word == words[0])
        if any(fits(words, template[start:]) >= enough for start in starts):
            return True
    return False


def fits(words: tuple[str, ...], template: tuple[str, ...]) -> int:
    """How many words of a message stand in the beginning of a template; -1 where they do not go together."""

    @cache
    def match(word: int, place: int, taken: int) -> int:
        if word == len(words):
            return 0
        if place == len(template):
            return 0 if set(words[word:]) <= {ANY} else -1
        found = [-1]
        if words[word] == template[place]:
            rest = match(word + 1, place + 1, 0)
            found.append(rest + (words[word] != ANY) if rest >= 0 else -1)
        if words[word] == ANY:
            found += [match(word + 1, place, 0), match(word, place + 1, 0)]
        if template[place] == ANY:
            found.append(match(word, place + 1, 0))
            found.append(match(word + 1, place, taken + 1) if taken < MOST else -1)
        return max(found)

    return match(0, 0, 0)


def messages(page: Path) -> Iterator[str]:
    """The texts in backticks in the first column of the tables of messages."""
    table = False
    for line in page.read_text(encoding="utf-8").splitlines():
        table = line.startswith("| message") or (table and line.startswith("|"))
        if table and not re.match(r"\| (?:message|-)|\|-", line):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_message_is_one_of_the_code(page: Path) -> None:
    found = list(messages(page))
    assert found
    assert [text for text in found if not is_said(text)] == []


def test_troubleshooting_has_most_kinds() -> None:
    assert len(list(messages(ROOT / "docs" / "troubleshooting.md"))) > 60


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("…: no such file or folder; check the path", True),
        ("masks: exists already", True),
        ("…: no such folder or file; check the path", False),
        ("lie up to 3.00 mm apart; put them on one grid", True),
        ("the brain is a pudding, eat it", False),
        ("…", False),
    ],
)
def test_a_message_that_nobody_says_is_found(text: str, known: bool) -> None:
    assert is_said(text) == known
