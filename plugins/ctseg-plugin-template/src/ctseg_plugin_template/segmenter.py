"""A segmenter: two convolutions, whose result the domain discriminator sees, and a classifier."""

from __future__ import annotations

from torch import Tensor, nn

from ctseg.plugins.protocols import SegmenterOutput


class Segmenter(nn.Module):
    """(B, 1, H, W) in [-1, 1] -> logits (B, 1, H, W), hidden (B, width, H, W)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.hidden_channels = width
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.classifier = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> SegmenterOutput:
        """Any height and width."""
        hidden = self.body(images)
        return SegmenterOutput(self.classifier(hidden), hidden)
