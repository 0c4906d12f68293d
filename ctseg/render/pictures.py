"""Pictures that a training leaves in its run: slices side by side, and curves of what it logged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ctseg.files import write_with

LEAST_SIDE = 192
"""Small slices are enlarged by a whole number to about this many pixels."""
GAP, HEAD = 4, 28
"""Pixels between tiles, and for the captions."""
OUTLINE = (255, 127, 14)
COLUMNS, PLOT = 4, (270, 150)
"""Plots side by side, and the pixels of one."""
FRAME = (48, 24, 262, 128)
"""Left, top, right and bottom of a plot's frame in its cell."""
SHARP, MANY = 3, 40
"""Plots are drawn this many times larger and shrunk; a curve with more points than this has no dots."""
LINE = (31, 119, 180)


def grid_png(
    path: Path,
    rows: Sequence[Sequence[NDArray[Any]]],
    captions: Sequence[str],
    outlines: Sequence[Sequence[NDArray[Any] | None]] | None = None,
) -> Path:
    """Rows of (H, W) uint8 slices side by side, a caption over each column, mask outlines in colour where given.

    Args:
        path: the PNG to write, atomically.
        rows: as many arrays in each row as there are captions, all of one size.
        captions: of the columns.
        outlines: 0/1 masks parallel to `rows`; None for no outline.
    """
    height, width = rows[0][0].shape
    zoom = max(1, round(LEAST_SIDE / max(height, width)))
    tile = (width * zoom + GAP, height * zoom + GAP)
    page = Image.new("RGB", (tile[0] * len(captions) + GAP, tile[1] * len(rows) + HEAD), "white")
    for column, caption in enumerate(captions):
        middle = column * tile[0] + GAP + width * zoom // 2
        ImageDraw.Draw(page).text((middle, HEAD // 2), caption, fill="black", anchor="mm", font_size=HEAD // 2)
    for row, column in np.ndindex(len(rows), len(captions)):
        mask = outlines[row][column] if outlines else None
        picture = Image.fromarray(_outlined(rows[row][column], mask, zoom))
        page.paste(picture, (column * tile[0] + GAP, row * tile[1] + HEAD))
    return write_with(path, lambda temporary: page.save(temporary, format="PNG"))


def _outlined(image: NDArray[Any], mask: NDArray[Any] | None, zoom: int) -> NDArray[np.uint8]:
    """(H, W) grey -> (H zoom, W zoom, 3) with the mask's inner border coloured."""
    large = np.repeat(np.repeat(image.astype(np.uint8), zoom, axis=0), zoom, axis=1)
    coloured = np.repeat(large[:, :, None], 3, axis=2)
    if mask is not None:
        inside = np.repeat(np.repeat(mask.astype(bool), zoom, axis=0), zoom, axis=1)
        coloured[inside & ~ndimage.binary_erosion(inside)] = OUTLINE
    return coloured


def curves_png(path: Path, metrics: Sequence[Mapping[str, Any]]) -> Path | None:
    """One small plot for each number that `metrics.jsonl` has in more than one row; None where there is none.

    Drawn without matplotlib, which takes longer for these than a small epoch of training.
    """
    names = [name for name in _numbers(metrics) if name not in ("epoch", "seconds")]
    if not names:
        return None
    lines = math.ceil(len(names) / COLUMNS)
    page = Image.new("RGB", (SHARP * COLUMNS * PLOT[0], SHARP * lines * PLOT[1]), "white")
    draw = ImageDraw.Draw(page)
    for place, name in enumerate(names):
        points = [(row["epoch"] + 1, row[name]) for row in metrics if isinstance(row.get(name), int | float)]
        corner = (place % COLUMNS * PLOT[0], place // COLUMNS * PLOT[1])
        _curve(draw, name, np.array(points, dtype=np.float64), corner)
    page = page.resize((page.width // SHARP, page.height // SHARP), Image.Resampling.LANCZOS)
    return write_with(path, lambda temporary: page.save(temporary, format="PNG"))


def _curve(draw: ImageDraw.ImageDraw, name: str, points: NDArray[np.float64], corner: tuple[int, int]) -> None:
    """One plot in a cell of the page: name, frame, line with dots, lowest and highest value, first and last epoch."""
    left, top, right, bottom = (SHARP * (corner[k % 2] + edge) for k, edge in enumerate(FRAME))
    low, high = points.min(axis=0), points.max(axis=0)
    shares = (points - low) / np.where(high > low, high - low, 1.0)
    pad = 6 * SHARP
    x = left + pad + shares[:, 0] * (right - left - 2 * pad)
    y = bottom - pad - shares[:, 1] * (bottom - top - 2 * pad)
    line = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    draw.rectangle((left, top, right, bottom), outline="gray", width=SHARP)
    draw.line(line, fill=LINE, width=2 * SHARP, joint="curve")
    for a, b in line if len(line) <= MANY else ():
        draw.ellipse((a - pad / 2, b - pad / 2, a + pad / 2, b + pad / 2), fill=LINE)

    def write(place: tuple[float, float], text: str, anchor: str, size: int = 10) -> None:
        draw.text(place, text, fill="black", anchor=anchor, font_size=SHARP * size)

    write(((left + right) / 2, top - pad / 2), name, "mb", 12)
    for value, height in {high[1]: top + pad, low[1]: bottom - pad}.items():
        write((left - pad / 2, height), f"{value:.3g}", "rm")
    write((left + pad, bottom + pad / 2), f"{low[0]:.0f}", "mt")
    write((right - pad, bottom + pad / 2), f"{high[0]:.0f}", "mt")


def _numbers(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    names: dict[str, int] = {}
    for row in metrics:
        for name, value in row.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                names[name] = names.get(name, 0) + 1
    return [name for name, count in names.items() if count > 1]
