"""Colours, letters and line breaks of every picture."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

OUTLINE = "#ff7f0e"
"""Orange: the outline where a picture has one mask. It is bright on brain and on blood, and no colour of a scan."""
REFERENCE = "#f0e442"
"""Yellow: the outline of the reference beside those of models."""
MODELS = ("#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#0072b2", "#e69f00")
"""One colour a model, in order. With `REFERENCE` the palette of Okabe and Ito (2008), made for every colour vision."""
INK = "#7d8590"
"""Axes and letters of plots: a grey that reads on the light and on the dark page, since plots are transparent."""

FONT_FILE = "DejaVuSans.ttf"
"""Comes with matplotlib, so slices and plots have the same letters: Latin, Greek and Cyrillic."""
ELLIPSIS = "…"


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of all pictures at `size` pixels."""
    return ImageFont.truetype(str(_font_path()), size)


@cache
def _font_path() -> Path:
    """Where matplotlib has the font; only where it keeps its data elsewhere does it have to be imported to say so."""
    found = find_spec("matplotlib")
    inside = Path("fonts") / "ttf" / FONT_FILE
    beside = Path(str(found.origin)).parent / "mpl-data" / inside if found else inside
    if beside.is_file():
        return beside
    import matplotlib

    return Path(matplotlib.get_data_path()) / inside


def rgb(colour: str) -> tuple[int, int, int]:
    """'#rrggbb' as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def line_height(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(1.25 * size)


def wrap(text: str, width: int, size: int) -> list[str]:
    """Break text into lines of at most `width` pixels: at spaces, and inside a word that is wider than a line."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _fits(longer, width, size):
            lines[-1] = longer
        else:
            lines += _pieces(word, width, size)
    return [line for line in lines if line]


def _pieces(word: str, width: int, size: int) -> list[str]:
    """A word in pieces of at most `width` pixels; of one letter where even that is wider."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and not _fits(pieces[-1] + letter, width, size):
            pieces.append("")
        pieces[-1] += letter
    return pieces


def shorten(text: str, width: int, size: int) -> str:
    """Cut text at its front to `width` pixels: names of slices differ at their ends."""
    if _fits(text, width, size):
        return text
    start = next((at for at in range(1, len(text)) if _fits(ELLIPSIS + text[at:], width, size)), len(text))
    return ELLIPSIS + text[start:]


def _fits(text: str, width: int, size: int) -> bool:
    return bool(font(size).getlength(text) <= width)
