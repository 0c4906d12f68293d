"""CycleGAN's generator (Zhu et al. 2017, appendix 7.2), one for each direction: a row of Table 2."""

from __future__ import annotations

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

STRIDE = 4


class ResidualBlock(nn.Module):
    """Two reflect-padded 3 x 3 convolutions with instance norm, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        summed: Tensor = maps + self.body(maps)
        return summed


def resnet_translator(width: int = 64, blocks: int = 9, channels: int = 1) -> nn.Sequential:
    """One direction, (B, 1, H, W) -> (B, 1, H, W), H and W multiples of 4; 11,365,633 parameters at 64 and 9."""
    return nn.Sequential(
        conv7_in_relu(channels, width),  # (B, width, H, W)
        conv_in_relu(width, 2 * width, stride=2),  # (B, 2 width, H/2, W/2)
        conv_in_relu(2 * width, 4 * width, stride=2),  # (B, 4 width, H/4, W/4)
        *(ResidualBlock(4 * width) for _ in range(blocks)),
        up_in_relu(4 * width, 2 * width),  # (B, 2 width, H/2, W/2)
        up_in_relu(2 * width, width),  # (B, width, H, W)
        conv7_tanh(width, channels),  # (B, 1, H, W)
    )


class ResnetGenerator(nn.Module):
    """Two independent ResNet translators; it has no shared features, so it cannot serve the feature-space loss.

    Args:
        width: channels after the first convolution.
        blocks: residual blocks; 9 for 256 x 256 and larger images (Zhu et al.), 6 for 128 x 128.
        channels: image channels.
    """

    def __init__(self, width: int = 64, blocks: int = 9, channels: int = 1) -> None:
        super().__init__()
        self.mr_to_ct = resnet_translator(width, blocks, channels)
        self.ct_to_mr = resnet_translator(width, blocks, channels)
        init_normal(self)

    def to_target(self, images: Tensor) -> Tensor:
        """MR -> pseudo-CT: (B, 1, H, W) in [-1, 1], any H and W from 8 up."""
        return crop_to(self.mr_to_ct(pad_to_multiple(images, STRIDE)), images)

    def to_source(self, images: Tensor) -> Tensor:
        """CT -> pseudo-MR: (B, 1, H, W) in [-1, 1], any H and W from 8 up."""
        return crop_to(self.ct_to_mr(pad_to_multiple(images, STRIDE)), images)
