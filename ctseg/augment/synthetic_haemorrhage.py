"""Repaint the labelled lesions of pseudo-CT as fresh haemorrhage, with the grey values of blood.

A synthesis network draws a glioma on CT as something a little brighter than its surroundings, with the holes and arms
of its oedema; a segmenter trained on that outlines everything a little bright. The attenuation of fresh blood is known
without any labelled CT. So the smooth core of a lesion is filled with blood, the core becomes the label, and the rest
of the lesion stays as the oedema of the haemorrhage. Not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.augment.morphology import erode, fill_holes, gaussian_blur, smooth_field
from ctseg.augment.slices import (
    DARKEST,
    Bools,
    Floats,
    brain_of,
    from_hu,
    hu_share,
    per_slice,
    rows_of,
)

KNOTS = 22
"""Knots of the patches over a slice: they are 4.5 % of its width apart, 11 mm at 240 mm."""


@dataclass(frozen=True)
class BloodAppearance:
    """What fresh blood looks like on CT; lengths are shares of the slice's width unless they are in pixels."""

    hu: tuple[float, float] = (50.0, 90.0)
    """Mean attenuation in HU: whole blood at a normal haematocrit 50 to 60, clot as it retracts up to 90 (New and
    Aronow, Radiology 1976; Parizel et al., Eur Radiol 2001). Grey matter has 37 to 41 HU: what is fainter than blood
    cannot be distinguished by its grey."""
    patches_hu: float = 4.0
    """Standard deviation of the patches within a clot, HU (Barras et al., Stroke 2009)."""
    smoothing: tuple[float, float] = (0.01, 0.025)
    """Width of the Gaussian that smooths the lesion's outline, 2.4 to 6 mm at 240 mm."""
    edge_px: float = 0.5
    """Width of the Gaussian that mixes blood and brain at the edge, pixels (partial volume)."""
    texture_px: float = 1.5
    """What is finer than a Gaussian of this width is the slice's texture, which stays under the blood, pixels."""
    oedema_hu: tuple[float, float] = (0.0, 0.0)
    """Change of the lesion around its core, HU; 0: it stays as the synthesis network drew it."""
    least_px: int = 4
    """Smallest core in pixels; a smaller one is not painted and the lesion stays as it is."""


@dataclass(frozen=True, eq=False)
class SyntheticHaemorrhage:
    """Which lesions are repainted, and what their blood looks like."""

    painted: Bools
    """(B,)"""
    hu: Floats
    """(B,) mean attenuation of the blood."""
    smoothing: Floats
    """(B,) width of the Gaussian over the outline, share of the slice's width."""
    oedema_hu: Floats
    """(B,) change of the lesion around the core."""
    patches: NDArray[np.float32]
    """(B, 1, 22, 22) knots of the patches within the clot."""
    appearance: BloodAppearance = BloodAppearance()

    @classmethod
    def draw(
        cls, rng: np.random.Generator, count: int, probability: float, appearance: BloodAppearance | None = None
    ) -> SyntheticHaemorrhage:
        """Draw for `count` slices: each lesion is repainted with `probability`."""
        appearance = appearance or BloodAppearance()
        return cls(
            rng.random(count) < probability,
            rng.uniform(*appearance.hu, count),
            rng.uniform(*appearance.smoothing, count),
            rng.uniform(*appearance.oedema_hu, count),
            rng.standard_normal((count, 1, KNOTS, KNOTS), dtype=np.float32),
            appearance,
        )

    def apply(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Repaint the lesions of (B, 1, H, W) pseudo-CT; the painted core becomes the mask.

        Slices without a lesion and the background stay as they are.
        """
        painted, cores = self.paint(images, masks)
        return painted, torch.where(cores.amax(dim=(2, 3), keepdim=True), cores.to(masks.dtype), masks)

    def paint(self, images: Tensor, lesions: Tensor, least_inside: float = 0.0) -> tuple[Tensor, Tensor]:
        """Fill the smooth core of each drawn lesion with blood.

        Args:
            images: (B, 1, H, W) CT in [-1, 1].
            lesions: (B, 1, H, W) 0/1.
            least_inside: share of a core that must lie in the brain; otherwise it is not painted.

        Returns:
            Images, and the painted cores, (B, 1, H, W) bool.
        """
        cores = torch.zeros_like(lesions, dtype=torch.bool)
        if not self.painted.any():
            return images, cores
        rows = rows_of(self.painted, images)
        chosen, filled = images[rows], fill_holes(lesions[rows] > 0)
        found = self._cores(filled, brain_of(chosen), least_inside)
        new = self._bleed(self._swell(chosen, filled & ~found, found), found)
        return images.index_copy(0, rows, new), cores.index_copy_(0, rows, found)

    def _cores(self, filled: Tensor, brain: Tensor, least_inside: float) -> Tensor:
        """Smooth the lesions' arms away; empty where what is left in the brain is too small."""
        width = torch.from_numpy(self.smoothing[self.painted]) * filled.shape[-1]
        whole = gaussian_blur(filled.float(), width.float()) >= 0.5
        core = whole & brain
        size, wanted = (part.sum(dim=(2, 3), keepdim=True) for part in (core, whole))
        return core & (size >= (least_inside * wanted).clamp(min=self.appearance.least_px))

    def _swell(self, images: Tensor, rest: Tensor, cores: Tensor) -> Tensor:
        """Change the grey of the lesion around its core."""
        if not self.oedema_hu.any():
            return images
        change = per_slice(hu_share(1.0) * self.oedema_hu[self.painted], images)
        share = gaussian_blur(rest.to(images.dtype), self.appearance.edge_px)
        where = (share > 0) & brain_of(images) & cores.amax(dim=(2, 3), keepdim=True)
        return torch.where(where, (images + share * change).clamp(DARKEST, 1.0), images)

    def _bleed(self, images: Tensor, cores: Tensor) -> Tensor:
        """Fill the cores with one grey, soft patches and the slice's own fine texture, mixed with brain at the edge.

        Without the texture, smooth would come to mean blood, and all of a real CT is smoother than what a synthesis
        network draws.
        """
        brain = brain_of(images)
        texture = images - gaussian_blur(images, self.appearance.texture_px)
        texture = torch.where(erode(brain, 2), texture, torch.zeros_like(texture))
        blood = per_slice(from_hu(self.hu[self.painted]), images) + self._patches(images) + texture
        share = gaussian_blur(cores.to(images.dtype), self.appearance.edge_px)
        mixed = (images + share * (blood - images)).clamp(DARKEST, 1.0)
        return torch.where((share > 0) & brain, mixed, images)

    def _patches(self, images: Tensor) -> Tensor:
        """Return soft patches (b, 1, H, W) of the appearance's deviation."""
        knots = torch.from_numpy(self.patches[self.painted]).to(images)
        field = smooth_field(knots, (images.shape[2], images.shape[3]))
        field = field - field.mean(dim=(2, 3), keepdim=True)
        deviation = field.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=1e-6)
        return field * (hu_share(self.appearance.patches_hu) / deviation)

    def describe(self) -> list[str]:
        """Say the attenuation of each slice's blood."""
        pairs = zip(self.painted, self.hu, strict=True)
        return [f"lesion repainted as blood of {hu:.0f} HU" if painted else "" for painted, hu in pairs]
