"""Discriminators of images and of feature maps. Both give logits: a sigmoid, where one is wanted, is in the loss."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ctseg.networks.blocks import LEAK, NORMAL_STD, init_normal, pad_to_least

Norm = Literal["instance", "batch"]


class PatchGan(nn.Module):
    """Real or made, patch by patch (Isola et al. 2017).

    With 3 normed layers each logit sees 70 x 70 pixels; 2,762,689 parameters at width 64.

    Args:
        width: channels of the first layer; doubled by each further one up to 8 x width.
        norm: 'instance' as in the released code, 'batch' as in the paper.
        norm_layers: layers with a norm: 3 in the released code, 4 in the paper (142 x 142 pixels); all but the last
            halve the size.
        in_channels: image channels.
    """

    def __init__(self, width: int = 64, norm: Norm = "instance", norm_layers: int = 3, in_channels: int = 1) -> None:
        super().__init__()
        widths = [width * min(2**layer, 8) for layer in range(norm_layers + 1)]
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
        ]
        for layer, (before, after) in enumerate(pairwise(widths), start=1):
            layers += _normed(before, after, 1 if layer == norm_layers else 2, norm)
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))
        # Below this size an instance norm would see a single pixel.
        self.least = 3 * 2**norm_layers
        init_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> logits (B, 1, h, w), h about H / 8; any H and W, small ones are padded."""
        logits: Tensor = self.layers(pad_to_least(images, self.least))
        return logits


def _normed(channels_in: int, channels_out: int, stride: int, norm: Norm) -> list[nn.Module]:
    # A batch norm has its own shift, so the convolution before it needs no bias; instance norm here has none.
    conv = nn.Conv2d(channels_in, channels_out, 4, stride=stride, padding=1, bias=norm == "instance")
    norm_layer = nn.InstanceNorm2d(channels_out) if norm == "instance" else nn.BatchNorm2d(channels_out)
    return [conv, norm_layer, nn.LeakyReLU(LEAK, inplace=True)]


class DomainDiscriminator(nn.Module):
    """Which domain a feature map comes from: D_fusion and D_seg (Tsai et al. 2018; paper 4.2.1).

    Five 4 x 4 convolutions with stride 2, leaky ReLU between them, no norm. At width 64: 3,023,809 parameters on the
    256 fusion channels, 2,794,433 on the segmenter's 32. The paper's last sigmoid is left to the loss.

    Args:
        in_channels: channels of the feature map.
        width: channels of the first layer; then 2, 4 and 8 times as many, and 1.
        initialisation: 'normal' draws weights from N(0, 0.02) (the released D_fusion), 'pytorch' leaves PyTorch's own
            first weights (the released D_seg).
    """

    LEAST = 32
    """Five halvings leave one pixel of 32."""
    FULL_WIDTH = 64
    """The width that the deviation of 0.02 belongs to."""

    def __init__(self, in_channels: int, width: int = 64, initialisation: str = "normal") -> None:
        super().__init__()
        widths = [in_channels, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(LEAK, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))
        if initialisation == "normal":
            # A narrow network without a norm drawn from N(0, 0.02) passes hardly anything on: keep width 64's gain.
            init_normal(self, NORMAL_STD * (self.FULL_WIDTH / width) ** 0.5)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, 1, h / 32, w / 32); any h and w, small ones are padded to 32."""
        logits: Tensor = self.layers(pad_to_least(maps, self.LEAST))
        return logits
