"""Hide random patches of a slice from the student (masked image consistency, Hoyer et al. 2023). Not in the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ctseg.augment.slices import Bools, brain_of, mean_within
from ctseg.networks.intensity import on_device


@dataclass(frozen=True, eq=False)
class PatchMasking:
    """Which patches of each slice are hidden."""

    hidden: Bools
    """(B, rows, columns) of patches."""
    patch: int
    """Side of a patch in pixels."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, count: int, size: tuple[int, int], mask_ratio: float, mask_patch: int
    ) -> PatchMasking:
        """Draw for `count` slices of `size` (H, W): each patch is hidden with probability `mask_ratio`."""
        grid = (-(-size[0] // mask_patch), -(-size[1] // mask_patch))
        return cls(rng.random((count, *grid)) < mask_ratio, mask_patch)

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the hidden patches of (B, 1, H, W) images with the slice's mean brain grey; masks stay.

        Grey, not background: a hole would look like the outside of the brain. The background stays as it is.
        """
        hidden = on_device(torch.from_numpy(self.hidden), images.device)[:, None].float()
        height, width = images.shape[2:]
        hidden = functional.interpolate(hidden, scale_factor=self.patch, mode="nearest")[..., :height, :width]
        brain = brain_of(images)
        return torch.where((hidden > 0) & brain, mean_within(images, brain), images), masks

    def describe(self) -> list[str]:
        """Say the share of each slice that is hidden."""
        return [f"{100 * share:.0f} % of patches masked" for share in self.hidden.mean(axis=(1, 2))]
