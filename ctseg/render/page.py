"""One self-contained page: tables, figures, galleries and slice viewers that open offline and print well.

The same style serves evaluations, training runs and the demo.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from ctseg.files import write_text
from ctseg.render.png import data_uri, png_bytes
from ctseg.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ctseg.render.viewer import Viewer

NOTICE = "Research software. Not a medical device; not for diagnosis or treatment."

PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
WIDE, WIDE_PIXELS = 2.0, 1000
"""A picture with so many times its height, or so many pixels, as its width is wide."""

Cell = str | int | float | None

GENERATOR = b'<meta name="generator" content="ctseg">'
HEAD_BYTES = 1024
"""The generator is named before the title."""


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    png: bytes
    caption: str = ""
    alt: str = ""
    link: tuple[str, str] = ("", "")
    """Where a link behind the caption leads, `#` and an anchor of the page, and its words; empty for none."""

    @property
    def wide(self) -> bool:
        """Whether it has so much side by side that a phone shows it larger than its screen, to be moved sideways."""
        if not self.png.startswith(PNG_HEAD):
            return False
        width, height = struct.unpack(">II", self.png[16:24])
        return bool(width > WIDE * height or width >= WIDE_PIXELS)

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return data_uri(self.png)


@dataclass
class Page:
    """Blocks in reading order; `write` renders them into one HTML file without a single outside reference."""

    title: str
    subtitle: str = ""
    notice: str = NOTICE
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def add_heading(self, text: str) -> Page:
        """A section; it also shows in the page's table of contents."""
        return self._add("heading", text=text, anchor=f"section-{len(self.blocks)}")

    def add_text(self, *paragraphs: str) -> Page:
        """Paragraphs of plain text."""
        return self._add("text", paragraphs=paragraphs)

    def add_list(self, items: Sequence[str]) -> Page:
        """A list of plain text."""
        return self._add("list", items=list(items))

    def add_links(self, links: Sequence[tuple[Path | str, str]]) -> Page:
        """Links to files that lie beside the page or below its folder: (relative path, words)."""
        return self._add("links", links=[(quote(Path(path).as_posix()), words) for path, words in links])

    def add_warning(self, *paragraphs: str) -> Page:
        """Paragraphs that must not be overlooked."""
        return self._add("warning", paragraphs=paragraphs)

    def add_table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = "", *, folded: bool = False
    ) -> Page:
        """A table; numbers are set right, the first column is the row's head. `folded` shows it on a click."""
        cells = [[(format_cell(cell), isinstance(cell, int | float)) for cell in row] for row in rows]
        return self._add("table", columns=list(columns), rows=cells, caption=caption, folded=folded)

    def add_figure(self, figure: Figure | bytes | Path, caption: str = "", alt: str = "") -> Page:
        """A matplotlib figure, PNG bytes or a PNG file."""
        return self._add("gallery", pictures=[Picture(_png(figure), caption, alt or caption)], width=0)

    def add_gallery(self, pictures: Sequence[Picture], *, width: int = 320) -> Page:
        """Pictures side by side, each at least `width` CSS pixels wide."""
        return self._add("gallery", pictures=list(pictures), width=width)

    def add_legend(self, colours: Sequence[tuple[str, str]]) -> Page:
        """The meaning of each (colour, name) in the pictures that follow."""
        return self._add("legend", colours=list(colours))

    def add_preformatted(self, text: str, caption: str = "") -> Page:
        """Preformatted text (commands, settings), on a click where it has a caption."""
        return self._add("preformatted", text=text, caption=caption)

    def add_viewers(self, viewers: Sequence[Viewer]) -> Page:
        """Slice viewers side by side, each made by `ctseg.render.viewer.make_viewer`."""
        return self._add("viewers", viewers=list(viewers))

    def _add(self, kind: str, **content: Any) -> Page:
        self.blocks.append({"kind": kind, **content})
        return self

    def html(self) -> str:
        """The page."""
        environment = Environment(
            loader=PackageLoader("ctseg.render"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html.j2").render(page=self, version=__version__)

    def write(self, path: Path) -> Path:
        """Write the page, atomically."""
        return write_text(Path(path), self.html())


def is_page(path: Path) -> bool:
    """Whether a file is a page that ctseg wrote, so that it may be replaced by one."""
    with Path(path).open("rb") as file:
        return GENERATOR in file.read(HEAD_BYTES)


def format_cell(cell: Cell) -> str:
    """A number as a person reads it; a dash for what is not known."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return "–"
    if isinstance(cell, float):
        return (f"{cell:.3g}" if abs(cell) < 100 else f"{cell:.0f}").replace("-", "−")
    return str(cell)


def _png(figure: Figure | bytes | Path) -> bytes:
    """PNG bytes of a plot, of a file, or as they are."""
    if isinstance(figure, bytes):
        return figure
    return figure.read_bytes() if isinstance(figure, Path) else png_bytes(figure)
