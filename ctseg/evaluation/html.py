"""One self-contained page: tables, figures, galleries and slice viewers that open offline and print well.

The same style serves evaluations, training runs and the demo.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ctseg.files import write_text
from ctseg.version import __version__

NOTICE = "Research software. Not a medical device; not for diagnosis or treatment."
INK = "#7d8590"
"""Axes and letters of figures: a grey that reads on the light and on the dark page, since figures are transparent."""
COLOURS = ("#2f81f7", "#e8790c", "#2da44e", "#bf4fd6", "#d1415b", "#0fa3a3")
"""One colour a model, in order; blue and orange first, which most colour-blind eyes tell apart."""

Cell = str | int | float | None


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    png: bytes
    caption: str = ""
    alt: str = ""

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
        return self._add("gallery", pictures=[Picture(png_bytes(figure), caption, alt or caption)], width=0)

    def add_gallery(self, pictures: Sequence[Picture], *, width: int = 320) -> Page:
        """Pictures side by side, each at least `width` CSS pixels wide."""
        return self._add("gallery", pictures=list(pictures), width=width)

    def add_legend(self, colours: Sequence[tuple[str, str]]) -> Page:
        """What each (colour, name) stands for in the pictures that follow."""
        return self._add("legend", colours=list(colours))

    def add_preformatted(self, text: str, caption: str = "") -> Page:
        """Text as it stands (commands, settings), on a click where it has a caption."""
        return self._add("preformatted", text=text, caption=caption)

    def add_viewers(self, viewers: Sequence[Any]) -> Page:
        """Slice viewers side by side, each made by `ctseg.evaluation.viewer.make_viewer`."""
        return self._add("viewers", viewers=list(viewers))

    def _add(self, kind: str, **content: Any) -> Page:
        self.blocks.append({"kind": kind, **content})
        return self

    def html(self) -> str:
        """The page."""
        environment = Environment(
            loader=PackageLoader("ctseg.evaluation"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html.j2").render(page=self, version=__version__)

    def write(self, path: Path) -> Path:
        """Write the page, atomically."""
        return write_text(Path(path), self.html())


def format_cell(cell: Cell) -> str:
    """A number as a person reads it; a dash for what is not known."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return "–"
    if isinstance(cell, float):
        return (f"{cell:.3g}" if abs(cell) < 100 else f"{cell:.0f}").replace("-", "−")
    return str(cell)


def data_uri(png: bytes) -> str:
    """PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def png_bytes(figure: Figure | bytes | Path) -> bytes:
    """The PNG of a figure (transparent, 144 dpi), of bytes or of a file."""
    if isinstance(figure, bytes):
        return figure
    if isinstance(figure, Path):
        return figure.read_bytes()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, transparent=True, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def new_figure(width: float = 5.2, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure with one plot in the page's style, in inches; made without pyplot, so nothing is global."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, which="both")
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=INK, alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def add_legend(axes: Axes) -> None:
    """A legend in the page's style."""
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
