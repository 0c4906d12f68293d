"""A generator: one encoder and decoder for each domain and a shared convolution between them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Translates in both directions; `features` and `shared_parameters` serve the feature-space loss, if any."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.feature_channels = width
        self.encoders = nn.ModuleDict({domain: nn.Conv2d(1, width, 3, padding=1) for domain in ("mr", "ct")})
        self.shared = nn.Conv2d(width, width, 3, padding=1)
        self.decoders = nn.ModuleDict({domain: nn.Conv2d(width, 1, 3, padding=1) for domain in ("mr", "ct")})

    def features(self, images: Tensor, domain: str) -> Tensor:
        """(B, 1, H, W) of 'mr' or 'ct' -> (B, width, H, W)."""
        return torch.relu(self.shared(torch.relu(self.encoders[domain](images))))

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        """What the feature-space loss moves."""
        return self.shared.parameters()

    def to_target(self, images: Tensor) -> Tensor:
        """MR (B, 1, H, W) in [-1, 1] -> pseudo-CT of the same shape and range."""
        return torch.tanh(self.decoders["ct"](self.features(images, "mr")))

    def to_source(self, images: Tensor) -> Tensor:
        """CT -> pseudo-MR."""
        return torch.tanh(self.decoders["mr"](self.features(images, "ct")))
