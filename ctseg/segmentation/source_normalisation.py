"""Normalisation of the source's images where it differs from the target's, as in the released stage 2.

A segmenter has one normalisation, that of CT, since CT is what it is used on. In training, source images go through an
affine map first, after which the segmenter's own normalisation gives `(x - source_mean) / source_std`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ctseg.training.settings import AdaptationSettings

PLAIN = 0.5
"""Mean and deviation, in [0, 1], of a segmenter that takes images in [-1, 1] as they are."""


@dataclass(frozen=True)
class SourceNormalisation:
    """What source images go through before a segmenter; called, it maps (B, 1, H, W) to the same shape.

    Where all four are the same as the other domain's, images are given back as they are.
    """

    mean: float = PLAIN
    """Of source images in [0, 1]."""
    std: float = PLAIN
    target_mean: float = PLAIN
    """Of CT in [0, 1], which the segmenter takes from its images itself."""
    target_std: float = PLAIN

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [-1, 1] -> what the segmenter turns into source images normalised by `mean` and `std`."""
        if not self.facts:
            return images
        normalised = ((images + 1.0) / 2.0 - self.mean) / self.std
        return (normalised * self.target_std + self.target_mean) * 2.0 - 1.0

    @property
    def facts(self) -> dict[str, float]:
        """`source_mean` and `source_std` where they are not the target's; else nothing."""
        if (self.mean, self.std) == (self.target_mean, self.target_std):
            return {}
        return {"source_mean": self.mean, "source_std": self.std}


AS_THE_TARGET = SourceNormalisation()
"""Changes nothing."""


def source_normalisation(segmenter: nn.Module, settings: AdaptationSettings) -> SourceNormalisation:
    """From the settings and the segmenter's `input_mean` and `input_std`; one that has none takes [-1, 1] as it is."""
    mean, std = (float(getattr(segmenter, name, PLAIN)) for name in ("input_mean", "input_std"))
    return SourceNormalisation(
        mean if settings.source_mean is None else settings.source_mean,
        std if settings.source_std is None else settings.source_std,
        mean,
        std,
    )
