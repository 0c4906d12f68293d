"""Text from outside, made harmless where it is shown or written: no terminal obeys it, no spreadsheet computes it.

Names of files, cases and columns come from strangers' disks. On a terminal an escape character moves the cursor or
renames the window, and a bidirectional override shows a name backwards; a spreadsheet runs a cell that begins with `=`.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Control characters of both sets but tab and line feed, marks and overrides of writing direction, line and paragraph
separators, halves of surrogate pairs, which are bytes that are no UTF-8, and all that Unicode shows as nothing
(Default_Ignorable_Code_Point): soft hyphens, fillers, selectors of a form, and tags, in which a text can hide."""
LONGEST_LINE = 4000
"""Letters; a path may have 4096 bytes, a cell of a hostile table gigabytes."""
FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection), in whatever width it is written."""
BREAKS = ("\t", "\r", "\n")
"""What does the same at the very beginning of a cell."""
NUMBER = re.compile(r"[+-]?(\d++\.?\d*+|\.\d++)([eE][+-]?\d++)?|[+-]?(inf|nan)", re.IGNORECASE)


def visible(text: str) -> str:
    r"""The text with every character that a terminal obeys written as `\u001b`; tabs and line feeds stay.

    In JSON and JavaScript strings that notation means the very character, so texts of them keep their meaning; in TOML,
    too, but for characters beyond U+FFFF, which are two halves here (`toml_visible`).
    """
    return OBEYED.sub(lambda found: _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code - 0x10000 & 0x3FF):04x}"


def toml_visible(text: str) -> str:
    r"""As `visible`, in the notation of TOML, which has `\U000e0041` for characters beyond U+FFFF."""
    return OBEYED.sub(lambda found: f"\\U{ord(found[0]):08x}" if ord(found[0]) > 0xFFFF else found[0], text)


def one_line(text: str) -> str:
    """The visible text without line feeds and tabs, for a row of a log or of a table."""
    return visible(text.replace("\t", "\\t").replace("\n", "\\n"))


def shortened(line: str, longest: int = LONGEST_LINE) -> str:
    """A line without its middle where a file's own words make it longer than anybody reads; the way out is its end."""
    return line if len(line) <= longest else f"{line[: longest * 4 // 5]} ... {line[-longest // 8 :]}"


def is_plain(text: str) -> bool:
    """Whether a name can be written anywhere as it is."""
    return not (OBEYED.search(text) or "\n" in text or "\t" in text) and safe_cell(text) == text


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute a cell of this text; a negative number is none."""
    first = unicodedata.normalize("NFKC", text.lstrip()[:1])
    return (text.lstrip(" ").startswith(BREAKS) or first.startswith(FORMULA)) and NUMBER.fullmatch(text) is None


def safe_cell(value: Any) -> Any:
    """A cell of a table for spreadsheets: text that begins as a formula gets an apostrophe in front.

    So does what follows a semicolon: where a comma is a decimal's, that begins another cell, whatever the quotes.
    Numbers are what they are. Names and identifiers of ctseg's own need no apostrophe, so they are read back unchanged.
    """
    if not isinstance(value, str):
        return value
    first, *others = one_line(value).split(";")
    text = ";".join([first, *(f"'{part}" if is_formula(part.strip()) else part for part in others)])
    return f"'{text}" if is_formula(value) or is_formula(text) else text


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as CSV with harmless cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: safe_cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def markdown_row(cells: Iterable[object]) -> str:
    """A row of a Markdown table: no cell ends it, opens a tag, or is a link or a picture from elsewhere."""
    texts = (one_line(str(cell)).replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(_untagged(text) for text in texts) + " |"


def markdown_text(text: object) -> str:
    """A text from outside within a paragraph of Markdown: one line that opens no tag and is no link or picture."""
    return _untagged(one_line(str(text)).replace("\\", "\\\\"))


def _untagged(text: str) -> str:
    return text.replace("<", "&lt;").replace("](", "]\\(").replace("][", "]\\[")


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
