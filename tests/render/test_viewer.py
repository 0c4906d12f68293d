"""The slice viewer's montages."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ctseg.render.slices import outline
from ctseg.render.viewer import montage, outline_png


def test_montage_places_tiles_row_by_row():
    tiles = np.arange(3)[:, None, None] * np.ones((3, 2, 2), int) + 1
    assert montage(tiles, 2, 2).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 0, 0], [3, 3, 0, 0]]


def test_outline_is_a_closed_rim_of_two_pixels_and_otherwise_transparent():
    mask = np.zeros((10, 10), bool)
    mask[1:9, 1:9] = True
    rim = outline(mask, 10, 10, inside=True)
    assert rim.sum() == 64 - 16
    assert not rim[3:7, 3:7].any()
    image = np.asarray(Image.open(io.BytesIO(outline_png(rim, "#0a141e"))).convert("RGBA"))
    assert (image[rim] == (10, 20, 30, 255)).all()
    assert (image[~rim][:, 3] == 0).all()
