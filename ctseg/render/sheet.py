"""Contact sheets: rows of slices under titles, a note below each, and a legend of the contours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ctseg.render.png import write_png
from ctseg.render.slices import Grey, Outline, draw_scale_bar, draw_sides, draw_slice, picture_size
from ctseg.render.style import font, line_height, wrap

SIDE = 240
"""Pixels of a tile's longer side."""
LEAST_SIDE = 192
"""`grid_png` enlarges small slices by a whole number to about this many pixels."""
GAP, PAD = 6, 4
"""Pixels between tiles, and around text."""
PAGE_WIDTH, MOST = 1240, 1.8
"""A wider sheet is made smaller by the page that shows it, so its letters and lines are made larger, up to this."""


@dataclass(frozen=True)
class Paper:
    """Colours of a sheet."""

    ground: str
    ink: str
    faint: str
    """Of what is not in the first line of sight: the foot, and the notes of blank tiles."""
    blank: str
    """Of tiles without a picture."""


LIGHT = Paper("#ffffff", "#141414", "#5a5a5a", "#ececec")
DARK = Paper("#000000", "#ffffff", "#b8b8b8", "#202020")


@dataclass(frozen=True)
class Tile:
    """One slice, or the reason why there is none."""

    image: Grey | None = None
    """(H, W) grey values; None leaves the tile blank, with `note` in it."""
    outlines: tuple[Outline, ...] = ()
    """Of masks (H, W)."""
    note: str = ""
    """Below the picture."""
    spacing_mm: tuple[float, float] = (1.0, 1.0)
    """(row, column), so that the picture is not stretched."""
    sides: tuple[str, str] = ("", "")
    """Letters in the upper left and right corner."""
    scale_bar: bool = False


@dataclass(frozen=True)
class Sizes:
    """Of letters and outlines in pixels."""

    title: int
    note: int
    letter: int
    line: int

    @classmethod
    def of(cls, width: int) -> Sizes:
        """For a sheet of this width."""
        factor = min(MOST, max(1.0, width / PAGE_WIDTH))
        title, note, letter, line = (round(factor * size) for size in (14, 12, 13, 2))
        return cls(title, note, letter, line)


@dataclass(frozen=True)
class Layout:
    """How the tiles of a sheet lie."""

    paper: Paper = LIGHT
    side: int = SIDE
    """Pixels of a tile's longer side."""
    gap: int = GAP
    """Pixels between tiles."""
    smooth: bool = True
    """Bilinear enlargement; otherwise each pixel is shown as a rectangle."""


def draw_sheet(
    rows: Sequence[Sequence[Tile]],
    titles: Sequence[str] = (),
    *,
    head: str = "",
    legend: Sequence[tuple[str, str]] = (),
    foot: str = "",
    layout: Layout = Layout(),
) -> Image.Image:
    """Draw rows of tiles on one sheet; text is wrapped and never leaves its column.

    Args:
        rows: the last ones may be shorter.
        titles: of the columns; none leaves no room for them.
        head: above all.
        legend: (colour, what it outlines).
        foot: what one must know to read the sheet, below all.
        layout: size of the tiles, gaps and colours.
    """
    sheet = _Sheet(rows, layout)
    strips = [sheet.text(head, sheet.sizes.title, layout.paper.ink)] if head else []
    strips += [sheet.titles(titles)] if titles else []
    strips += [sheet.row(row) for row in rows]
    strips += [sheet.legend(legend)] if legend else []
    strips += [sheet.text(foot, sheet.sizes.note, layout.paper.faint)] if foot else []
    page = sheet.strip(sum(strip.height for strip in strips) + layout.gap)
    top = 0
    for strip in strips:
        page.paste(strip, (0, top))
        top += strip.height
    return page


@dataclass(frozen=True)
class _Sheet:
    """Draws the horizontal strips that a sheet is made of."""

    rows: Sequence[Sequence[Tile]]
    layout: Layout

    @cached_property
    def cell(self) -> int:
        """Width of a column: that of the widest tile, and room for a note."""
        widths = [self.size(tile)[1] for row in self.rows for tile in row if tile.image is not None]
        return max([self.layout.side // 2, *widths] if widths else [self.layout.side])

    @cached_property
    def width(self) -> int:
        """Of the sheet."""
        return max(len(row) for row in self.rows) * (self.cell + self.layout.gap) + self.layout.gap

    @cached_property
    def sizes(self) -> Sizes:
        """Of letters and lines."""
        return Sizes.of(self.width)

    def size(self, tile: Tile) -> tuple[int, int]:
        """(height, width) of a tile's picture."""
        shape = (1, 1) if tile.image is None else tile.image.shape
        return picture_size(shape, tile.spacing_mm, self.layout.side)

    def left(self, column: int) -> int:
        """Where a column begins."""
        return self.layout.gap + column * (self.cell + self.layout.gap)

    def strip(self, height: int) -> Image.Image:
        """An empty strip."""
        return Image.new("RGB", (self.width, height), self.layout.paper.ground)

    def text(self, text: str, size: int, ink: str) -> Image.Image:
        """Wrapped lines over the whole width."""
        lines = wrap(text, self.width - 2 * PAD, size)
        strip = self.strip(2 * PAD + len(lines) * line_height(size))
        write_lines(strip, lines, (self.width // 2, PAD), size, ink)
        return strip

    def titles(self, titles: Sequence[str]) -> Image.Image:
        """A title over each column."""
        size = self.sizes.title
        texts = [wrap(title, self.cell, size) for title in titles]
        strip = self.strip(2 * PAD + max(len(lines) for lines in texts) * line_height(size))
        for column, lines in enumerate(texts):
            write_lines(strip, lines, (self.left(column) + self.cell // 2, PAD), size, self.layout.paper.ink)
        return strip

    def row(self, tiles: Sequence[Tile]) -> Image.Image:
        """Pictures side by side, each over its note."""
        size = self.sizes.note
        pictures = [self.picture(tile) for tile in tiles]
        notes = [
            wrap(tile.note, self.cell, size) if picture else [] for tile, picture in zip(tiles, pictures, strict=True)
        ]
        height = max((picture.height for picture in pictures if picture), default=self.layout.side)
        room = max(len(lines) for lines in notes)
        strip = self.strip(self.layout.gap + height + (room * line_height(size) + PAD if room else 0))
        for column, (tile, picture, lines) in enumerate(zip(tiles, pictures, notes, strict=True)):
            left, top = self.left(column), self.layout.gap
            middle = left + self.cell // 2
            if picture is None:
                self.blank(strip, tile.note, (left, top, left + self.cell - 1, top + height - 1))
            else:
                strip.paste(picture, (middle - picture.width // 2, top))
                write_lines(strip, lines, (middle, top + height + PAD // 2), size, self.layout.paper.ink)
        return strip

    def picture(self, tile: Tile) -> Image.Image | None:
        """The slice with outlines, sides and scale bar; None where the tile has none."""
        if tile.image is None:
            return None
        look = self.sizes
        picture = draw_slice(tile.image, tile.outlines, self.size(tile), line=look.line, smooth=self.layout.smooth)
        draw_sides(picture, tile.sides, look.letter)
        if tile.scale_bar:
            draw_scale_bar(picture, tile.image.shape[1] * tile.spacing_mm[1], look.note)
        return picture

    def blank(self, strip: Image.Image, note: str, box: tuple[int, int, int, int]) -> None:
        """A tile that says in its middle why it has no picture."""
        left, top, right, bottom = box
        size = self.sizes.note
        lines = wrap(note, self.cell - 4 * PAD, size)
        ImageDraw.Draw(strip).rectangle(box, fill=self.layout.paper.blank)
        start = (top + bottom - len(lines) * line_height(size)) // 2
        write_lines(strip, lines, ((left + right) // 2, start), size, self.layout.paper.faint)

    def legend(self, items: Sequence[tuple[str, str]]) -> Image.Image:
        """A swatch and a name for each outline, in lines that fit the width."""
        size = self.sizes.note
        places, lines = self._legend_places([name for _, name in items], size)
        strip = self.strip(2 * PAD + lines * line_height(size))
        draw = ImageDraw.Draw(strip)
        for (colour, name), (left, line) in zip(items, places, strict=True):
            top = PAD + line * line_height(size)
            draw.rectangle((left, top + size // 4, left + size, top + size), fill=colour)
            draw.text((left + size + PAD, top), name, fill=self.layout.paper.ink, font=font(size))
        return strip

    def _legend_places(self, names: Sequence[str], size: int) -> tuple[list[tuple[int, int]], int]:
        """(left, line) of each entry, and the number of lines."""
        places, left, line = [], PAD, 0
        for name in names:
            width = size + PAD + round(font(size).getlength(name)) + 4 * PAD
            if left > PAD and left + width > self.width:
                left, line = PAD, line + 1
            places.append((left, line))
            left += width
        return places, line + 1


def write_lines(image: Image.Image, lines: Sequence[str], top_middle: tuple[int, int], size: int, ink: str) -> None:
    """Write lines of text, each centred below the one before."""
    draw = ImageDraw.Draw(image)
    for place, text in enumerate(lines):
        position = (top_middle[0], top_middle[1] + place * line_height(size))
        draw.text(position, text, fill=ink, anchor="ma", font=font(size))


def grid_png(
    path: Path,
    rows: Sequence[Sequence[NDArray[Any]]],
    captions: Sequence[str],
    outlines: Sequence[Sequence[NDArray[Any] | None]] | None = None,
) -> Path:
    """Write rows of (H, W) uint8 slices as a PNG, atomically: a caption over each column, contours of given masks.

    Pixels are shown as they are, since it is a network's own output that is looked at.

    Args:
        path: the PNG.
        rows: as many arrays in each row as there are captions, all of one size.
        captions: of the columns.
        outlines: 0/1 masks parallel to `rows`; None for no outline.
    """
    longer = max(rows[0][0].shape)
    layout = Layout(side=longer * max(1, round(LEAST_SIDE / longer)), smooth=False)
    masks = outlines or [[None] * len(row) for row in rows]
    tiles = [
        [Tile(np.asarray(image), outlined(mask)) for image, mask in zip(row, line, strict=True)]
        for row, line in zip(rows, masks, strict=True)
    ]
    return write_png(path, draw_sheet(tiles, captions, layout=layout))


def outlined(mask: NDArray[Any] | None) -> tuple[Outline, ...]:
    """The outline of a 0/1 mask (H, W) in the colour of single masks; nothing for None."""
    return () if mask is None else (Outline(np.asarray(mask) > 0),)
