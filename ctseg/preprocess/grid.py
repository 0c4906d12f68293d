"""A coarse working grid with nearly cubic voxels, whatever the slice thickness, and resampling back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.preprocess.frame import Frame, whole_frame
from ctseg.preprocess.runs import connected_parts

AIR_HU = -300.0
"""Between air (-1000) and fat (-100)."""
GRID_HU = (-1024.0, 1000.0)
"""Metal is cut to bone before pixels are averaged, so that it does not make bone of what is beside it."""
IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)
"""Neighbours of a voxel in its own slice."""
EDGE_PAD = 8
"""Slices repeated beyond either end before distances are taken, so that the end of the scan is no edge of the brain."""


@dataclass(frozen=True)
class WorkingGrid:
    """A volume's slices with averaged pixels, and interpolated slices between those that are far apart."""

    frame: Frame
    positions: NDArray[np.float64]
    """(G,) where each grid slice lies, in slices of the volume (2.5 is halfway between the slices 2 and 3)."""
    places: NDArray[np.int64]
    """(K,) which grid slice each slice of the volume is."""
    spacing_mm: tuple[float, float, float]
    """(slice, row, column) of the grid."""

    def to_grid(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(K, h, w) -> (G, H, W): pixels averaged, slices interpolated; HU beyond air and bone are cut first."""
        return _between(self.frame.to_model(clipped(voxels, *GRID_HU)), self.positions)

    def to_native(self, mask: Mask) -> Mask:
        """(G, H, W) mask -> (K, h, w) mask."""
        chosen = mask[self.places]
        result = np.zeros((len(chosen), *self.frame.native), dtype=bool)
        if chosen.any():
            slices, rows, cols = filled_box(chosen, (0, 0, 0))
            part = self.frame.native_part((rows, cols))
            result[slices, *part] = self.frame.to_native(chosen[slices], part=part) >= 0.5
        return result

    def within(self, mask: Mask, radius_mm: float) -> Mask:
        """(G, H, W) voxels at most `radius_mm` from the mask; the end slices continue, nothing lies beside the grid."""
        more = min(EDGE_PAD, int(np.ceil(radius_mm / self.spacing_mm[0])))
        padded = np.pad(mask, ((more, more), (0, 0), (0, 0)), mode="edge")
        return near(padded, radius_mm, self.spacing_mm)[more : len(padded) - more]

    def dilate(self, mask: Mask, radius_mm: float) -> Mask:
        """Everything within `radius_mm` of the mask."""
        result = np.zeros_like(mask)
        if mask.any():
            part = filled_box(mask, tuple(int(np.ceil(radius_mm / mm)) for mm in self.spacing_mm))
            result[part] = self.within(mask[part], radius_mm)
        return result

    def erode(self, mask: Mask, radius_mm: float) -> Mask:
        """What lies deeper than `radius_mm` in the mask."""
        result = np.zeros_like(mask)
        if mask.any():
            part = filled_box(mask, (1, 1, 1))  # a shell of voxels outside is as near as anything beyond it
            result[part] = ~self.within(~mask[part], radius_mm)
        return result

    def open(self, mask: Mask, radius_mm: float) -> Mask:
        """Without what is thinner than twice `radius_mm`."""
        return self.dilate(self.erode(mask, radius_mm), radius_mm) & mask

    def close(self, mask: Mask, radius_mm: float) -> Mask:
        """Gaps narrower than twice `radius_mm` filled."""
        return self.erode(self.dilate(mask, radius_mm), radius_mm) | mask

    def near_air(self, hu: NDArray[np.float32], depth_mm: float) -> Mask:
        """Whether the air around the head (not that in its sinuses) is within `depth_mm`, in the same slice."""
        return self.within(reached_from_border(hu < AIR_HU, in_plane=True), depth_mm)


def near(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Voxels whose centre is at most `radius_mm` from that of a voxel of the mask (K, H, W).

    A ball is a stack of runs along the columns: the mask, widened once for each length of run, is shifted to where the
    ball has runs of that length, eight voxels in a byte. Distances are those of
    `scipy.ndimage.distance_transform_edt` in float32, rounded alike.
    """
    bits = np.zeros((*mask.shape[:2], (mask.shape[2] + 7) // 8), dtype=np.uint8)
    wide, reach = mask.copy(), 0
    for half, places in sorted(_runs(radius_mm, spacing_mm, mask.shape).items()):
        for step in range(reach + 1, half + 1):
            wide[:, :, step:] |= mask[:, :, :-step]
            wide[:, :, :-step] |= mask[:, :, step:]
        reach = half
        packed = np.packbits(wide, axis=2)
        for slices, rows in places:
            bits[_shifted(slices), _shifted(rows)] |= packed[_shifted(-slices), _shifted(-rows)]
    return np.unpackbits(bits, axis=2, count=mask.shape[2]).view(bool)


def _runs(
    radius_mm: float, spacing_mm: tuple[float, float, float], shape: tuple[int, ...]
) -> dict[int, list[tuple[int, int]]]:
    """Half the length of a run of voxels along the columns -> the (slice, row) steps at which the ball has it."""
    most = [min(int(np.ceil(radius_mm / mm)), length - 1) for mm, length in zip(spacing_mm, shape, strict=True)]
    slices, rows = (np.arange(-count, count + 1) for count in most[:2])
    columns = np.arange(most[2] + 1)
    squares = [(steps * mm) ** 2 for steps, mm in zip((slices, rows, columns), spacing_mm, strict=True)]
    distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2]).astype(np.float32)
    halves = np.count_nonzero(distance <= np.float32(radius_mm), axis=2) - 1
    runs: dict[int, list[tuple[int, int]]] = {}
    for at_slice, at_row in np.argwhere(halves >= 0):
        place = int(slices[at_slice]), int(rows[at_row])
        runs.setdefault(int(halves[at_slice, at_row]), []).append(place)
    return runs


def _shifted(steps: int) -> slice:
    """Where values go that move by `steps`; `_shifted(-steps)` is where they come from."""
    return slice(steps, None) if steps >= 0 else slice(None, steps)


def filled_box(mask: Mask, margin: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The smallest box that holds every voxel of a mask that is not empty, and a margin where there is room."""
    box = []
    for axis, more in enumerate(margin):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(0, int(used[0]) - more), int(used[-1]) + more + 1))
    return box[0], box[1], box[2]


def working_grid(volume: Volume, pixel_mm: float = 1.5, step_mm: float = 2.0) -> WorkingGrid:
    """A grid of about `pixel_mm` in the slices (never finer than the scan) and `step_mm` across them."""
    positions, places = _subdivided(volume.z_mm, step_mm)
    height, width = volume.voxels.shape[1:]
    frame = whole_frame((height, width), volume.spacing_mm, pixel_mm)
    row_mm, col_mm = (step * mm for step, mm in zip((frame.row_step, frame.col_step), volume.spacing_mm, strict=True))
    return WorkingGrid(frame, positions, places, (step_mm, row_mm, col_mm))


def _subdivided(z_mm: NDArray[np.float64], step_mm: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Every slice of the volume, and as many between two of them as bring the steps nearest to `step_mm`.

    Distances take all steps as `step_mm`, which is right to a third: no slice is blurred, where an even grid would mix
    a thick slice of brain under the vertex with the bone in the next.
    """
    steps = np.maximum(1, np.rint(np.abs(np.diff(z_mm)) / step_mm)).astype(np.int64)
    places = np.concatenate([[0], np.cumsum(steps)])
    return np.interp(np.arange(places[-1] + 1), places, np.arange(len(places))), places


def _between(slices: NDArray[np.float32], positions: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n, H, W) slices -> (len(positions), H, W), linear between neighbours, the ends repeated."""
    last = len(slices) - 1
    places = np.clip(positions, 0, last)
    below = np.minimum(places.astype(int), max(last - 1, 0))
    share = (places - below).astype(np.float32)[:, None, None]
    stack: NDArray[np.float32] = slices[below] * (1 - share) + slices[np.minimum(below + 1, last)] * share
    return stack


def clipped(slices: NDArray[np.float32], low: float, high: float) -> Iterator[NDArray[np.float32]]:
    """Slices (K, h, w) with their values cut, one at a time: a slice stays in the cache, a volume does not."""
    return (np.clip(picture, low, high) for picture in slices)


def fill_holes(mask: Mask) -> Mask:
    """(K, H, W) mask with its holes filled; what opens only through the first or last slice is a hole too."""
    return ~reached_from_border(~mask)


def reached_from_border(mask: Mask, *, in_plane: bool = False) -> Mask:
    """The part of a (K, H, W) mask that is connected with the in-plane border of the pictures.

    Args:
        mask: (K, H, W).
        in_plane: whether only ways within a slice count.
    """
    rimmed = np.pad(mask, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    parts = connected_parts(rimmed, in_plane=in_plane)
    corners = np.arange(len(mask)) * (parts.shape[1] * parts.shape[2])
    return parts.kept(parts.holding_places(corners))[:, 1:-1, 1:-1]


def without_islands(mask: Mask, smallest: float) -> Mask:
    """(K, H, W) mask without the parts of each slice that have fewer than `smallest` pixels."""
    parts = connected_parts(mask, in_plane=True)
    return parts.kept(parts.sizes >= max(smallest, 1))


def parts_touching(mask: Mask, seeds: Mask) -> Mask:
    """The connected parts of a mask (of 2 or 3 dimensions) that hold any voxel of `seeds`."""
    if mask.ndim == 2:  # a graph of runs takes longer to make than one slice takes
        numbers, count = ndimage.label(mask)
        wanted = np.zeros(count + 1, dtype=bool)
        wanted[numbers[seeds]] = True
        wanted[0] = False
        kept: Mask = wanted[numbers]
        return kept
    parts = connected_parts(mask)
    return parts.kept(parts.holding(seeds))
