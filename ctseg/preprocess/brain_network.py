"""Brain extraction on head CT by a small U-Net, trained on phantoms and the CT template; runs on NumPy.

How it was made, from what, and what it reaches is in docs/brain-network.md and in the card beside its weights.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.preprocess.brain import BONE_MM2, bone_from, enclosed, in_a_skull
from ctseg.preprocess.brain_slices import PIXEL_MM, BrainSlices, brain_slices
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.grid import IN_PLANE, fill_holes, filled_box, reached_from_border, without_islands
from ctseg.preprocess.settings import BrainNetworkSettings
from ctseg.preprocess.small_unet import DEPTH, SmallUNet, read_weights
from ctseg.preprocess.stripped import stripped_brain

Maps = NDArray[np.float32]
WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the weights that are part of the package, and of their cards."""
AIR_HU = -150.0
"""Between air and fat, both averaged over a pixel of 2 mm and clipped from below."""
BONE_HU = 150.0
"""Bone, averaged over a pixel of 2 mm; blood stays below 100 HU."""
FAT_HU = -25.0
"""Fat, averaged over a pixel of 2 mm."""
FAT_MM2 = 24.0
"""A larger piece of fat in a slice belongs to an orbit or the scalp."""
HEAD_MARGIN = 4
"""Pixels of 2 mm around the head that the network sees."""
LOBE = 0.02
"""Share of the largest part's size that a separate lobe has."""
ISLAND_MM2 = 50.0
"""Smaller islands in a slice are left out."""
PIECE_MM2 = 1200.0
"""No piece of an orbit or of the skull base is larger in a slice."""
REACH = 2
"""Pixels between what is kept or left out as a piece and the brain's edge beside fat."""
FAT_RIM = 0.25
"""A piece whose rim has this share beside fat is of an orbit; a temporal lobe in thick slices has up to 0.16."""
BONE_PIECE_HU, BONE_PIECE_MM2 = 100.0, 300.0
"""A piece with this mean and at most this size is thin bone of the skull base; a piece of blood stays below."""
RIM = 0.95
"""Below this share of brain lies its edge, where a voxel's own HU count."""
CHUNK = 16
"""Slices that are brought to the scan's own pixels at once."""
EDGE_HU = (-40.0, 120.0)
"""A voxel of the edge that is darker (fat, air) or brighter (bone) is not brain."""


class BrainNetworkExtractor:
    """CT volume in HU -> brain mask: everything inside the dura above the foramen magnum, blood of any kind included.

    Args:
        weights: a file of weights other than the package's; never named by a model or a setting.
        settings: see `BrainNetworkSettings`.

    Raises:
        InputError: when called, if the weights cannot be read.
    """

    def __init__(self, weights: Path | None = None, **settings: Any) -> None:
        self.settings = BrainNetworkSettings(**settings)
        self.weights = weights or WEIGHTS / f"brain-{self.settings.version}.safetensors"

    def __call__(self, volume: Volume) -> Mask:
        """(K, h, w) bool on the volume's own grid; all False where there is no brain."""
        stripped = stripped_brain(volume)
        if stripped is not None:
            return stripped
        slices = brain_slices(volume)
        share = brain_share(_network(self.weights), slices)
        brain = _cleaned(share, slices)
        if not brain.any():
            return np.zeros(volume.voxels.shape, dtype=bool)
        return _native(volume, slices, _certain(share, brain))


@lru_cache(maxsize=2)
def _network(path: Path) -> SmallUNet:
    return read_weights(path)


def brain_share(network: SmallUNet, slices: BrainSlices) -> Maps:
    """(G, H, W) share of brain in each pixel of 2 mm, before anything is cleaned."""
    share = np.zeros_like(slices.hu)
    low = float(slices.hu.min())
    head = np.any(slices.hu > max(AIR_HU, low + 1), axis=0, keepdims=True)[0]
    if not head.any():
        return share
    rows, columns = _box(head, HEAD_MARGIN)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    padding = ((0, 0), (0, -height % DEPTH), (0, -width % DEPTH))
    cut = BrainSlices(np.pad(slices.hu[:, rows, columns], padding, constant_values=low), slices.z_mm, slices.frame)
    with threadpool_limits(1, user_api="blas"):  # products so small are slower on two threads, and far slower if busy
        for number in range(len(share)):
            logits = network(cut.images(number))[:height, :width]
            share[number, rows, columns] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return share


def _box(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The rows and columns of a picture (H, W) that hold a mask, with a margin where there is room."""
    _, rows, columns = filled_box(mask[None], (0, margin, margin))
    height, width = mask.shape
    return slice(rows.start, min(rows.stop, height)), slice(columns.start, min(columns.stop, width))


def _cleaned(share: Maps, slices: BrainSlices) -> Mask:
    """The brain on pixels of 2 mm: no air around the head, no large bone, no islands; holes filled."""
    low, high = max(AIR_HU, float(slices.hu.min()) + 1), bone_from(slices.hu, BONE_HU)
    brain = (share >= 0.5) & ~reached_from_border(slices.hu < low, in_plane=True)
    brain &= ~without_islands(brain & (slices.hu < FAT_HU) & (slices.hu > low), FAT_MM2 / PIXEL_MM**2)
    brain = fill_holes(_large_parts(_without_pieces(ndimage.binary_opening(brain, IN_PLANE), slices.hu, low)))
    bone = slices.hu > high
    brain &= ~without_islands(brain & bone, BONE_MM2 / PIXEL_MM**2)
    brain = _large_parts(without_islands(brain, ISLAND_MM2 / PIXEL_MM**2))
    return brain if in_a_skull(brain, enclosed(bone), PIXEL_MM**2) else np.zeros_like(brain)


def _without_pieces(brain: Mask, hu: Maps, air_hu: float) -> Mask:
    """Without small pieces of a slice that lie in fat, as in an orbit, or are thin bone."""
    if not brain.any():
        return brain
    box = (slice(None), *_box(np.any(brain, axis=0, keepdims=True)[0], 2 * REACH))
    found = brain.copy()
    cut, hu = found[box], hu[box]
    near_fat = ndimage.binary_dilation((hu < FAT_HU) & (hu > air_hu), IN_PLANE)
    parts, count = ndimage.label(ndimage.binary_opening(cut & ~near_fat, IN_PLANE), IN_PLANE)
    rims = np.where(parts == 0, ndimage.maximum_filter(parts, size=(1, 3, 3)), 0)
    sizes, rim = (np.bincount(which.ravel(), minlength=count + 1) for which in (parts, rims))
    beside = np.bincount(rims.ravel(), near_fat.ravel(), minlength=count + 1)
    total = np.bincount(parts.ravel(), hu.ravel(), minlength=count + 1)
    other = (beside >= FAT_RIM * np.maximum(rim, 1)) & (sizes < PIECE_MM2 / PIXEL_MM**2)
    other |= (total > BONE_PIECE_HU * sizes) & (sizes < BONE_PIECE_MM2 / PIXEL_MM**2)
    other[0] = False
    dropped = other[parts]
    for k in np.flatnonzero(dropped.any(axis=(1, 2))):
        kept = ndimage.binary_dilation((parts[k] > 0) & ~dropped[k], iterations=REACH)
        cut[k] &= kept & ~ndimage.binary_dilation(dropped[k], iterations=REACH)
    return found


def _large_parts(brain: Mask) -> Mask:
    """The largest connected part and those that can be a lobe."""
    parts, count = ndimage.label(brain)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept: Mask = ((sizes >= LOBE * sizes.max()) & (sizes > 0))[parts]
    return kept


def _certain(share: Maps, brain: Mask) -> Maps:
    """Shares that pass 0.5 where the cleaned mask ends: 0 away from it, 1 in what was filled."""
    plane = np.zeros((3, 3, 3), dtype=bool)
    plane[1] = True
    near = ndimage.binary_dilation(brain, plane) & ~brain & (share < 0.5)
    return np.where(brain, np.where(share < 0.5, np.float32(1), share), np.where(near, share, np.float32(0)))


def _native(volume: Volume, slices: BrainSlices, share: Maps) -> Mask:
    """The mask on the scan's own pixels; at its edge, a voxel's own HU decide."""
    brain = np.zeros(volume.voxels.shape, dtype=bool)
    places = np.interp(volume.z_mm, slices.z_mm, np.arange(len(slices.z_mm)))
    below = np.minimum(places.astype(np.int64), len(share) - 1)
    above = np.minimum(below + 1, len(share) - 1)
    part = (places - below).astype(np.float32)[:, None, None]
    rows, columns = _box(np.any(share > 0, axis=0, keepdims=True)[0], 1)
    frame, native = _part_of(slices.frame, rows, columns)
    share = share[:, rows, columns]
    low, high = EDGE_HU
    smallest = ISLAND_MM2 / (volume.spacing_mm[0] * volume.spacing_mm[1])
    for start in range(0, len(brain), CHUNK):
        some = slice(start, start + CHUNK)
        fine = frame.to_native(share[below[some]] * (1 - part[some]) + share[above[some]] * part[some])
        voxels = volume.voxels[some][:, native[0], native[1]]
        found = (fine >= 0.5) & ((fine > RIM) | ((voxels > low) & (voxels < high)))
        brain[some, native[0], native[1]] = without_islands(found, smallest)
    return brain


def _part_of(frame: Frame, rows: slice, columns: slice) -> tuple[Frame, tuple[slice, slice]]:
    """The frame of some of its rows and columns, and the native rows and columns that it covers."""
    starts, spans = [], []
    for part, start, step, length in (
        (rows, frame.row_start, frame.row_step, frame.native[0]),
        (columns, frame.col_start, frame.col_step, frame.native[1]),
    ):
        first = max(0, int(start + (part.start - 1) * step))
        spans.append(slice(first, min(length, int(start + part.stop * step) + 2)))
        starts.append(start + part.start * step - first)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    native = (spans[0].stop - spans[0].start, spans[1].stop - spans[1].start)
    return Frame(size, native, starts[0], frame.row_step, starts[1], frame.col_step), (spans[0], spans[1])
