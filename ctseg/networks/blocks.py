"""What several networks share: padding to any size, convolution blocks, initialisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

NORMAL_STD = 0.02
"""Weights of the CycleGAN lineage are drawn from N(0, 0.02) (Zhu et al. 2017, section 4)."""
LEAK = 0.2
"""Slope of every leaky ReLU (paper 4.2.1)."""


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples: (B, C, H, W) -> (B, C, H', W').

    The border is repeated, not zero: 0 is mid-grey in [-1, 1], and the border of a slice is background. Crop the
    result of a network with `crop_to`.
    """
    height, width = images.shape[-2:]
    return _pad_end(images, -height % multiple, -width % multiple)


def pad_to_least(images: Tensor, least: int) -> Tensor:
    """Repeat the last row and column until both sides are at least `least`: (B, C, H, W) -> (B, C, H', W')."""
    height, width = images.shape[-2:]
    return _pad_end(images, max(least - height, 0), max(least - width, 0))


def _pad_end(images: Tensor, rows: int, columns: int) -> Tensor:
    if not rows and not columns:
        return images
    return functional.pad(images, (0, columns, 0, rows), mode="replicate")


def crop_to(maps: Tensor, like: Tensor) -> Tensor:
    """The top left part of `maps` (B, C, H', W') with the height and width of `like` (B, *, H, W)."""
    return maps[..., : like.shape[-2], : like.shape[-1]]


def conv_in_relu(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, instance norm without affine parameters, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1),
        nn.InstanceNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def up_in_relu(channels_in: int, channels_out: int) -> nn.Sequential:
    """3 x 3 transposed convolution that doubles height and width, instance norm, ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, padding=1, output_padding=1),
        nn.InstanceNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def conv7_in_relu(channels_in: int, channels_out: int) -> nn.Sequential:
    """Reflection pad 3, 7 x 7 convolution, instance norm, ReLU: the first layer of a generator."""
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(channels_in, channels_out, 7),
        nn.InstanceNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def conv7_tanh(channels_in: int, channels_out: int) -> nn.Sequential:
    """Reflection pad 3, 7 x 7 convolution, tanh: the last layer of a generator."""
    return nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(channels_in, channels_out, 7), nn.Tanh())


def init_normal(module: nn.Module, std: float = NORMAL_STD) -> None:
    """Draw every convolution from N(0, std), biases 0; batch norm scales from N(1, std), shifts 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, std)
            _zero_bias(part)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, std)
            _zero_bias(part)


def init_he(module: nn.Module) -> None:
    """Draw every convolution as torchvision draws VGG (He et al. 2015, fan out), biases 0.

    Thirteen VGG convolutions without normalisation, drawn from N(0, 0.02), would shrink the signal to nothing.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            _zero_bias(part)


def _zero_bias(part: nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d) -> None:
    if part.bias is not None:
        nn.init.zeros_(part.bias)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Build networks inside this block from `seed`; torch's global generators are left as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def count_parameters(module: nn.Module) -> int:
    """Trainable numbers in a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
