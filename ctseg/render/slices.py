"""One slice as a picture: grey values in a window, true proportions, outlines, sides and a scale bar.

Pictures follow the canonical axes of `ctseg.io.volume`: anterior at the top, the patient's right at the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.render.style import OUTLINE, font, rgb

WINDOW_HU = (0.0, 80.0)
"""The usual brain window: level 40, width 80."""
SHARP = 3
"""Outlines are drawn this many times larger and shrunk, so that their edges are smooth."""
BARS_MM = (100, 50, 20, 10, 5, 2, 1)
"""Lengths of a scale bar: the longest that is at most `BAR_SHARE` of the picture's width is drawn."""
BAR_SHARE = 0.4
MARGIN = 6
"""Pixels between a picture's edge and its letters."""
SIDES = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters of the patient's +x, -x, +y, -y, +z, -z in DICOM's LPS axes."""
EDGED: dict[str, Any] = {"fill": "white", "stroke_width": 2, "stroke_fill": "black"}
"""White letters with a black edge can be read on air and on bone."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """A mask (H, W), or (K, H, W) of a volume, that is drawn as an outline.

    With `inside`, the line covers the rim of the mask, so that masks that touch do not cross into each other;
    otherwise it lies around the mask and hides nothing of what it encloses.
    """

    mask: Mask
    colour: str = OUTLINE
    name: str = ""
    inside: bool = False

    def slice(self, index: int) -> Outline:
        """The outline of one slice of a volume."""
        return Outline(self.mask[index], self.colour, self.name, self.inside)


def window_hu(hu: NDArray[Any], window: tuple[float, float] = WINDOW_HU) -> Grey:
    """Grey values of HU: the window's ends become 0 and 255, what lies beyond is clipped, NaN counts as 0 HU."""
    low, high = window
    share: NDArray[Any] = np.clip((np.nan_to_num(hu) - low) / (high - low), 0, 1)
    return (share * 255).round().astype(np.uint8)


def picture_size(shape: tuple[int, ...], spacing_mm: tuple[float, float], side: int) -> tuple[int, int]:
    """(height, width) in pixels of a picture of true proportions whose longer side is `side`.

    Args:
        shape: (H, W) of the slice.
        spacing_mm: (row, column) spacing of its pixels.
        side: in pixels.
    """
    height, width = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(plane: Grey, height: int, width: int, *, smooth: bool = True) -> Grey:
    """A (H, W) plane as (height, width); bilinear, or with `smooth=False` each pixel as a rectangle."""
    resampling = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(plane).resize((width, height), resampling))


def outline(mask: Mask, height: int, width: int, line: int = 2, *, inside: bool = False, smooth: bool = True) -> Mask:
    """The pixels of a mask's outline in a picture of another size.

    Args:
        mask: (H, W).
        height: of the picture.
        width: of the picture.
        line: thickness in pixels.
        inside: the rim of the mask; otherwise a line around it.
        smooth: as for `resize`.

    Returns:
        (height, width); empty for an empty mask.
    """
    if not mask.any():
        return np.zeros((height, width), bool)
    large: Mask = resize(mask.astype(np.uint8) * 255, height, width, smooth=smooth) >= 128
    lines = np.zeros_like(large)
    if large.any():
        part = tuple(
            slice(max(0, int(used[0]) - line), int(used[-1]) + 1 + line)
            for used in (np.flatnonzero(large.any(axis=axis)) for axis in (1, 0))
        )
        here = large[part]
        lines[part] = here & _grown(~here, line, edge=True) if inside else _grown(here, line, edge=False) & ~here
    return lines


def _grown(mask: Mask, steps: int, *, edge: bool) -> Mask:
    """A (h, w) mask and `steps` times its neighbours above, below, left and right; `edge` is what lies outside."""
    for _ in range(steps):
        wide = np.pad(mask, 1, constant_values=edge)
        mask = mask | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return mask


def draw_slice(
    image: Grey, outlines: tuple[Outline, ...], size: tuple[int, int], *, line: int = 2, smooth: bool = True
) -> Image.Image:
    """An RGB picture of a slice.

    Args:
        image: (H, W) grey values.
        outlines: of masks (H, W), drawn in this order.
        size: (height, width) of the picture, see `picture_size`.
        line: thickness of the outlines in pixels.
        smooth: as for `resize`.
    """
    grey = resize(np.asarray(image, dtype=np.uint8), *size, smooth=smooth)
    picture = Image.fromarray(grey).convert("RGB")
    for item in outlines:
        height, width = (SHARP * length for length in size)
        pixels = outline(item.mask > 0, height, width, SHARP * line, inside=item.inside, smooth=smooth)
        picture.paste(rgb(item.colour), (0, 0), Image.fromarray(pixels.astype(np.uint8) * 255).reduce(SHARP))
    return picture


def draw_sides(picture: Image.Image, sides: tuple[str, str], size: int) -> None:
    """Write what lies at the left and at the right into the upper corners, in letters of `size` pixels."""
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN // 2), sides[0], anchor="la", font=font(size), **EDGED)
    draw.text((picture.width - MARGIN, MARGIN // 2), sides[1], anchor="ra", font=font(size), **EDGED)


def side_letters(volume: Volume) -> tuple[str, str]:
    """What lies at the left and right of the picture, by the header's column direction; with "?" where it has none."""
    axis = int(np.abs(volume.col_step_mm).argmax())
    plus, minus = SIDES[axis]
    letters = (minus, plus) if volume.col_step_mm[axis] > 0 else (plus, minus)
    unsure = "?" if any("no orientation" in note for note in volume.notes) else ""
    return letters[0] + unsure, letters[1] + unsure


def draw_scale_bar(picture: Image.Image, width_mm: float, size: int) -> int:
    """Draw a scale bar with its length into the lower right corner.

    Args:
        picture: of a slice.
        width_mm: of the slice from its left to its right edge.
        size: of the letters in pixels.

    Returns:
        Length of the bar in mm; 0 where the slice is too small for any.
    """
    length = next((bar for bar in BARS_MM if bar <= BAR_SHARE * width_mm), 0)
    if not length:
        return 0
    draw = ImageDraw.Draw(picture)
    pixels = round(length / width_mm * picture.width)
    right, bottom = picture.width - MARGIN, picture.height - MARGIN
    draw.rectangle((right - pixels - 1, bottom - 3, right, bottom), fill="black")
    draw.rectangle((right - pixels, bottom - 2, right - 1, bottom - 1), fill="white")
    draw.text((right, bottom - MARGIN), f"{length} mm", anchor="rs", font=font(size), **EDGED)
    return length
