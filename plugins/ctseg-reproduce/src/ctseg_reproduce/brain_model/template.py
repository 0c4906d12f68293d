"""The CT template as training slices, turned in many ways: the one real skull base, face and neck among the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.errors import InputError
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask
from ctseg.io.volume import Volume
from ctseg_reproduce.brain_model.heads import HeadSlices, filled, kept_share, rounded

HEAD, BRAIN = "scct_hu_2mm.nii.gz", "scct_brain_2mm.nii.gz"
STREAM = 8
AIR_HU = -150.0
UNSURE_PIXELS = 2
"""Of 2 mm, around the mask."""


def read_template(folder: Path) -> tuple[Volume, NDArray[np.bool_]]:
    """The template's head in HU and its brain mask, (K, h, w) at 2 mm.

    Raises:
        InputError: if the folder does not hold both.
    """
    missing = [name for name in (HEAD, BRAIN) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: no {missing[0]}; give the folder of the CT template with --template")
    (head,) = discover([folder / HEAD], "ct").cases
    return read_case(head), load_mask(folder / BRAIN)[0] > 0


def turned_template(hu: NDArray[np.float32], brain: NDArray[np.bool_], number: int, seed: int) -> HeadSlices:
    """The template, pitched and rolled; number 0 is not. Even numbers are as blurred as it is, odd ones sharpened.

    The mask of the template is drawn where brain is sure: its edge has 57 HU, not half of what bone has. A head
    whose edges were given back has its brain's edge somewhere within `UNSURE_PIXELS` of it, so that is not counted.
    """
    share = brain.astype(np.float32)
    rng = np.random.default_rng((seed, STREAM, number))
    if number:
        hu, share = _turn(rng, hu, share)
    counted = None
    if number % 2:
        hu = hu + np.float32(rng.uniform(1, 2.5)) * (hu - ndimage.gaussian_filter(hu, 1.5))
        inside = share > 0.5
        counted = ~(ndimage.binary_dilation(filled(inside), iterations=UNSURE_PIXELS) & ~inside)
    return _with_air(hu, share, counted)


def turned_mean(mean: HeadSlices, level: float, number: int, seed: int) -> HeadSlices:
    """A mean of phantom heads, pitched and rolled, with brain where at least `level` of the heads have it."""
    rng = np.random.default_rng((seed, STREAM + 1, number))
    blur = float(rng.uniform(0.4, 1.3))
    hu, share = (
        ndimage.gaussian_filter(maps.astype(np.float32), blur) for maps in (mean.hu, mean.brain / np.float32(255))
    )
    hu, share = _turn(rng, hu, share)
    return _with_air(hu, np.clip((share - np.float32(level)) * 5 + np.float32(0.5), 0, 1), None)


def _with_air(hu: NDArray[np.float32], share: NDArray[np.float32], counted: NDArray[np.bool_] | None) -> HeadSlices:
    """A mean of heads (K, h, w) at 2 mm from its first slice to its last, with some air around it."""
    shown = np.flatnonzero((hu > AIR_HU).any(axis=(1, 2)))
    span = slice(shown[0], shown[-1] + 1)
    wide = ((0, 0), (4, 4), (4, 4))
    hu, share = (np.pad(maps[span], wide, mode="edge") for maps in (hu, share))
    if counted is not None:
        counted = np.pad(counted[span], wide, mode="edge")
    heights = np.arange(len(hu), dtype=np.float64) * 2
    return HeadSlices(rounded(hu), kept_share(share), heights, counted)


def _turn(
    rng: np.random.Generator, hu: NDArray[np.float32], share: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pitch by up to 25 degrees, roll by up to 8, and another height; what was not scanned is air."""
    pitch, roll = np.radians(rng.uniform(-15, 25)), np.radians(rng.uniform(-8, 8))
    about_x = np.array([[np.cos(pitch), -np.sin(pitch), 0], [np.sin(pitch), np.cos(pitch), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(roll), 0, -np.sin(roll)], [0, 1, 0], [np.sin(roll), 0, np.cos(roll)]])
    matrix = about_x @ about_y @ np.diag([rng.uniform(0.9, 1.15), 1.0, 1.0])
    middle = (np.array(hu.shape) - 1) / 2
    offset = middle - matrix @ middle
    turned = ndimage.affine_transform(hu, matrix, offset, order=1, mode="constant", cval=-1000.0)
    mask = ndimage.affine_transform(share, matrix, offset, order=1, mode="constant")
    return turned, mask
