"""Modules and functions stay small, and no function asks too many questions."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "ctseg", *sorted((ROOT / "plugins").glob("*/src"))]
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_COMPLEXITY = 10
"""Rank B of radon, whose way of counting is stricter than that of ruff's C901."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert)


def functions(text: str) -> Iterator[Function]:
    yield from (node for node in ast.walk(ast.parse(text)) if isinstance(node, Function))


def complexity(function: Function) -> int:
    """McCabe's number with boolean operators and comprehensions counted, as radon does; inner functions count apart."""
    number, nodes = 1, list[ast.AST](function.body)
    while nodes:
        node = nodes.pop()
        if not isinstance(node, Function):
            number += decisions(node)
            nodes.extend(ast.iter_child_nodes(node))
    return number


def decisions(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.Match):
        return len(node.cases)
    loop_with_else = isinstance(node, (ast.For, ast.AsyncFor, ast.While)) and bool(node.orelse)
    return isinstance(node, BRANCHES) + loop_with_else


@pytest.fixture(scope="module")
def modules() -> dict[str, str]:
    """Path -> text."""
    files = sorted(path for root in SOURCES for path in root.rglob("*.py"))
    assert len(files) > 200
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


def assigned(text: str) -> list[str]:
    """The names that a module gives a value at its top, one entry for each time."""
    targets: list[ast.AST] = []
    for node in ast.parse(text).body:
        targets += node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store) and name.id != "_"]


def test_no_constant_has_two_values(modules: dict[str, str]) -> None:
    """The later one would count everywhere, and the first would be read as if it did."""
    assert assigned("A, B = 1, 2\nC: int = A\nB = 3\n") == ["A", "B", "C", "B"]
    found = {path: Counter(assigned(text)) for path, text in modules.items()}
    assert [(path, name) for path, names in found.items() for name, count in names.items() if count > 1] == []


@pytest.fixture(scope="module")
def every_function(modules: dict[str, str]) -> list[tuple[str, Function]]:
    """(path and name, syntax tree)."""
    return [(f"{name}: {function.name}", function) for name, text in modules.items() for function in functions(text)]


def test_modules_are_short(modules: dict[str, str]) -> None:
    lengths = {name: len(text.splitlines()) for name, text in modules.items()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_functions_are_short(every_function: list[tuple[str, Function]]) -> None:
    lengths = {name: (function.end_lineno or 0) - function.lineno + 1 for name, function in every_function}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_functions_are_simple(every_function: list[tuple[str, Function]]) -> None:
    numbers = {name: complexity(function) for name, function in every_function}
    assert {name: number for name, number in numbers.items() if number > MAX_COMPLEXITY} == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 1", 1),
        ("return 1 if a and b or c else 2", 4),
        ("return [x for x in a if x if not b]", 4),
        ("for x in a:\n  if x:\n   pass\n else:\n  pass", 4),
        ("try:\n  a()\n except ValueError:\n  pass\n except OSError:\n  pass", 3),
        ("def g():\n  return 1 if a else 2\n return g", 1),
    ],
)
def test_complexity_is_counted_as_radon_does(body: str, expected: int) -> None:
    assert complexity(next(functions(f"def f(a, b, c):\n {body}\n"))) == expected
