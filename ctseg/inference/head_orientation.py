"""Does the head lie as the header says? It is compared with phantoms, on cells of 20 mm.

Tools that write an array without its header leave a head that is turned or upside down: then left and right may be
exchanged, too, and nothing else in the voxels shows that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume

Floats = NDArray[np.float64]
CELL_MM, CELLS = 20.0, 13
"""Cells along each axis, around the middle of the brain."""
VOXEL_MM = 4.0
"""Voxels are looked at about so far apart."""
BONE_HU, TISSUE_HU = 200.0, -300.0
COVERED = 0.3
"""A cell counts that holds this share of what the median one holds."""
SHIFTS = [(0, front, up) for front in (-1, 0, 1) for up in (-1, 0, 1)]
"""By how many cells (x, y, z) a head may lie beside the others: brains are cut off below, which moves their middle."""
NODS = (-25, -12, 0, 12, 25)
"""Degrees by which a head may nod; a tilt of the gantry that a wrong header turns round is twice as large."""
TALL_MM = 100.0
"""Less of a brain says nothing: the upper half of a head fits both ways."""
LEAST = 0.6
"""A lower correlation says nothing: that of a brain without its skull (0.3), where heads have 0.7 to 0.97. Of 36
phantoms, and of a real head that was changed in 35 ways, the right way is better by 0.02 and more; of each of them that
was turned or upside down, it is worse by 0.005 and more."""
WAYS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "": lambda cells: cells,
    "turned front to back": lambda cells: cells[..., ::-1, :],
    "upside down": lambda cells: cells[..., ::-1],
    "upside down and turned front to back": lambda cells: cells[..., ::-1, ::-1],
    "turned by a quarter": lambda cells: np.rot90(cells, 1, (-3, -2)),
    "turned by three quarters": lambda cells: np.rot90(cells, 3, (-3, -2)),
}
"""Cells (..., X, Y, Z) as they would be, had the head been turned."""


def orientation_remarks(volume: Volume, brain: Mask) -> list[str]:
    """A remark where a head fits the phantoms better when it is turned against its header; else none.

    Args:
        volume: CT in HU.
        brain: (K, h, w) mask on the volume's own grid.
    """
    heights = volume.z_mm[brain.any(axis=(1, 2))]
    if len(heights) < 2 or np.ptp(heights) < TALL_MM:
        return []
    found = fits(volume, brain)
    best = max(found, key=lambda way: found[way])
    if not best or found[best] < LEAST:
        return []
    return [
        f"the head looks {best}: the header's orientation may be wrong, and left and right with it; look at the preview"
    ]


def fits(volume: Volume, brain: Mask) -> dict[str, float]:
    """How well a head fits the phantoms for each of `WAYS`: the best correlation over small shifts and nods."""
    shares, covered = head_cells(volume, brain)
    return {way: _fit(turn(shares), turn(covered)) for way, turn in WAYS.items()}


def _fit(shares: Floats, covered: Mask) -> float:
    found = [0.0]
    for shift in SHIFTS:
        here, within = np.roll(shares, shift, (1, 2, 3)), np.roll(covered, shift, (0, 1, 2))
        for phantoms, theirs in _phantoms():
            both = within & theirs
            found.append(_correlation(here[:, both].ravel(), phantoms[:, both].ravel()))
    return max(found)


def _correlation(one: Floats, other: Floats) -> float:
    """0 where either is flat or empty."""
    if not len(one):
        return 0.0
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size else 0.0


def head_cells(volume: Volume, brain: Mask) -> tuple[Floats, Mask]:
    """Shares (3, X, Y, Z) of brain, of bone and of other tissue in each cell, and which cells the scan covers.

    Axes are those of the patient, as in `Volume`; the middle of the brain lies in the middle.
    """
    steps = [max(1, round(VOXEL_MM / mm)) for mm in volume.spacing_mm]
    part = (slice(None), slice(None, None, steps[0]), slice(None, None, steps[1]))
    hu, inside = volume.voxels[part], brain[part]
    rows, cols = (np.arange(count) * step for count, step in zip(hu.shape[1:], steps, strict=True))
    plane = rows[:, None, None] * volume.row_step_mm + cols[:, None] * volume.col_step_mm
    middle = _middle(inside, plane, volume.origins_mm)
    sums = np.zeros((4, CELLS**3))
    for picture, within, origin in zip(hu, inside, volume.origins_mm, strict=True):
        places = np.floor((plane + origin - middle) / CELL_MM + CELLS / 2).astype(int)
        kept = ((places >= 0) & (places < CELLS)).all(axis=-1)
        cell = np.ravel_multi_index(tuple(places[kept].T), (CELLS,) * 3)
        values, is_brain = picture[kept], within[kept]
        other = (values > TISSUE_HU) & (values <= BONE_HU) & ~is_brain
        for total, kind in zip(sums, (np.ones(len(cell)), is_brain, values > BONE_HU, other), strict=True):
            total += np.bincount(cell, kind, CELLS**3)
    count = sums[0]
    covered = count > COVERED * np.median(count[count > 0])
    return (sums[1:] / np.maximum(count, 1)).reshape(3, *(CELLS,) * 3), covered.reshape((CELLS,) * 3)


def _middle(inside: Mask, plane: Floats, origins_mm: Floats) -> Floats:
    """(3,) mean position of a mask (K, h, w), mm."""
    counts = inside.sum(axis=(1, 2))
    mean: Floats = (np.einsum("khw,hwd->d", inside, plane) + counts @ origins_mm) / counts.sum()
    return mean


@lru_cache(maxsize=1)
def _phantoms() -> tuple[tuple[Floats, Mask], ...]:
    """(3, X, Y, Z) mean shares of phantoms, both sides the same, and which cells their scans cover, for each of `NODS`.

    Made by `tools/head_cells.py`. They have no neck and end at the vertex.
    """
    with (files("ctseg.inference") / "head_cells.npy").open("rb") as file:
        straight = np.load(file, allow_pickle=False) / 255.0
    turned = (ndimage.rotate(straight, nod, (2, 3), reshape=False, order=1) for nod in NODS)
    return tuple((cells[:3], cells[3] > 0.5) for cells in turned)
