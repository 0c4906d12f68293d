"""Slices as pictures: rows of chosen slices, and a viewer over whole volumes that needs no library.

Pictures follow the canonical axes: anterior at the top, the patient's right at the left.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from ctseg.evaluation.html import data_uri
from ctseg.io.volume import Volume

WINDOW_HU = (0.0, 100.0)
"""The brain window the whole project uses."""
VIEWER_SIDE = 288
PICTURE_SIDE = 300
LINE = 2
"""Width of an outline in pixels."""

SIDES_SIZE = 16
"""Height of the letters R and L, in pixels of a picture."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """A mask (K, H, W) to draw as an outline."""

    name: str
    mask: NDArray[np.bool_]
    colour: str


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


def make_viewer(
    title: str,
    grey: Bytes,
    outlines: Sequence[Outline],
    spacing_mm: tuple[float, float],
    readouts: Sequence[str],
    start: int = 0,
) -> Viewer:
    """A viewer over a (K, H, W) volume of grey values.

    Args:
        title: shown above.
        grey: (K, H, W) uint8, see `window`.
        outlines: masks of the same shape, drawn in this order.
        spacing_mm: (row, column) pixel spacing, so that the picture is not stretched.
        readouts: (K,) a line for each slice.
        start: the slice shown first.
    """
    height, width = picture_size(grey.shape[1:], spacing_mm, VIEWER_SIDE)
    columns = int(np.ceil(np.sqrt(len(grey))))
    rows = int(np.ceil(len(grey) / columns))
    tiles = np.stack([resize(plane, height, width) for plane in grey])
    layers = [Layer("scan", data_uri(png(montage(tiles, columns, rows))))]
    for outline in outlines:
        edges = np.stack([edge(plane, height, width) for plane in outline.mask])
        layers.append(
            Layer(outline.name, data_uri(outline_png(montage(edges, columns, rows), outline.colour)), outline.colour)
        )
    return Viewer(title, tuple(layers), len(grey), columns, rows, width, height, start, tuple(readouts))


def picture_row(
    grey: Bytes, outlines: Sequence[Outline], spacing_mm: tuple[float, float], slices: Sequence[int]
) -> bytes:
    """PNG of the chosen slices side by side with their outlines, R and L at their sides."""
    height, width = picture_size(grey.shape[1:], spacing_mm, PICTURE_SIDE)
    planes = []
    for index in slices:
        plane = np.repeat(resize(grey[index], height, width)[..., None], 3, axis=2)
        for outline in outlines:
            plane[edge(outline.mask[index], height, width)] = rgb(outline.colour)
        planes.append(_with_sides(plane))
    return png(np.concatenate(planes, axis=1))


def _with_sides(plane: Bytes) -> Bytes:
    """A (h, w, 3) picture with the patient's sides written into its upper corners."""
    image = Image.fromarray(plane)
    draw = ImageDraw.Draw(image)
    style: dict[str, Any] = {"fill": "white", "stroke_fill": "black", "stroke_width": 1, "font_size": SIDES_SIZE}
    draw.text((6, 4), "R", anchor="la", **style)
    draw.text((plane.shape[1] - 6, 4), "L", anchor="ra", **style)
    return np.asarray(image)


def window(volume: Volume, low: float = WINDOW_HU[0], high: float = WINDOW_HU[1]) -> Bytes:
    """(K, H, W) HU as uint8 in the brain window."""
    scaled = (np.nan_to_num(volume.voxels) - low) / (high - low)
    return (np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)


def picture_size(shape: tuple[int, ...], spacing_mm: tuple[float, float], side: int) -> tuple[int, int]:
    """(height, width) in pixels of a picture of true proportions whose longer side is `side`."""
    height, width = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(plane: Bytes, height: int, width: int) -> Bytes:
    """A (H, W) plane at another size."""
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))


def edge(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """The outline, inside its rim, of a (H, W) mask at another size."""
    if not mask.any():
        return np.zeros((height, width), bool)
    large = resize(mask.astype(np.uint8) * 255, height, width) >= 128
    return large & ~binary_erosion(large, iterations=LINE)


def montage(tiles: NDArray[Any], columns: int, rows: int) -> NDArray[Any]:
    """(K, h, w) tiles as one (rows * h, columns * w) picture, row by row."""
    count, height, width = tiles.shape
    filled = np.zeros((rows * columns, height, width), tiles.dtype)
    filled[:count] = tiles
    return filled.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def outline_png(edges: NDArray[np.bool_], colour: str) -> bytes:
    """(h, w) outline as a PNG of two colours, the first transparent."""
    image = Image.fromarray(edges.astype(np.uint8))
    image.putpalette([0, 0, 0, *rgb(colour)])
    return _encoded(image, bits=1, transparency=0)


def rgb(colour: str) -> tuple[int, int, int]:
    """'#rrggbb' as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def png(picture: Bytes) -> bytes:
    """(h, w) grey or (h, w, 3) RGB as PNG."""
    return _encoded(Image.fromarray(picture))


def _encoded(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()
