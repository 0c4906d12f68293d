from __future__ import annotations

import numpy as np
from ctseg_reproduce.panels import BLANK, OUTLINE, SIDE, Panel, rim, sheet, wrapped
from PIL import ImageFont


def test_long_titles_are_wrapped_without_losing_a_word() -> None:
    title = "Matched mask supervised CycleGAN, and more words than fit into one line"
    lines = wrapped(title, 200, 15)
    assert " ".join(lines) == title
    assert len(lines) > 1
    assert all(ImageFont.load_default(15).getlength(line) <= 200 for line in lines)


def test_the_outline_lies_around_the_mask_and_not_on_it() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, 15:30] = True
    line = rim(mask, 40, 40)
    assert not (line & mask).any()
    rows, cols = np.nonzero(line)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (8, 21, 13, 31)
    assert not rim(np.zeros((40, 40), bool), 80, 80).any()


def test_a_sheet_shows_the_picture_the_outline_and_the_blank() -> None:
    image, mask = np.full((20, 20), 77, np.uint8), np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    pixels = np.asarray(sheet(["one", "two"], [[Panel(image, mask, "Dice 0.83"), Panel(note="not run")]], "foot"))
    colours = {tuple(colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0).tolist()}
    assert {(77, 77, 77), OUTLINE, BLANK} <= colours
    assert pixels.shape[1] > 2 * SIDE
    assert (pixels == OUTLINE).all(axis=2)[:, SIDE + 20 :].sum() == 0


def test_pixels_that_are_not_square_are_shown_in_their_proportions() -> None:
    wide = Panel(np.full((10, 20), 77, np.uint8), spacing_mm=(1.0, 2.0))
    found = (np.asarray(sheet(["wide"], [[wide]], "")) == 77).all(axis=2)
    assert (found.any(axis=1).sum(), found.any(axis=0).sum()) == (SIDE // 4, SIDE)


def test_a_sheet_without_any_picture_is_one_of_reasons() -> None:
    page = sheet(["a", "b"], [[Panel(note="not made: " + "long words " * 9), Panel(note="not run")]], "foot")
    assert page.height > SIDE
