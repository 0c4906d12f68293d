"""Copy lesions of the source into unlabelled CT as fresh blood, so that the student sees known labels on real texture.

What a segmenter learns on pseudo-CT it learns in the look of the synthesis network. Cross-domain mixing (DACS,
Tranheden et al. 2021) pastes source lesions over target slices: there the label is the source's, everywhere else it is
the teacher's. Here the source gives the shape only, the grey is that of fresh blood (`synthetic_haemorrhage.py`). Not
in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctseg.augment.synthetic_haemorrhage import BloodAppearance, SyntheticHaemorrhage

INSIDE = 0.5
"""Share of a lesion that must fall into the brain of the slice it is pasted into; a smaller rest is no haematoma."""


@dataclass(frozen=True, eq=False)
class CopyPaste:
    """Into which target slices a lesion is pasted, and what its blood looks like."""

    haemorrhage: SyntheticHaemorrhage

    @classmethod
    def draw(
        cls, rng: np.random.Generator, count: int, probability: float, appearance: BloodAppearance | None = None
    ) -> CopyPaste:
        """Draw for `count` target slices: a lesion is pasted into each with `probability`."""
        return cls(SyntheticHaemorrhage.draw(rng, count, probability, appearance))

    def apply(self, images: Tensor, masks: Tensor, lesions: Tensor) -> tuple[Tensor, Tensor]:
        """Paste lesions into target slices.

        Args:
            images: (B, 1, H, W) CT in [-1, 1].
            masks: (B, 1, H, W) 0/1, what the teacher says of it.
            lesions: (b, 1, H, W) 0/1 masks of source slices; where b < B they are used again.

        Returns:
            Images, and masks with the pasted lesions added.
        """
        places = torch.arange(len(images), device=lesions.device) % len(lesions)
        images, cores = self.haemorrhage.paint(images, lesions[places], INSIDE)
        return images, torch.maximum(masks, cores.to(masks.dtype))

    def describe(self) -> list[str]:
        """Say the attenuation of each pasted lesion."""
        drawn = zip(self.haemorrhage.painted, self.haemorrhage.hu, strict=True)
        return [f"lesion pasted as blood of {hu:.0f} HU" if pasted else "" for pasted, hu in drawn]
