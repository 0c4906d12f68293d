"""Where the pixels of a slice lie on the scan's own pixel grid, and resampling in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Order = Literal[0, 1]
Slices = NDArray[Any] | Iterable[NDArray[Any]]
WHOLE = slice(None), slice(None)


@dataclass(frozen=True)
class Frame:
    """Square pixels of a fixed width in mm over the in-plane grid of one volume.

    The map has no rotation and no flip, so it is one start and one step for the rows and one for the columns: the
    centre of model pixel (i, j) lies at native pixel (row_start + i * row_step, col_start + j * col_step).
    """

    size: tuple[int, int]
    """(H, W) of a model slice."""
    native: tuple[int, int]
    """(h, w) of a native slice."""
    row_start: float
    row_step: float
    """Native rows per model row."""
    col_start: float
    col_step: float

    def to_model(self, slices: Slices, order: Order = 1, part: tuple[slice, slice] = WHOLE) -> NDArray[np.float32]:
        """(K, h, w) native slices -> (K, H, W); antialiased where model pixels are wider; 0 outside the native grid.

        Args:
            slices: (K, h, w), an array or one (h, w) at a time.
            order: 1 for linear, with a kernel as wide as the coarser pixel; 0 for the nearest pixel (label values).
            part: the native rows and columns that `slices` are; all others count as 0.
        """
        rows = _weights(self.size[0], self.native[0], self.row_start, self.row_step, order)
        cols = _weights(self.size[1], self.native[1], self.col_start, self.col_step, order)
        return _apply(rows[:, part[0]], cols[:, part[1]], slices)

    def to_native(self, maps: Slices, order: Order = 1, part: tuple[slice, slice] = WHOLE) -> NDArray[np.float32]:
        """(K, H, W) maps, such as probabilities -> (K, h, w) at the native pixels; 0 outside the model's field.

        With `part`, only these native rows and columns are computed and returned.
        """
        rows = _weights(self.native[0], self.size[0], -self.row_start / self.row_step, 1 / self.row_step, order)
        cols = _weights(self.native[1], self.size[1], -self.col_start / self.col_step, 1 / self.col_step, order)
        return _apply(rows[part[0]], cols[part[1]], maps)

    def native_part(self, part: tuple[slice, slice], within: tuple[slice, slice] = WHOLE) -> tuple[slice, slice]:
        """The native rows and columns whose values some model rows and columns have a part in, within others."""
        axes = ((self.row_start, self.row_step), (self.col_start, self.col_step))
        found = []
        for (start, step), model, native, length in zip(axes, part, within, self.native, strict=True):
            reach = max(1.0, 1 / step)
            first, stop, _ = native.indices(length)
            low = math.floor(start + (model.start - reach) * step)
            high = math.ceil(start + (model.stop - 1 + reach) * step) + 1
            found.append(slice(min(max(first, low), stop), max(first, min(stop, high))))
        return found[0], found[1]


def centred_frame(brain: NDArray[np.bool_], spacing_mm: tuple[float, float], size: int, fov_mm: float) -> Frame:
    """A frame of `size` pixels over `fov_mm` around the middle of a brain mask (K, h, w).

    The middle is that of the box around the brain's projection along the slices; without any brain it is the middle of
    the picture. The first model pixel is put on a native pixel, so that scans which already have the model's spacing
    are copied, not blurred.
    """
    row_step, col_step = (fov_mm / size / spacing for spacing in spacing_mm)
    row_start = _start(np.any(brain, axis=(0, 2)), size, row_step)
    col_start = _start(np.any(brain, axis=(0, 1)), size, col_step)
    return Frame((size, size), (brain.shape[1], brain.shape[2]), row_start, row_step, col_start, col_step)


def whole_frame(native: tuple[int, int], spacing_mm: tuple[float, float], pixel_mm: float) -> Frame:
    """A frame over the whole picture with pixels of `pixel_mm`, or of the scan's own width where that is coarser."""
    steps = [max(1.0, pixel_mm / spacing) for spacing in spacing_mm]
    size = [math.ceil(length / step) for length, step in zip(native, steps, strict=True)]
    starts = [(step - 1) / 2 for step in steps]
    return Frame((size[0], size[1]), native, starts[0], steps[0], starts[1], steps[1])


def _start(profile: NDArray[np.bool_], size: int, step: float) -> float:
    """Native coordinate of model pixel 0 along one axis."""
    inside = np.flatnonzero(profile)
    middle = (inside[0] + inside[-1]) / 2 if len(inside) else (len(profile) - 1) / 2
    return float(np.floor(middle - (size - 1) / 2 * step + 0.5))


def _weights(count: int, length: int, start: float, step: float, order: Order) -> sparse.csr_array:
    """(count, length) weights of the input pixels for outputs at `start + n * step`.

    Order 1 is the triangle kernel stretched to the coarser of both pixels (plain linear interpolation where outputs are
    finer); every row sums to 1 except where it reaches beyond the input, which counts as 0.
    """
    reach = max(1.0, step) if order == 1 else 0.5
    centres = start + step * np.arange(count)[:, None]
    pixels = np.floor(centres - reach).astype(np.int64) + np.arange(math.ceil(2 * reach) + 2)[None, :]
    if order == 0:
        weights = (np.floor(centres + 0.5) == pixels).astype(np.float32)
    else:
        weights = np.maximum(0.0, 1 - np.abs(pixels - centres) / reach)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    used = (pixels >= 0) & (pixels < length) & (weights > 0)
    rows = np.broadcast_to(np.arange(count)[:, None], pixels.shape)
    return sparse.csr_array((weights[used], (rows[used], pixels[used])), shape=(count, length))


def _apply(rows: sparse.csr_array, cols: sparse.csr_array, slices: Slices) -> NDArray[np.float32]:
    """Separable resampling: rows (H, h) and cols (W, w) of (K, h, w) -> (K, H, W)."""
    done = [cols @ (rows @ picture.astype(np.float32, copy=False)).T for picture in slices]  # (W, H) each
    result = np.empty((len(done), rows.shape[0], cols.shape[0]), dtype=np.float32)
    for place, turned in enumerate(done):
        result[place] = turned.T
    return result
