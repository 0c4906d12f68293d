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
    """One small plot for each number that `metrics.jsonl` has in more than one row; None where there is none."""
    from matplotlib.figure import Figure

    names = [name for name in _numbers(metrics) if name not in ("epoch", "seconds")]
    if not names:
        return None
    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.0 * columns, 1.8 * lines + 0.4))
    figure.subplots_adjust(0.05, 0.3 / lines / 2, 0.99, 1 - 0.4 / lines / 2, hspace=0.45, wspace=0.25)
    axes: Any = figure.subplots(lines, columns, squeeze=False, sharex=True)
    for place, axis in enumerate(axes.ravel()):
        if place < len(names):
            _curve(axis, names[place], metrics)
        else:
            axis.set_axis_off()
    return write_with(path, lambda temporary: figure.savefig(temporary, dpi=90, format="png"))


def _curve(axis: Any, name: str, metrics: Sequence[Mapping[str, Any]]) -> None:
    points = [(row["epoch"] + 1, row[name]) for row in metrics if isinstance(row.get(name), int | float)]
    axis.plot(*zip(*points, strict=True), marker=".", linewidth=1)
    axis.set_title(name, fontsize=8)
    axis.tick_params(labelsize=6)
    axis.locator_params(axis="y", nbins=4)
    axis.xaxis.get_major_locator().set_params(integer=True)


def _numbers(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    names: dict[str, int] = {}
    for row in metrics:
        for name, value in row.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                names[name] = names.get(name, 0) + 1
    return [name for name, count in names.items() if count > 1]
