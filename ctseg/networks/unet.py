"""The U-Net of Table 5 (Ronneberger et al. 2015), padded and batch normalised so that the mask has the image's size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ctseg.networks.blocks import crop_to, pad_to_multiple
from ctseg.plugins.protocols import SegmenterOutput


def double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """Twice a 3 x 3 convolution, batch norm, ReLU: (B, C, h, w) -> (B, C', h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Contracting and expanding path with skips by concatenation; 31,036,481 parameters at width 64, depth 4.

    With a `stem` of 2 the network works at half the size: blocks of 2 x 2 pixels become channels at its start and
    pixels again at its end (Shi et al. 2016), so that no pixel is lost. It then is as fast as a U-Net of half the
    width, and has four times its parameters.

    Args:
        width: channels at full size, or at half the size with a stem of 2; doubled at each of the `depth` poolings.
        depth: poolings; height and width are padded to multiples of stem * 2 ** depth.
        in_channels: image channels.
        stem: 1, or 2 to work at half the size.
    """

    def __init__(self, width: int = 64, depth: int = 4, in_channels: int = 1, stem: int = 1) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.stem = stem
        self.stride = stem * 2**depth
        self.hidden_channels = width // stem**2
        self.downs = nn.ModuleList(map(double_conv, [in_channels * stem**2, *widths[:-1]], widths))
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.joins = nn.ModuleList(double_conv(2 * w, w) for w in reversed(widths[:-1]))
        self.classifier = nn.Conv2d(self.hidden_channels, 1, 1)

    def forward(self, images: Tensor) -> SegmenterOutput:
        """(B, 1, H, W) in [-1, 1], any H and W -> logits (B, 1, H, W), hidden (B, width / stem^2, H, W)."""
        maps = pixel_shuffle(self.features(images), self.stem)
        return SegmenterOutput(crop_to(self.classifier(maps), images), crop_to(maps, images))

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H' / stem, W' / stem), with H' and W' the next multiples of the stride."""
        padded = pad_to_multiple(images, self.stride)
        maps: Tensor = self.downs[0](pixel_unshuffle(padded, self.stem))  # (B, width, H / stem, W / stem)
        skips = []
        for down in list(self.downs)[1:]:
            skips.append(maps)
            maps = down(self.pool(maps))  # (B, 2^level width, H / 2^level, W / 2^level)
        for up, join in zip(self.ups, self.joins, strict=True):
            maps = join(torch.cat([skips.pop(), up(maps)], dim=1))  # (B, 2^level width, H / 2^level, W / 2^level)
        return maps


class KindsUNet(UNet):
    """The U-Net with several classes, of which each pixel has one.

    With a stem, classes are separated at half the size, so that each has all channels of `width` to look at.

    Args:
        classes: how many, background included.
        width: see `UNet`.
        depth: see `UNet`.
        in_channels: see `UNet`.
        stem: see `UNet`.
    """

    def __init__(self, classes: int, width: int, depth: int, in_channels: int = 1, stem: int = 1) -> None:
        super().__init__(width, depth, in_channels, stem)
        self.classifier = nn.Conv2d(width, classes * stem**2, 1)

    def forward(self, images: Tensor) -> SegmenterOutput:
        """(B, C, H, W) in [-1, 1] -> logits (B, classes, H, W), hidden (B, width / stem^2, H, W)."""
        maps = self.features(images)
        logits = crop_to(pixel_shuffle(self.classifier(maps), self.stem), images)
        return SegmenterOutput(logits, crop_to(pixel_shuffle(maps, self.stem), images))
