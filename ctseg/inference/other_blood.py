"""Blood outside the brain's tissue: in ventricles, in cisterns and sulci, under and over the dura.

A second network says which of it there is. It never changes what the models segment as intraparenchymal haemorrhage:
where both say blood, the other models' mask wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.inference.kind_slices import CLASSES, KINDS, NEIGHBOURS, beside
from ctseg.inference.models import LoadedModel, ModelGroup
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.settings import SegmentSettings
from ctseg.io.stack import Grid, Mask
from ctseg.metrics.lesions import component_ml, components
from ctseg.networks.intensity import checked_numbers, to_images
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.grid import filled_box

Kinds = NDArray[np.uint8]
SURE = 0.5
"""Of a piece, what has this probability at least counts for its size."""
BONE_HU, BONE_SHARE = 100.0, 0.02
"""Blood is not brighter than this, bone and calcium are: a piece with a larger share of such voxels is dropped."""
KIND_MM = 10.5
"""Width of the neighbourhood that the kind of a pixel is asked of."""


@dataclass(frozen=True)
class OtherBlood:
    """What the second network says of one scan."""

    kinds: Kinds
    """(K, h, w) on the scan's own grid: 0 none, else a key of `KINDS`; 0 wherever the mask of IPH is."""
    ml: dict[str, float]
    """Volume of each kind by slice positions."""

    @property
    def total_ml(self) -> float:
        """Of all kinds."""
        return sum(self.ml.values())


def find_other_blood(
    ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings, iph: Mask
) -> OtherBlood | None:
    """The blood outside the brain's tissue on a prepared scan; None where no group has the network for it.

    Args:
        ready: the scan, prepared for each group.
        groups: one of them has the network.
        settings: threshold and smallest piece.
        iph: (K, h, w) what the other models segmented.
    """
    for group, prepared in zip(groups, ready.prepared, strict=True):
        if group.other_blood is not None:
            shares = kind_shares(prepared.images, ready.volume.z_mm, group.other_blood, settings)
            share, kinds = on_own_grid(shares, group.preprocessing.pixel_mm, ready, prepared.frame)
            grid = Grid.of(ready.volume)
            blood = (share >= settings.other_threshold) & ~iph
            bone = ready.volume.voxels > BONE_HU
            kept = sure_pieces(blood, share, bone, grid, settings.min_other_ml)
            return measured(np.where(kept, kinds, 0).astype(np.uint8), grid)
    return None


def on_own_grid(
    shares: NDArray[np.float32], pixel_mm: float, ready: ReadyCase, frame: Frame
) -> tuple[NDArray[np.float32], Kinds]:
    """(K, len(KINDS), H, W) probabilities -> (K, h, w) on the scan's grid: that of any kind, and the likeliest kind.

    Which kind it is, is asked of a neighbourhood: next to each other, single pixels differ without a reason.
    """
    size = max(1, round(KIND_MM / pixel_mm))
    likeliest = 1 + ndimage.uniform_filter(shares, (1, 1, size, size)).argmax(axis=1)
    share = np.zeros(ready.volume.voxels.shape, dtype=np.float32)
    kinds = np.zeros(share.shape, dtype=np.uint8)
    if ready.brain.any():
        box = filled_box(ready.brain, (0, 0, 0))
        share[box] = frame.to_native(shares[box[0]].sum(axis=1), part=box[1:]) * ready.brain[box]
        kinds[box] = np.rint(frame.to_native(likeliest[box[0]], order=0, part=box[1:]))
    return share, kinds


def sure_pieces(blood: Mask, share: NDArray[np.float32], bone: Mask, grid: Grid, min_ml: float) -> Mask:
    """The pieces (26 neighbours) of a mask that are large enough, likely enough, and neither bone nor calcium.

    Args:
        blood: (K, h, w) the mask.
        share: (K, h, w) the probability.
        bone: (K, h, w) what is too bright for blood.
        grid: of all three.
        min_ml: least of a piece that is likely.
    """
    numbers, count = components(blood)
    ml, sure, bright = (
        component_ml(part, count, grid) for part in (numbers, numbers * (share >= SURE), numbers * bone)
    )
    keep = (sure >= min_ml) & (bright <= BONE_SHARE * ml)
    kept: Mask = np.concatenate([[False], keep])[numbers]
    return kept


def measured(kinds: Kinds, grid: Grid) -> OtherBlood:
    """The kinds (K, h, w) with the volume of each."""
    return OtherBlood(kinds, {name: grid.volume_ml(kinds == value) for value, name in KINDS.items()})


def kind_shares(
    images: NDArray[np.uint8], z_mm: NDArray[np.float64], model: LoadedModel, settings: SegmentSettings
) -> NDArray[np.float32]:
    """(K, H, W) slices from feet to head -> (K, len(KINDS), H, W) probabilities; 0 on slices without brain."""
    result = np.zeros((len(images), len(KINDS), *images.shape[1:]), dtype=np.float32)
    near = beside(z_mm)
    filled = np.flatnonzero(images.any(axis=(1, 2)))
    mixed = settings.precision == "bf16-mixed"
    for start in range(0, len(filled), settings.batch_size):
        rows = filled[start : start + settings.batch_size]
        scaled = to_images(images[near[rows]].reshape(-1, *images.shape[1:]), model.device)
        scaled = scaled.reshape(len(rows), NEIGHBOURS, *images.shape[1:])
        with torch.inference_mode(), torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = model.module(scaled).logits.float()
        shares = torch.softmax(logits, dim=1)[:, CLASSES - len(KINDS) :].cpu().numpy()
        result[rows] = checked_numbers(shares, model.label)
    return result
