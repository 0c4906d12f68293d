"""A viewer over the slices of whole volumes, in a page, that needs no library: see `templates/viewer.html.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctseg.io.stack import Mask
from ctseg.render.png import data_uri, png_bytes
from ctseg.render.slices import Grey, Outline, outline, picture_size, resize
from ctseg.render.style import rgb

VIEWER_SIDE = 288
"""Pixels of a slice's longer side."""


@dataclass(frozen=True)
class Layer:
    """All slices of one layer in one PNG; the background has no colour."""

    name: str
    uri: str
    colour: str = ""


@dataclass(frozen=True)
class Viewer:
    """What the viewer's template needs: one montage a layer, `columns` x `rows` tiles, and a line of text a slice."""

    title: str
    layers: tuple[Layer, ...]
    count: int
    columns: int
    rows: int
    width: int
    height: int
    start: int
    readouts: tuple[str, ...]
    anchor: str = ""
    """Where links on the page lead to; empty for none."""


def make_viewer(
    title: str,
    grey: Grey,
    outlines: Sequence[Outline],
    spacing_mm: tuple[float, float],
    readouts: Sequence[str],
    start: int = 0,
    anchor: str = "",
) -> Viewer:
    """A viewer over a (K, H, W) volume of grey values.

    Args:
        title: shown above.
        grey: (K, H, W) uint8, see `ctseg.render.slices.window_hu`.
        outlines: masks of the same shape, drawn in this order.
        spacing_mm: (row, column) pixel spacing, so that the picture is not stretched.
        readouts: (K,) a line for each slice.
        start: the slice shown first.
        anchor: its name for links on the page.
    """
    height, width = picture_size(grey.shape[1:], spacing_mm, VIEWER_SIDE)
    columns = int(np.ceil(np.sqrt(len(grey))))
    rows = int(np.ceil(len(grey) / columns))
    tiles = np.stack([resize(plane, height, width) for plane in grey])
    layers = [Layer("scan", data_uri(png_bytes(montage(tiles, columns, rows))))]
    for item in outlines:
        lines = np.stack([outline(plane, height, width, inside=item.inside) for plane in item.mask])
        layers.append(Layer(item.name, data_uri(outline_png(montage(lines, columns, rows), item.colour)), item.colour))
    return Viewer(title, tuple(layers), len(grey), columns, rows, width, height, start, tuple(readouts), anchor)


def montage(tiles: NDArray[Any], columns: int, rows: int) -> NDArray[Any]:
    """(K, h, w) tiles as one (rows * h, columns * w) picture, row by row."""
    count, height, width = tiles.shape
    filled = np.zeros((rows * columns, height, width), tiles.dtype)
    filled[:count] = tiles
    return filled.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def outline_png(lines: Mask, colour: str) -> bytes:
    """(h, w) outline as a PNG of two colours, the first transparent."""
    image = Image.fromarray(lines.astype(np.uint8))
    image.putpalette([0, 0, 0, *rgb(colour)])
    return png_bytes(image, bits=1, transparency=0)
