"""The paper's bidirectional generator: an encoder and a decoder per domain around one shared fusion block (4.2.1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ctseg.networks.blocks import (
    conv7_in_relu,
    conv7_tanh,
    conv_in_relu,
    crop_to,
    init_normal,
    pad_to_multiple,
    up_in_relu,
)
from ctseg.plugins.protocols import Domain

STRIDE = 4


def encoder(width: int = 64, channels: int = 1) -> nn.Sequential:
    """(B, 1, H, W) -> (B, 4 width, H/4, W/4); 372,224 parameters at width 64."""
    return nn.Sequential(
        conv7_in_relu(channels, width),  # (B, width, H, W)
        conv_in_relu(width, 2 * width, stride=2),  # (B, 2 width, H/2, W/2)
        conv_in_relu(2 * width, 4 * width, stride=2),  # (B, 4 width, H/4, W/4)
    )


def decoder(width: int = 64, channels: int = 1, skip: bool = False) -> nn.Sequential:
    """(B, 4 width, H/4, W/4), or 8 width with `skip`, -> (B, 1, H, W) in [-1, 1]; 371,969 parameters without skip."""
    return nn.Sequential(
        up_in_relu((8 if skip else 4) * width, 2 * width),  # (B, 2 width, H/2, W/2)
        up_in_relu(2 * width, width),  # (B, width, H, W)
        conv7_tanh(width, channels),  # (B, 1, H, W)
    )


class Fusion(nn.Module):
    """One dense block (Huang et al. 2017), then a convolution back to its input's channels; 879,580 parameters."""

    def __init__(self, channels: int = 256, growth: int = 12, layers: int = 5) -> None:
        super().__init__()
        self.dense = nn.ModuleList(conv_in_relu(channels + layer * growth, growth) for layer in range(layers))
        self.join = conv_in_relu(channels + layers * growth, channels)

    def forward(self, encoded: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        maps = encoded
        for layer in self.dense:
            maps = torch.cat([maps, layer(maps)], dim=1)  # (B, C + i growth, h, w)
        joined: Tensor = self.join(maps)
        return joined


class AmdGenerator(nn.Module):
    """MR <-> CT with a shared feature space (paper 3.1.3 and 4.2.1).

    `to_target` is the paper's G_MRI (MR -> pseudo-CT: MR encoder, fusion, CT decoder), `to_source` its G_CT. The
    features F of equations (6) and (7) are the fusion block's output.

    Args:
        width: channels after the first convolution; features have 4 x width.
        growth: channels that each dense layer adds.
        layers: dense layers.
        skip: give the decoder the encoder's output beside the fusion's, as the paper says; the released code gives the
            fusion's alone.
        channels: image channels.
    """

    def __init__(
        self, width: int = 64, growth: int = 12, layers: int = 5, skip: bool = True, channels: int = 1
    ) -> None:
        super().__init__()
        self.skip = skip
        self.feature_channels = 4 * width
        self.encoders = nn.ModuleDict({"mr": encoder(width, channels), "ct": encoder(width, channels)})
        self.fusion = Fusion(4 * width, growth, layers)
        self.decoders = nn.ModuleDict({"mr": decoder(width, channels, skip), "ct": decoder(width, channels, skip)})
        init_normal(self)

    def to_target(self, images: Tensor) -> Tensor:
        """MR -> pseudo-CT: (B, 1, H, W) in [-1, 1], any H and W from 8 up."""
        return self.translate(images, "mr")[0]

    def to_source(self, images: Tensor) -> Tensor:
        """CT -> pseudo-MR: (B, 1, H, W) in [-1, 1], any H and W from 8 up."""
        return self.translate(images, "ct")[0]

    def features(self, images: Tensor, domain: Domain) -> Tensor:
        """F = fusion(encoder(x)): (B, 1, H, W) of `domain` -> (B, 4 width, H/4, W/4), sides rounded up."""
        return self._encode(images, domain)[1]

    def translate(self, images: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Both the images of `domain` in the other domain (B, 1, H, W) and F (B, 4 width, H/4, W/4), in one pass."""
        encoded, features = self._encode(images, domain)
        maps = torch.cat([encoded, features], dim=1) if self.skip else features  # (B, 8 or 4 width, H/4, W/4)
        other = "ct" if domain == "mr" else "mr"
        return crop_to(self.decoders[other](maps), images), features

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The fusion block's: what the feature loss (6) moves."""
        return self.fusion.parameters()

    def encode(self, images: Tensor, domain: Domain) -> Tensor:
        """What the fusion block gets: (B, 1, H, W) of `domain` -> (B, 4 width, H/4, W/4), sides rounded up."""
        encoded: Tensor = self.encoders[domain](pad_to_multiple(images, STRIDE))
        return encoded

    def fuse(self, encoded: Tensor) -> Tensor:
        """F of what `encode` gave, of the same shape."""
        fused: Tensor = self.fusion(encoded)
        return fused

    def _encode(self, images: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        encoded = self.encode(images, domain)
        return encoded, self.fuse(encoded)
