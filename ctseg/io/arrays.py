"""Arrays and grids that are given from Python: checked, and never changed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.arguments import of_kind, refused
from ctseg.errors import InputError
from ctseg.io.stack import Grid, Mask


def an_array(given: Any, what: str) -> NDArray[Any]:
    """An array of numbers, of whatever has one: lists and tensors, too.

    Raises:
        InputError: if there is none in it, or it holds no numbers.
    """
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors of a GPU or with a gradient
        raise refused(what, given, "an array of numbers in the memory of the CPU") from None
    if array.dtype.kind == "O":
        raise refused(what, given, "an array of numbers")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: takes an array of numbers, not of {array.dtype}")
    return array


def stack_of(given: Any, what: str) -> NDArray[Any]:
    """(K, H, W) finite numbers, of any dtype but bool.

    Raises:
        InputError: if it is of another shape or kind, or one is not finite.
    """
    array = an_array(given, what)
    if array.ndim != 3 or not array.size or array.dtype.kind == "b":
        raise InputError(f"{what}: {array.dtype} of shape {array.shape}; expected numbers of (slices, rows, columns)")
    if not np.isfinite(array).all():
        raise InputError(f"{what}: some voxels are no numbers; set what was not measured to air, -1000 HU")
    return array


def a_mask(given: Any, what: str) -> Mask:
    """(K, H, W) bool: all above 0 of an array of labels.

    Raises:
        InputError: if it holds anything but whole numbers from 0 on, such as probabilities, or has another shape.
    """
    array = an_array(given, what)
    if array.ndim != 3:
        raise InputError(f"{what}: a mask of shape {array.shape}; expected (slices, rows, columns)")
    if array.dtype.kind == "b":
        return np.asarray(array)
    with np.errstate(invalid="ignore"):
        is_labels = bool(((array >= 0) & (array % 1 == 0)).all())
    if not is_labels:
        raise InputError(f"{what}: a mask has 0 and 1, or labels from 0 on; of probabilities give `probability >= 0.5`")
    return np.asarray(array > 0)


def checked_grid(given: Any, slices: int, what: str) -> Grid:
    """The grid of so many slices, with float64 arrays.

    Raises:
        InputError: if it is no grid, of another number of slices, or has positions that are not finite, or voxels
            without a volume.
    """
    of_kind(given, Grid, what, "a ctseg.io.stack.Grid (`Grid.of(volume)`, `Grid.even(slices, spacing_mm)`)")
    shapes = {"origins_mm": (slices, 3), "row_step_mm": (3,), "col_step_mm": (3,), "slab_mm": (slices,)}
    grid = Grid(**{field.name: _mm(getattr(given, field.name), field.name, shapes, what) for field in fields(Grid)})
    if not (grid.voxel_ml > 0).all():
        raise InputError(f"{what}: some voxels have no volume; steps and slabs are mm above 0")
    return grid


def _mm(given: Any, name: str, shapes: dict[str, tuple[int, ...]], what: str) -> NDArray[np.float64]:
    values = an_array(given, f"{what}: {name}").astype(np.float64, copy=False)
    if values.shape != shapes[name] or not np.isfinite(values).all():
        raise InputError(f"{what}: {name} of shape {values.shape}; expected finite mm of shape {shapes[name]}")
    return values
