"""The segmenter of both stages: a fully convolutional network on VGG-16 with skips by addition (paper 4.2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctseg.networks.blocks import crop_to, init_he, init_normal, pad_to_least, pad_to_multiple
from ctseg.plugins.protocols import SegmenterOutput

STRIDE = 16
"""Sides are padded to multiples of this. The fifth pooling rounds down, as at the released code's 240 x 240 (15 to 7);
the first step up can give both sizes back."""
LEAST = 32
"""A smaller side would vanish in the fifth pooling."""
VGG16_CONVS = (2, 2, 3, 3, 3)
VGG16_WIDTHS = (1, 2, 4, 8, 8)
VGG16_KEYS = tuple(f"features.{place}" for place in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
"""The convolutions of VGG-16 without batch norm in the published state dict (torchvision `vgg16`)."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def vgg_stage(channels_in: int, channels_out: int, convs: int) -> nn.Sequential:
    """`convs` 3 x 3 convolutions with ReLU, then 2 x 2 max pooling: (B, C, h, w) -> (B, C', h/2, w/2)."""
    layers: list[nn.Module] = []
    for place in range(convs):
        layers += [
            nn.Conv2d(channels_in if place == 0 else channels_out, channels_out, 3, padding=1),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(2))


class FcnVgg16(nn.Module):
    """VGG-16 down, five transposed convolutions up; 20,477,569 parameters at width 64.

    Each step up is a transposed convolution, a ReLU and a batch norm; then the map of the pooling at that size is
    added, as in the released code. The first transposed convolution has a 4 x 4 kernel, the others 3 x 3: the layout
    that gives the released count.

    Args:
        width: channels of the first VGG stage, even; the others are 2, 4, 8 and 8 times as wide, the steps up 8, 4, 2,
            1 and 1/2 times.
        in_channels: image channels.
        input_mean: mean that is taken from the images, which are brought to [0, 1] first. The released stage 2 takes
            0.074 for CT; 0.5 and a deviation of 0.5 leave images in [-1, 1] as they are.
        input_std: deviation that the images are divided by; the released stage 2 takes 0.148 for CT.
        initialisation: 'vgg' draws the VGG stages as torchvision does and the steps up with PyTorch's defaults (the
            released stage 2); 'normal' draws every convolution from N(0, 0.02) and batch norm scales from N(1, 0.02)
            (the released S_ori and S_rec of stage 1).
    """

    def __init__(
        self,
        width: int = 64,
        in_channels: int = 1,
        input_mean: float = 0.5,
        input_std: float = 0.5,
        initialisation: str = "vgg",
    ) -> None:
        super().__init__()
        down = [factor * width for factor in VGG16_WIDTHS]
        up = [8 * width, 4 * width, 2 * width, width, width // 2]
        self.hidden_channels = up[-1]
        self.input_mean, self.input_std = input_mean, input_std
        self.stages = nn.ModuleList(map(vgg_stage, [in_channels, *down[:-1]], down, VGG16_CONVS))
        self.ups = nn.ModuleList(
            [nn.ConvTranspose2d(down[-1], up[0], 4, stride=2, padding=1)]
            + [nn.ConvTranspose2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(up)]
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in up)
        self.classifier = nn.Conv2d(up[-1], 1, 1)
        if initialisation == "normal":
            init_normal(self)
        else:
            init_he(self.stages)

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Start from the published VGG-16 (`das-train --pretrained`); see `load_vgg16`."""
        load_vgg16(self, state)

    def normalised(self, images: Tensor) -> Tensor:
        """Images (B, 1, H, W) in [-1, 1] -> the same minus mean over deviation, both of the range [0, 1]."""
        return normalised(images, self.input_mean, self.input_std)

    def forward(self, images: Tensor) -> SegmenterOutput:
        """(B, 1, H, W) in [-1, 1], any H and W -> logits (B, 1, H, W), hidden (B, width / 2, H, W)."""
        maps = self.normalised(padded(images))  # (B, 1, H', W')
        sizes, pools = [maps.shape[-2:]], []
        for stage in self.stages:
            maps = stage(maps)  # (B, width .. 8 width, H/2 .. H/32, W/2 .. W/32)
            sizes.append(maps.shape[-2:])
            pools.append(maps)
        skips = [*reversed(pools[:-1]), None]
        for up, norm, skip, size in zip(self.ups, self.norms, skips, reversed(sizes[:-1]), strict=True):
            maps = norm(functional.relu(up(maps, output_size=size)))  # (B, 8 width .. width / 2, H/16 .. H, W/16 .. W)
            maps = maps if skip is None else maps + skip
        return SegmenterOutput(crop_to(self.classifier(maps), images), crop_to(maps, images))


def padded(images: Tensor) -> Tensor:
    """Repeat the last row and column as far as the FCN needs it: (B, C, H, W) -> (B, C, H', W')."""
    return pad_to_least(pad_to_multiple(images, STRIDE), LEAST)


def normalised(images: Tensor, mean: float, std: float) -> Tensor:
    """Images (B, 1, H, W) in [-1, 1] -> the same minus mean over deviation, both of the range [0, 1]."""
    if mean == std == 0.5:
        return images
    return ((images + 1.0) / 2.0 - mean) / std


@torch.no_grad()
def load_vgg16(segmenter: FcnVgg16, state: Mapping[str, Tensor]) -> None:
    """Put ImageNet's VGG-16 convolutions into `segmenter`, in place.

    The first convolution is folded to the segmenter's own input: one grey channel replaces three equal channels in
    [0, 1] normalised by ImageNet's mean and deviation, so the folded network computes what VGG-16 computes on the grey
    picture (but for the border, where zero padding means the input's mean).

    Args:
        segmenter: width 64, one input channel.
        state: the state dict of VGG-16 without batch norm, `features.0.weight` and so on; its classifier is not needed.

    Raises:
        ValueError: naming the first missing entry, or the first whose shape does not fit.
    """
    convs = [part for part in segmenter.stages.modules() if isinstance(part, nn.Conv2d)]
    weights, biases = _vgg_entries(state, "weight"), _vgg_entries(state, "bias")
    if weights[0].ndim == 4 and weights[0].shape[1] == 3 and convs[0].in_channels == 1:
        weights[0], biases[0] = _fold_grey(weights[0], biases[0], segmenter.input_mean, segmenter.input_std)
    for key, conv, weight, bias in zip(VGG16_KEYS, convs, weights, biases, strict=True):
        _check_shapes(key, conv, weight, bias)
    for conv, weight, bias in zip(convs, weights, biases, strict=True):
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)  # type: ignore[union-attr]


def _check_shapes(key: str, conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    if weight.shape != conv.weight.shape or conv.bias is None or bias.shape != conv.bias.shape:
        raise ValueError(
            f"{key}: shape {tuple(weight.shape)} does not fit {tuple(conv.weight.shape)}; "
            "ImageNet weights need a segmenter of width 64 with one input channel"
        )


def _vgg_entries(state: Mapping[str, Tensor], kind: str) -> list[Tensor]:
    missing = [f"{key}.{kind}" for key in VGG16_KEYS if f"{key}.{kind}" not in state]
    if missing:
        raise ValueError(f"{missing[0]}: missing; expected the state dict of VGG-16 without batch norm")
    return [state[f"{key}.{kind}"] for key in VGG16_KEYS]


def _fold_grey(weight: Tensor, bias: Tensor, input_mean: float, input_std: float) -> tuple[Tensor, Tensor]:
    """(64, 3, 3, 3), (64,) for normalised RGB -> (64, 1, 3, 3), (64,) for grey that is normalised by mean and std."""
    mean = weight.new_tensor(IMAGENET_MEAN)[:, None, None]
    std = weight.new_tensor(IMAGENET_STD)[:, None, None]
    folded = (weight * input_std / std).sum(dim=1, keepdim=True)
    shift = (weight * (input_mean - mean) / std).sum(dim=(1, 2, 3))
    return folded, bias + shift
