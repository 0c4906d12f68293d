"""Slices as pictures, by hand-made truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ctseg.io.volume import Volume
from ctseg.render.slices import (
    Outline,
    draw_scale_bar,
    draw_sides,
    draw_slice,
    outline,
    picture_size,
    side_letters,
    window_hu,
)
from ctseg.render.style import rgb


@pytest.fixture
def volume() -> Volume:
    return Volume(
        voxels=np.zeros((2, 8, 8), np.float32),
        origins_mm=np.array([[0.0, 0, 0], [0, 0, 5]]),
        row_step_mm=np.array([0, 1.0, 0]),
        col_step_mm=np.array([1.0, 0, 0]),
        domain="ct",
        case_id="case",
        patient_id="case",
    )


def square(size: int, first: int, last: int) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[first : last + 1, first : last + 1] = True
    return mask


def test_window_maps_its_ends_to_black_and_white_and_clips_what_lies_beyond() -> None:
    hu = np.array([[-1000.0, 0.0, 40.0], [80.0, 3000.0, np.nan]])
    assert window_hu(hu).tolist() == [[0, 0, 128], [255, 255, 0]]
    assert window_hu(hu, (-100.0, 100.0)).tolist() == [[0, 128, 178], [230, 255, 128]]


def test_pictures_keep_true_proportions() -> None:
    assert picture_size((100, 100), (1.0, 0.5), 200) == (200, 100)


def test_a_circle_in_mm_is_a_circle_in_the_picture() -> None:
    row_mm, column_mm = 2.0, 0.5
    rows, columns = np.mgrid[:40, :160]
    disc = np.hypot((rows - 19.5) * row_mm, (columns - 79.5) * column_mm) < 25
    size = picture_size(disc.shape, (row_mm, column_mm), 320)
    white = np.asarray(draw_slice(disc.astype(np.uint8) * 255, (), size))[..., 0] > 127
    height, width = np.ptp(np.flatnonzero(white.any(axis=1))) + 1, np.ptp(np.flatnonzero(white.any(axis=0))) + 1
    assert abs(height - width) <= 320 * row_mm / 80  # to one row of the slice
    assert width == pytest.approx(320 * 50 / 80, abs=3)


def test_the_outline_lies_around_the_mask_and_not_on_it() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, 15:30] = True
    line = outline(mask, 40, 40)
    assert not (line & mask).any()
    rows, cols = np.nonzero(line)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (8, 21, 13, 31)
    assert not outline(np.zeros((40, 40), bool), 80, 80).any()


def test_the_outline_of_a_square_is_its_border_of_one_pixel() -> None:
    mask = square(7, 2, 4)
    assert outline(mask, 7, 7, 1, inside=True).tolist() == (mask & ~square(7, 3, 3)).tolist()
    corners = np.zeros((7, 7), bool)
    corners[np.ix_([1, 5], [1, 5])] = True
    assert outline(mask, 7, 7, 1).tolist() == (square(7, 1, 5) & ~mask & ~corners).tolist()


def test_an_inside_outline_runs_along_the_edge_of_the_picture() -> None:
    assert outline(np.ones((6, 6), bool), 6, 6, 1, inside=True).sum() == 20


def test_outlines_without_smoothing_follow_the_pixels() -> None:
    line = outline(square(4, 1, 2), 40, 40, 1, inside=True, smooth=False)
    rows, cols = np.nonzero(line)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (10, 29, 10, 29)
    assert line.sum() == 4 * 19


def test_a_drawn_outline_has_its_full_colour_and_leaves_what_it_encloses() -> None:
    image, mask = np.full((30, 30), 77, np.uint8), square(30, 10, 19)
    pixels = np.asarray(draw_slice(image, (Outline(mask, "#0a141e"),), (30, 30)))
    assert (pixels[10:20, 11:19] == 77).all()  # all but the corners, which are rounded off
    assert (pixels[11:19, 10:20] == 77).all()
    assert (pixels[8:10, 12:18] == rgb("#0a141e")).all()


def test_sides_are_in_the_upper_corners() -> None:
    picture = Image.new("RGB", (100, 80))
    draw_sides(picture, ("R", "L?"), 12)
    white = np.asarray(picture)[..., 0] > 200
    assert white[:20, :20].any()
    assert white[:20, -25:].any()
    assert not white[20:].any()
    assert not white[:, 30:70].any()


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    picture = Image.new("RGB", (300, 200), "#404040")
    assert draw_scale_bar(picture, 150.0, 12) == 50
    line = np.asarray(picture)[200 - 6 - 1, :, 0] == 255
    assert line.sum() == 100
    assert draw_scale_bar(picture, 30.0, 12) == 10
    assert draw_scale_bar(picture, 2.0, 12) == 0


def test_sides_come_from_the_header(volume: Volume) -> None:
    assert side_letters(volume) == ("R", "L")
    assert side_letters(replace(volume, col_step_mm=-volume.col_step_mm)) == ("L", "R")
    assert side_letters(replace(volume, col_step_mm=np.array([0.1, 0.9, 0.0]))) == ("A", "P")
    assert side_letters(replace(volume, notes=("the header carries no orientation",))) == ("R?", "L?")
