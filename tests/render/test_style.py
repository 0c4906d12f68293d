"""Letters and colours."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from ctseg.render.style import MODELS, REFERENCE, font, rgb, shorten, wrap

COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
"""On linear RGB: Machado, Oliveira and Fernandes 2009, severity 1."""
LEAST_DIFFERENCE = 10.0
"""CIEDE2000; 2 is just noticeable, side by side."""


def seen(colour: str, vision: str) -> np.ndarray:
    """CIELAB of a colour as such eyes see it."""
    share = np.array(rgb(colour)) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(COLOUR_VISION[vision]) @ linear, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_outlines_differ_in_every_colour_vision(vision: str) -> None:
    for one, other in combinations((REFERENCE, *MODELS), 2):
        assert deltaE_ciede2000(seen(one, vision), seen(other, vision)) > LEAST_DIFFERENCE, (one, other)


def test_red_and_green_of_equal_lightness_would_not_do() -> None:
    assert deltaE_ciede2000(seen("#d55e00", "protanopia"), seen("#7a7a00", "protanopia")) < LEAST_DIFFERENCE


def test_long_titles_are_wrapped_without_losing_a_word() -> None:
    title = "Matched mask supervised CycleGAN, and more words than fit into one line"
    lines = wrap(title, 200, 15)
    assert " ".join(lines) == title
    assert len(lines) > 1
    assert all(font(15).getlength(line) <= 200 for line in lines)


def test_a_word_wider_than_a_line_is_broken_without_losing_a_letter() -> None:
    word = "1.2.840.113619.2.55.3.604688119.971.1234567890.123.45"
    lines = wrap(f"UID {word}", 100, 12)
    assert "".join(lines) == f"UID{word}"
    assert all(font(12).getlength(line) <= 100 for line in lines)
    assert wrap("abc", 1, 12) == ["a", "b", "c"]
    assert wrap("", 100, 12) == []


def test_a_shortened_name_keeps_its_end() -> None:
    assert shorten("short", 100, 12) == "short"
    name = shorten("a-very-long-name-of-a-series-017", 100, 12)
    assert name.startswith("…")
    assert name.endswith("-017")
    assert font(12).getlength(name) <= 100
