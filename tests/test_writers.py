"""Every table and text goes to disk through `ctseg.files` and `ctseg.harmless`: no writer passes them by."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from ctseg.files import write_csv
from ctseg.harmless import markdown_row

ROOT = Path(__file__).parents[1]
ALLOWED = {
    ("ctseg/files.py", "to_csv"): "write_csv",
    ("ctseg/files.py", "write_text"): "the one writer of text",
    ("ctseg/harmless.py", "csv.DictWriter"): "csv_text",
    ("ctseg/harmless.py", "table row"): "markdown_row",
    ("ctseg/matching/pairs.py", "csv.writer"): "of a safe table, in blocks, to stdout as well",
    ("ctseg/matching/pairs.py", "open for text"): "the same, to a file",
    ("ctseg/runs.py", "open for text"): "a line of numbers, as JSON",
    ("ctseg/outputs/sharing.py", "write_text"): "visible JSON and a key, in a folder that does not stay",
    ("ctseg/conformance/scaffold.py", "write_text"): "templates of the package",
    ("ctseg/phantom/calibration.py", "table row"): "numbers, for the page of a developer",
    ("ctseg/evaluation/simulation.py", "table row"): "numbers, for the page of a developer",
    ("tools/bare_check.py", "write_text"): "a script of its own, word for word",
    ("tools/dist.py", "csv.writer"): "names of installed packages",
    ("tools/dist.py", "open for text"): "the same",
    ("tools/dist.py", "write_text"): "digests and JSON",
}
"""(file, what) -> why it may."""


def writers(path: Path) -> Iterator[str]:
    """What a module writes by itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in (" | ", "| ", " |"):
            yield "table row"
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        if name in ("to_csv", "to_html", "to_markdown", "to_excel", "to_string", "write_text", "savetxt"):
            yield name
        elif name in ("writer", "DictWriter") and isinstance(node.func.value, ast.Name) and node.func.value.id == "csv":
            yield f"csv.{name}"
        elif name == "open" and node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value in "wax":
            yield "open for text"


def test_no_writer_passes_the_harmless_ones_by() -> None:
    files = [*ROOT.glob("ctseg/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py"), *ROOT.glob("tools/*.py")]
    assert len(files) > 300
    found = {(path.relative_to(ROOT).as_posix(), what) for path in files for what in writers(path)}
    assert found - set(ALLOWED) == set(), "write it with write_csv, write_text, csv_text or markdown_row"
    assert set(ALLOWED) - found == set(), "these do it no more"


def test_the_search_finds_writers(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "table.to_csv('a')\ncsv.writer(f)\npath.open('w')\npath.write_text('x')\n' | '.join(cells)\npath.open('rb')\n"
    )
    assert sorted(writers(file)) == ["csv.writer", "open for text", "table row", "to_csv", "write_text"]


def test_a_table_on_disk_is_harmless(tmp_path: Path) -> None:
    table = pd.DataFrame({"case": ["=cmd|'/C calc'!A0", "\x1b[31m", "b"], "ml": [-1.5, 2.0, 3.0]})
    text = write_csv(tmp_path / "a.csv", table).read_bytes()
    assert text == b"case,ml\n'=cmd|'/C calc'!A0,-1.5\n\\u001b[31m,2.0\nb,3.0\n"


@pytest.mark.parametrize(
    ("cell", "shown"), [("a|b", "a\\|b"), ("a\nb", "a\\\\nb"), ("<img src=x>", "&lt;img src=x>"), ("\x1b", "\\\\u001b")]
)
def test_a_cell_of_markdown_ends_no_row_and_opens_no_tag(cell: str, shown: str) -> None:
    assert markdown_row([cell, 1]) == f"| {shown} | 1 |"
