"""All training slices in one tensor, and batches drawn from it without a loop, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg_reproduce.brain_model.drawn import SIZE
from ctseg_reproduce.brain_model.heads import HeadSlices

LOW_HU = -200.0
APART_MM = 1e4
"""Between one head and the next on the axis that all slices lie on."""
SINGLE_SHARE = 0.25
"""Slices that are shown without neighbours, as in a scan of one slice."""
BESIDE_MM = (4.0, 9.0)
THICK_SHARE = 0.3
THICK_MM = 4.0
"""Slices are averaged with what lies at most this far below and above, as in a thick slice."""
Groups = Mapping[str, Sequence[HeadSlices]]


@dataclass(frozen=True)
class Batch:
    """Slices with what is wanted of them."""

    hu: Tensor
    """(B, 3, H, W) a slice and its two neighbours."""
    brain: Tensor
    """(B, 1, H, W) share of brain."""
    counted: Tensor
    """(B, 1, H, W) 1 where the share is known, 0 where the loss is not to look."""


@dataclass(frozen=True)
class Pool:
    """Slices (N, SIZE, SIZE) of all heads, one head after another."""

    hu: Tensor
    """int16."""
    brain: Tensor
    """uint8, 0..255."""
    counted: Tensor
    """bool."""
    place: Tensor
    """(N,) float64, mm along one axis."""
    first: Tensor
    """(N,) the first slice of the same head."""
    last: Tensor
    """(N,)."""
    groups: Mapping[str, tuple[int, int]]
    """Name -> the first slice of a group of heads, and the first after it."""

    @classmethod
    def of(cls, groups: Groups, device: torch.device) -> Pool:
        """Lay all heads into the middle of pictures of one size."""
        hu, brain, counted, place, first, last = [], [], [], [], [], []
        spans, start, number = {}, 0, 0
        for name, heads in groups.items():
            begin = start
            for head in heads:
                count = len(head.hu)
                hu.append(_centred(head.hu, int(LOW_HU)))
                brain.append(_centred(head.brain, 0))
                known = np.ones(head.hu.shape, bool) if head.counted is None else head.counted
                counted.append(_centred(known, True))
                place.append(head.z_mm - head.z_mm[0] + number * APART_MM)
                first.append(np.full(count, start))
                last.append(np.full(count, start + count - 1))
                start, number = start + count, number + 1
            spans[name] = (begin, start)

        def stacked(part: list[Any]) -> Tensor:
            return torch.from_numpy(np.concatenate(part)).to(device)

        return cls(
            stacked(hu), stacked(brain), stacked(counted), stacked(place), stacked(first), stacked(last), groups=spans
        )

    def batch(self, counts: Mapping[str, int], rng: torch.Generator) -> Batch:
        """So many slices of every group, one to three mm-averaged planes each, with their neighbours."""
        device = self.hu.device
        numbers = torch.cat(
            [
                torch.randint(*self.groups[name], (count,), generator=rng, device=device)
                for name, count in counts.items()
            ]
        )
        spread = torch.rand((4, len(numbers)), generator=rng, device=device)
        beside = (BESIDE_MM[0] + spread[0] * (BESIDE_MM[1] - BESIDE_MM[0])) * (spread[1] >= SINGLE_SHARE)
        thick = spread[2] * THICK_MM * (spread[3] < THICK_SHARE)
        steps = torch.tensor([-1.0, 0.0, 1.0], device=device, dtype=torch.float64)
        offsets = beside[:, None, None] * steps[:, None] + thick[:, None, None] * steps
        low, high, part = self._between(numbers, offsets)
        hu = torch.lerp(self.hu[low].float(), self.hu[high].float(), part).mean(dim=2)
        low, high, part = (one[:, 1] for one in (low, high, part))
        brain = torch.lerp(self.brain[low].float(), self.brain[high].float(), part).mean(dim=1, keepdim=True) / 255
        counted = (self.counted[low] & self.counted[high]).all(dim=1, keepdim=True)
        return Batch(hu, brain, counted.float())

    def _between(self, numbers: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Slices below and above the places `offsets` (B, 3, 3) mm from slices, and the share of the upper one."""
        places = self.place[numbers][:, None, None] + offsets
        first, last = self.first[numbers][:, None, None], self.last[numbers][:, None, None]
        high = torch.minimum(torch.maximum(torch.searchsorted(self.place, places), first + 1), last)
        low = torch.maximum(high - 1, first)
        gap = (self.place[high] - self.place[low]).clamp(min=1e-3)
        part = ((places - self.place[low]) / gap).clamp(0, 1).float()
        return low, high, part[..., None, None]


def _centred(maps: NDArray[np.generic], value: float) -> NDArray[np.generic]:
    """(C, H, W) -> (C, SIZE, SIZE): cut or padded evenly."""
    for axis in (1, 2):
        more = SIZE - maps.shape[axis]
        if more < 0:
            start = -more // 2
            maps = maps[:, start : start + SIZE] if axis == 1 else maps[:, :, start : start + SIZE]
        elif more:
            widths = [(0, 0)] * 3
            widths[axis] = (more // 2, more - more // 2)
            maps = np.pad(maps, widths, constant_values=value)
    return maps
