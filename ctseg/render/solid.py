"""A lesion in the brain as a solid: still views from the front, from the patient's left and from above.

Each view is a map of depths, the first voxel along each line of sight, shaded by its slope. The brain is translucent,
so a lesion shows wherever it lies. The skin is never drawn: a face is an identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.render.slices import draw_sides
from ctseg.render.style import OUTLINE, font, rgb

STEP_MM = 2.5
"""Of the grid that is looked at: a brain is about 60 x 70 x 55 voxels."""
SMOOTH_MM = 2.5
"""Standard deviation of a Gaussian filter against steps between voxels; across slices half their distance."""
LIGHT = np.array([-0.35, -0.5, 0.79])
"""Where light comes from: the viewer's upper left."""
BRAIN = np.array([0.82, 0.84, 0.9])
"""Colour of the brain, as shares of white."""
OPACITY = 0.85
"""Of the lesion, seen through the brain."""
LEVEL = 0.5
"""Of a smoothed mask, at its surface."""
SIDE, LETTERS, NAME_HEIGHT = 300, 13, 20
"""Pixels of a view's longest side over all views, of the letters, and of the line below that says where it looks from.
"""

Field = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """How the (K, H, W) grid is turned for one view: into (depth, rows, columns) of its picture."""

    axes: tuple[int, int, int]
    flips: tuple[int, ...]
    """Axes of the turned grid that are reversed."""
    sides: tuple[str, str]
    """Letters at the left and right."""
    name: str
    """From where it looks."""

    def turned(self, field: Field) -> Field:
        """(K, H, W) -> (depth, rows, columns)."""
        return np.flip(field.transpose(self.axes), self.flips)


VIEWS = (
    View((1, 0, 2), (1,), ("R", "L"), "from the front"),
    View((2, 0, 1), (0, 1), ("A", "P"), "from the left"),
    View((0, 1, 2), (0, 2), ("L", "R"), "from above"),
)


def draw_solid(volume: Volume, brain: Mask, lesion: Mask) -> Image.Image:
    """Three views of a scan's brain side by side, with the lesion in it.

    Args:
        volume: whose places the slices have; tilted and uneven ones are right.
        brain: (K, H, W).
        lesion: (K, H, W); may be empty.
    """
    sigma = np.maximum(1.0, np.array([_step_mm(volume) / 2, SMOOTH_MM, SMOOTH_MM]) / STEP_MM)
    fields = zip(_on_even_grid(volume, brain, lesion), (sigma, np.minimum(sigma, 1.0)), strict=True)
    surface, inner = (_smooth(mask, width) for mask, width in fields)
    scale = SIDE / max(surface.shape)
    pictures = [_picture(view.turned(surface), view.turned(inner), scale) for view in VIEWS]
    height, left = max(picture.height for picture in pictures), 0
    sheet = Image.new("RGB", (sum(picture.width for picture in pictures), height + NAME_HEIGHT))
    for view, picture in zip(VIEWS, pictures, strict=True):
        column = Image.new("RGB", (picture.width, height + NAME_HEIGHT))
        column.paste(picture, (0, (height - picture.height) // 2))
        draw_sides(column, view.sides, LETTERS)
        ImageDraw.Draw(column).text((picture.width / 2, height + 2), view.name, anchor="ma", font=font(LETTERS))
        sheet.paste(column, (left, 0))
        left += picture.width
    return sheet


def _step_mm(volume: Volume) -> float:
    return float(np.median(np.abs(np.diff(volume.z_mm)))) if len(volume.z_mm) > 1 else STEP_MM


def _on_even_grid(volume: Volume, *masks: Mask) -> list[Mask]:
    """Masks on voxels of `STEP_MM`, by the nearest voxel, cut to the first; planes lie as the slices do, in place."""
    place = volume.origins_mm - volume.origins_mm[0]
    steps = volume.row_step_mm, volume.col_step_mm
    spans = [_span(masks[0], axis) for axis in (1, 2)]
    offsets = [place @ (step / np.linalg.norm(step)) for step in steps]
    heights = np.arange(volume.z_mm.min(), volume.z_mm.max() + STEP_MM / 2, STEP_MM)
    nearest = np.abs(volume.z_mm[None] - heights[:, None]).argmin(axis=1)
    across = [
        np.arange(at.min() + first * spacing, at.max() + last * spacing, STEP_MM)
        for at, (first, last), spacing in zip(offsets, spans, volume.spacing_mm, strict=True)
    ]
    made = [np.zeros((len(heights), len(across[0]), len(across[1])), bool) for _ in masks]
    for plane, index in enumerate(nearest):
        at = np.array([offset[index] for offset in offsets])
        to, taken = _nearest_pixels(across, at, volume.spacing_mm, masks[0].shape[1:])
        for filled, mask in zip(made, masks, strict=True):
            filled[plane][to] = mask[index][taken]
    return made


def _nearest_pixels(
    across: list[NDArray[np.float64]], at: NDArray[np.float64], spacing_mm: tuple[float, float], size: tuple[int, ...]
) -> tuple[tuple[NDArray[np.intp], ...], tuple[NDArray[np.intp], ...]]:
    """Places of a plane's grid that lie within a slice, and the slice's pixels there, each as an index.

    Args:
        across: rows and columns of the grid in mm.
        at: where the slice's first row and column lie.
        spacing_mm: of its pixels.
        size: (H, W) of the slice.
    """
    to, taken = [], []
    for places, start, spacing, length in zip(across, at, spacing_mm, size, strict=True):
        numbers = np.round((places - start) / spacing).astype(int)
        inside = (numbers >= 0) & (numbers < length)
        to.append(np.flatnonzero(inside))
        taken.append(numbers[inside])
    return np.ix_(*to), np.ix_(*taken)


def _span(mask: Mask, axis: int) -> tuple[int, int]:
    """The first and the end of the rows (axis 1) or columns (2) that hold anything; all where none does."""
    filled = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    return (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, mask.shape[axis])


def _smooth(mask: Mask, sigma: NDArray[np.float64]) -> Field:
    """A 0 to 1 field with soft edges, and two voxels of nothing all around."""
    padded = np.pad(mask.astype(np.float32), 2)
    return np.asarray(ndimage.gaussian_filter(padded, sigma, truncate=2.0), dtype=np.float32)


def _picture(brain: Field, lesion: Field, scale: float) -> Image.Image:
    """One view, enlarged by `scale`."""
    colours = _shade(brain)[..., None] * BRAIN
    bright = _shade(lesion)
    seen = (bright > 0)[..., None] * OPACITY
    colours = (1 - seen) * colours + seen * bright[..., None] * np.array(rgb(OUTLINE)) / 255
    pixels = (255 * colours.clip(0, 1)).round().astype(np.uint8)
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _shade(field: Field) -> NDArray[np.float64]:
    """(rows, columns) brightness of the surface of a smoothed (depth, rows, columns) mask; 0 beside it.

    Lambert's law, with a little light from all around.
    """
    first = (field >= LEVEL).argmax(axis=0)
    here = np.take_along_axis(field, first[None], axis=0)[0]
    hit = here >= LEVEL
    if not hit.any():
        return np.zeros(hit.shape)
    before = np.take_along_axis(field, np.maximum(first - 1, 0)[None], axis=0)[0]
    depth = first - np.clip((here - LEVEL) / np.maximum(here - before, 1e-6), 0, 1)
    depth = np.where(hit, depth, depth[hit].max() + 1)
    down, right = np.gradient(depth)
    slope = np.sqrt(down**2 + right**2 + 1)
    facing = (LIGHT[0] * right + LIGHT[1] * down + LIGHT[2]) / slope
    return np.where(hit, 0.18 + 0.82 * facing.clip(0, 1), 0.0)
