"""Connected parts of a mask, found from its runs of voxels: as `scipy.ndimage.label` finds them, several times faster.

A head's mask has a few runs a row but hundreds of voxels. Runs that overlap in neighbouring rows are the edges of a
graph, whose connected components are the parts (He, Chao, Suzuki, IEEE Trans Image Process 2008;17:749).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ctseg.io.stack import Mask

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """The runs of a mask along its columns, and the connected part that each belongs to.

    Places count the voxels of a mask with one empty column behind the last, so that no run goes on in the next row.
    """

    flat: Mask
    """(N,) the mask with that column, flat."""
    shape: tuple[int, int, int]
    """(K, H, W + 1)."""
    starts: Places
    """(R,) first voxel of each run."""
    stops: Places
    """(R,) the place behind its last voxel."""
    numbers: NDArray[np.int32]
    """(R,) number of its part, from 0."""
    count: int
    """Of parts."""

    @property
    def sizes(self) -> Places:
        """(count,) voxels of each part."""
        found = np.bincount(self.numbers, self.stops - self.starts, minlength=self.count)
        return found.astype(np.int64)

    def holding(self, seeds: Mask) -> Mask:
        """(count,) whether a part holds any voxel of `seeds` (K, H, W)."""
        found = np.zeros(self.count, dtype=bool)
        if len(self.starts):
            ends = np.stack([self.starts, self.stops], axis=1).ravel()
            found[self.numbers[np.logical_or.reduceat(_with_column(seeds).ravel(), ends)[::2]]] = True
        return found

    def holding_places(self, places: Places) -> Mask:
        """(count,) whether a part holds the voxel at any of some places, all of which belong to the mask."""
        found = np.zeros(self.count, dtype=bool)
        found[self.numbers[np.searchsorted(self.starts, places, side="right") - 1]] = True
        return found

    def kept(self, wanted: Mask) -> Mask:
        """(K, H, W) the mask without the parts that are not `wanted` (count,)."""
        runs = wanted[self.numbers]
        lengths = self.stops - self.starts
        few_wanted = 2 * int(lengths[runs].sum()) < int(lengths.sum())
        painted = np.zeros_like(self.flat) if few_wanted else self.flat.copy()
        changed = runs if few_wanted else ~runs
        painted[_voxels(self.starts[changed], lengths[changed])] = few_wanted
        return painted.reshape(self.shape)[:, :, :-1]


def connected_parts(mask: Mask, *, in_plane: bool = False) -> Parts:
    """Find the connected parts of a mask (K, H, W): voxels that share a face.

    Args:
        mask: (K, H, W).
        in_plane: whether each slice is looked at alone, so that a part never spans two.
    """
    wide = _with_column(mask)
    flat = wide.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    changes = np.concatenate([[0], changes]) if flat.size and flat[0] else changes
    starts, stops = changes[::2], changes[1::2]
    _slices, height, width = wide.shape
    rows = starts // width
    pairs = [_overlaps(starts, stops, np.flatnonzero(rows % height < height - 1), width)]
    if not in_plane:
        pairs.append(_overlaps(starts, stops, np.arange(len(starts)), height * width))
    one, other = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(starts), len(starts)))
    count, numbers = connected_components(graph, directed=False) if len(starts) else (0, np.zeros(0, np.int32))
    return Parts(flat, wide.shape, starts, stops, numbers, int(count))


def _with_column(mask: Mask) -> Mask:
    """A mask (K, H, W) with an empty column behind the last: (K, H, W + 1)."""
    slices, height, width = mask.shape
    wide = np.zeros((slices, height, width + 1), dtype=bool)
    wide[:, :, :-1] = mask
    return wide


def _overlaps(starts: Places, stops: Places, chosen: Places, step: int) -> tuple[Places, Places]:
    """Numbers of the chosen runs, and of the runs `step` places further on that overlap them, pair by pair."""
    first = np.searchsorted(stops, starts[chosen] + step, side="right")
    last = np.searchsorted(starts, stops[chosen] + step, side="left")
    counts = last - first
    return np.repeat(chosen, counts), _voxels(first, counts)


def _voxels(starts: Places, lengths: Places) -> Places:
    """The places of some runs, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - ends + lengths, lengths)
