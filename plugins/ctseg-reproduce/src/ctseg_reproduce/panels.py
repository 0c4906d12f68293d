"""Sheets of pictures: rows of panels under wrapped titles, a line of text below each, one thin outline on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

from ctseg.evaluation.viewer import picture_size, resize

SIDE = 240
"""Pixels of a panel's longer side."""
GAP, PAD = 6, 4
SHOWN_WIDTH, MOST = 1240, 1.8
"""A wider sheet is made smaller by the page that shows it, so its letters and lines are made larger, up to this."""
INK, FAINT, BLANK = (20, 20, 20), (90, 90, 90), (236, 236, 236)
OUTLINE = (255, 59, 48)
"""Of truth and of every system alike, so that no colour flatters one."""
EDGED: dict[str, Any] = {"fill": "white", "stroke_width": 2, "stroke_fill": "black"}
"""Letters that can be read on air and on bone."""
Lines = list[str]


@dataclass(frozen=True)
class Panel:
    """One picture, or the reason why there is none."""

    image: NDArray[np.uint8] | None = None
    """(H, W) grey values; None leaves the panel blank, with `note` in it."""
    mask: NDArray[np.bool_] | None = None
    """(H, W) to outline."""
    note: str = ""
    """Below the picture."""
    spacing_mm: tuple[float, float] = (1.0, 1.0)
    """(row, column), so that the picture is not stretched."""
    sides: tuple[str, str] = ("", "")
    """Letters at the left and at the right edge."""


@dataclass(frozen=True)
class Look:
    """Sizes of letters and of the outline in pixels."""

    title: int
    note: int
    letter: int
    line: int

    @classmethod
    def of(cls, width: int) -> Look:
        """For a sheet of this width."""
        factor = min(MOST, max(1.0, width / SHOWN_WIDTH))
        title, note, letter, line = (round(factor * size) for size in (15, 13, 14, 2))
        return cls(title, note, letter, line)


def sheet(titles: Sequence[str], rows: Sequence[Sequence[Panel]], foot: str) -> Image.Image:
    """Draw rows of panels.

    Args:
        titles: of the columns; long ones are wrapped.
        rows: as many panels in each as there are titles.
        foot: what one must know to read the sheet, below all.
    """
    width = len(titles) * (SIDE + GAP) + GAP
    look = Look.of(width)
    heads = [wrapped(title, SIDE, look.title) for title in titles]
    tops, below = _rows_of(rows, 2 * PAD + _height(heads, look.title), look)
    feet = wrapped(foot, width - 2 * GAP, look.note)
    page = Image.new("RGB", (width, below + _height([feet], look.note) + 2 * PAD), "white")
    draw = ImageDraw.Draw(page)
    for column, lines in enumerate(heads):
        _write(draw, lines, (_left(column) + SIDE // 2, PAD), look.title, INK)
    for top, line in zip(tops, rows, strict=True):
        height = _picture_height(line)
        for column, panel in enumerate(line):
            _draw(page, panel, (_left(column), top), height, look)
    _write(draw, feet, (width // 2, below + PAD), look.note, FAINT)
    return page


def wrapped(text: str, width: int, size: int) -> Lines:
    """Text in lines of at most `width` pixels, broken at spaces; a word that is wider stands alone."""
    font, lines = ImageFont.load_default(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def rim(mask: NDArray[np.bool_], height: int, width: int, line: int = 2) -> NDArray[np.bool_]:
    """The line around, not on, a (H, W) mask at another size: what it encloses stays to be seen."""
    if not mask.any():
        return np.zeros((height, width), bool)
    large = resize(mask.astype(np.uint8) * 255, height, width) >= 128
    return np.asarray(binary_dilation(large, iterations=line) & ~large)


def _left(column: int) -> int:
    return GAP + column * (SIDE + GAP)


def _height(texts: Sequence[Lines], size: int) -> int:
    """Of the longest of some texts, in pixels."""
    return max((len(lines) for lines in texts), default=0) * (size + 3)


def _size(panel: Panel) -> tuple[int, int]:
    return picture_size(panel.image.shape, panel.spacing_mm, SIDE) if panel.image is not None else (0, SIDE)


def _picture_height(line: Sequence[Panel]) -> int:
    return max(_size(panel)[0] for panel in line) or SIDE


def _rows_of(rows: Sequence[Sequence[Panel]], top: int, look: Look) -> tuple[list[int], int]:
    """The upper edge of each row of panels, and the lower edge of the last."""
    tops = []
    for line in rows:
        tops.append(top)
        notes = [wrapped(panel.note, SIDE, look.note) for panel in line if panel.image is not None]
        top += _picture_height(line) + _height(notes, look.note) + 2 * PAD
    return tops, top


def _draw(page: Image.Image, panel: Panel, corner: tuple[int, int], row_height: int, look: Look) -> None:
    draw, (left, top) = ImageDraw.Draw(page), corner
    middle = left + SIDE // 2
    if panel.image is None:
        lines = wrapped(panel.note, SIDE - 4 * PAD, look.note)
        draw.rectangle((left, top, left + SIDE - 1, top + row_height - 1), fill=BLANK)
        _write(draw, lines, (middle, top + (row_height - _height([lines], look.note)) // 2), look.note, FAINT)
        return
    height, width = _size(panel)
    start = left + (SIDE - width) // 2
    page.paste(Image.fromarray(_picture(panel, height, width, look.line)), (start, top))
    for text, place, anchor in zip(panel.sides, (start + PAD, start + width - PAD), ("lm", "rm"), strict=True):
        draw.text((place, top + height // 2), text, anchor=anchor, font_size=look.letter, **EDGED)
    _write(draw, wrapped(panel.note, SIDE, look.note), (middle, top + row_height + PAD // 2), look.note, INK)


def _picture(panel: Panel, height: int, width: int, line: int) -> NDArray[np.uint8]:
    """(height, width, 3) RGB."""
    grey = np.zeros((1, 1), np.uint8) if panel.image is None else panel.image
    picture = np.repeat(resize(grey, height, width)[..., None], 3, axis=2)
    if panel.mask is not None:
        picture[rim(panel.mask, height, width, line)] = OUTLINE
    return picture


def _write(
    draw: ImageDraw.ImageDraw, lines: Lines, top_middle: tuple[int, int], size: int, ink: tuple[int, int, int]
) -> None:
    for place, text in enumerate(lines):
        draw.text((top_middle[0], top_middle[1] + place * (size + 3)), text, fill=ink, anchor="ma", font_size=size)
