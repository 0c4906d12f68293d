"""One way to PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctseg.render.plots import new_figure
from ctseg.render.png import data_uri, is_own_png, png_bytes, write_png


def test_arrays_and_images_come_back_as_they_were(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for picture in (grey, Image.fromarray(grey)):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(picture)))), grey)
    path = write_png(tmp_path / "new" / "a.png", grey)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), grey)


def test_a_plot_is_transparent_and_the_same_each_time() -> None:
    figure, _ = new_figure(1, 1)
    data = png_bytes(figure)
    assert Image.open(io.BytesIO(data)).convert("RGBA").getpixel((0, 0))[3] == 0
    assert data == png_bytes(figure)


def test_what_cannot_be_encoded_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_png(tmp_path / "a.png", np.zeros((2, 2, 7)))
    assert list(tmp_path.iterdir()) == []


def test_a_data_uri_names_its_type() -> None:
    assert data_uri(b"abc") == "data:image/png;base64,YWJj"


def test_only_what_ctseg_wrote_is_known_as_its_own(tmp_path: Path) -> None:
    grey, (figure, _) = np.zeros((3, 4), np.uint8), new_figure(1, 1)
    for number, picture in enumerate((grey, Image.fromarray(grey), figure)):
        assert is_own_png(write_png(tmp_path / f"{number}.png", picture))
    Image.fromarray(grey).save(tmp_path / "letter.png")
    assert not is_own_png(tmp_path / "letter.png")
