"""Text from outside, made harmless where it is shown or written: no terminal obeys it, no spreadsheet computes it.

Names of files, cases and columns come from strangers' disks. On a terminal an escape character moves the cursor or
renames the window, and a bidirectional override shows a name backwards; a spreadsheet runs a cell that begins with `=`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters of both sets but tab and line feed, marks and overrides of writing direction, characters of no
width, line and paragraph separators, and halves of surrogate pairs, which are bytes that are no UTF-8."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection), and their full-width forms."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def visible(text: str) -> str:
    r"""The text with every character that a terminal obeys written as `\u001b`; tabs and line feeds stay.

    In JSON, TOML and JavaScript strings that notation means the very character, so texts of them keep their meaning.
    """
    return OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The visible text without line feeds and tabs, for a row of a log or of a table."""
    return visible(text.replace("\t", "\\t").replace("\n", "\\n"))


def is_plain(text: str) -> bool:
    """Whether a name can be written anywhere as it is."""
    return not (OBEYED.search(text) or is_formula(text) or "\n" in text or "\t" in text)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute a cell of this text; a negative number is none."""
    return text.lstrip(" ").startswith(FORMULA) and NUMBER.fullmatch(text) is None


def safe_cell(value: Any) -> Any:
    """A cell of a table for spreadsheets: text that begins as a formula gets an apostrophe in front.

    Numbers are what they are. Names and identifiers of ctseg's own need no apostrophe, so they are read back unchanged.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if is_formula(value) or is_formula(text) else text


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as CSV with harmless cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: safe_cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def markdown_row(cells: Iterable[object]) -> str:
    """A row of a Markdown table: no cell ends it, opens a tag or begins a link to code."""
    texts = (one_line(str(cell)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return "| " + " | ".join(texts) + " |"


def safe_table(table: pd.DataFrame) -> pd.DataFrame:
    """A data frame whose texts and column names are harmless in a spreadsheet."""
    texts = [name for name in table.columns if not _is_number(table[name])]
    cells = table.assign(**{str(name): table[name].map(_by_value(table[name])) for name in texts})
    return cells.rename(columns={name: safe_cell(name) for name in table.columns})


def _by_value(column: pd.Series[Any]) -> dict[Any, Any]:
    """Each different text of a column and the cell that is written for it."""
    return {value: safe_cell(value) for value in column.unique().tolist()}  # an array of texts gives each by a call


def _is_number(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "biufc"
