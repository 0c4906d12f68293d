"""Contact sheets, by hand-made truth."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np

from ctseg.render.sheet import DARK, GAP, LIGHT, SIDE, Layout, Tile, draw_sheet, grid_png
from ctseg.render.slices import Outline
from ctseg.render.style import OUTLINE, rgb


def test_grid_draws_slices_and_outline(tmp_path: Path) -> None:
    image = np.full((20, 20), 128, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    grid_png(tmp_path / "plain.png", [[image, image]], ["one", "two"])
    grid_png(tmp_path / "outlined.png", [[image, image]], ["one", "two"], [[mask, None]])
    plain, outlined = (matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3] for name in ("plain", "outlined"))
    coloured = np.ptp(outlined, axis=2) > 0.3
    assert np.ptp(plain, axis=2).max() < 0.01
    half = plain.shape[1] // 2
    assert coloured[:, :half].any()
    assert not coloured[:, half:].any()


def test_an_empty_mask_has_no_outline(tmp_path: Path) -> None:
    image = np.zeros((8, 8), np.uint8)
    grid_png(tmp_path / "a.png", [[image, image]], ["a", "b"], [[image, None]])
    assert np.ptp(matplotlib.image.imread(tmp_path / "a.png")[..., :3], axis=2).max() < 0.01


def test_a_sheet_shows_the_picture_the_outline_and_the_blank() -> None:
    image, mask = np.full((20, 20), 77, np.uint8), np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    rows = [[Tile(image, (Outline(mask),), "Dice 0.83"), Tile(note="not run")]]
    pixels = np.asarray(draw_sheet(rows, ["one", "two"], foot="foot"))
    colours = {tuple(colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0).tolist()}
    assert {(77, 77, 77), rgb(OUTLINE), rgb(LIGHT.blank)} <= colours
    assert pixels.shape[1] > 2 * SIDE
    assert (pixels == rgb(OUTLINE)).all(axis=2)[:, SIDE + 20 :].sum() == 0


def test_pixels_that_are_not_square_are_shown_in_their_proportions() -> None:
    wide = Tile(np.full((10, 20), 77, np.uint8), spacing_mm=(1.0, 2.0))
    found = (np.asarray(draw_sheet([[wide]])) == 77).all(axis=2)
    assert (found.any(axis=1).sum(), found.any(axis=0).sum()) == (SIDE // 4, SIDE)


def test_a_sheet_without_any_picture_is_one_of_reasons() -> None:
    page = draw_sheet([[Tile(note="not made: " + "long words " * 9), Tile(note="not run")]], ["a", "b"], foot="foot")
    assert page.height > SIDE


def test_a_note_stays_in_its_column() -> None:
    image = np.full((20, 20), 77, np.uint8)
    long = "1.2.840.113619.2.55.3.604688119.971.1234567890.123 a note of many words that goes on and on"
    plain = np.asarray(draw_sheet([[Tile(image), Tile(image, note="x")]], ["", ""]))
    pixels = np.asarray(draw_sheet([[Tile(image, note=long), Tile(image, note="x")]], [long, ""]))
    dark = (pixels < 60).all(axis=2)
    assert dark[:, GAP : GAP + SIDE].sum() > 500
    assert not dark[:, GAP + SIDE : 2 * GAP + SIDE].any()  # the gap between the columns
    assert dark[:, 2 * GAP + SIDE :].sum() == (plain < 60).all(axis=2)[:, 2 * GAP + SIDE :].sum()


def test_tiles_without_gaps_fill_the_sheet() -> None:
    image = np.full((10, 10), 77, np.uint8)
    page = draw_sheet([[Tile(image), Tile(image)]], layout=Layout(DARK, side=50, gap=0))
    assert page.size == (100, 50)
    assert (np.asarray(page) == 77).all()


def test_the_last_row_may_be_shorter_and_the_legend_says_what_is_outlined() -> None:
    tile = Tile(np.full((10, 10), 77, np.uint8))
    rows, layout = [[tile, tile], [tile]], Layout(side=50)
    without = draw_sheet(rows, layout=layout)
    page = np.asarray(draw_sheet(rows, legend=[(OUTLINE, "mask"), ("#0a141e", "the other mask")], layout=layout))
    assert page.shape[1] == without.width
    below = page[without.height - layout.gap :]
    for colour in (OUTLINE, "#0a141e"):
        assert (below == rgb(colour)).all(axis=2).sum() > 50
    assert (page[layout.gap + 50 + layout.gap : without.height, 2 * layout.gap + 50 :] == 255).all()


def test_small_slices_are_enlarged_by_a_whole_number_with_pixels_as_they_are(tmp_path: Path) -> None:
    image = np.arange(400, dtype=np.uint8).reshape(20, 20) // 2
    grid_png(tmp_path / "a.png", [[image]], ["a"])
    page = (matplotlib.image.imread(tmp_path / "a.png")[..., 0] * 255).round().astype(np.uint8)
    tile = page[-GAP - 200 : -GAP, GAP : GAP + 200]
    np.testing.assert_array_equal(tile, np.repeat(np.repeat(image, 10, axis=0), 10, axis=1))
