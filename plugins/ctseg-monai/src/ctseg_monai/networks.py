"""MONAI's networks as ctseg's segmenters.

MONAI's networks end in one map of class scores. Here each gives `hidden` channels instead; after a leaky ReLU they are
what the domain discriminator of `ctseg das-train` sees, and a 1 x 1 convolution makes the logit of the lesion of them.
"""

from __future__ import annotations

from collections.abc import Callable

from monai.networks.nets.attentionunet import AttentionUnet
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.swin_unetr import SwinUNETR
from monai.networks.nets.unet import UNet
from torch import Tensor, nn
from torch.nn import functional

from ctseg.networks.blocks import crop_to, pad_to_least, pad_to_multiple
from ctseg.plugins.protocols import SegmenterOutput

LEAK = 0.2
SWIN_STRIDE = 32
"""Patches of 2 x 2 pixels, halved four times."""
SEGRESNET_STRIDE = 8
"""Halved three times."""


class MonaiSegmenter(nn.Module):
    """A network of MONAI with a hidden map and a classifier on top.

    Args:
        body: (B, 1, H, W), H and W multiples of `stride`, to (B, hidden, H, W).
        hidden: channels that `body` gives.
        stride: other heights and widths are padded by repeating the border, to two strides at least: a norm over the
            single pixel of the lowest level would leave nothing.
    """

    def __init__(self, body: nn.Module, hidden: int, stride: int) -> None:
        super().__init__()
        self.body, self.hidden_channels, self.stride = body, hidden, stride
        self.classifier = nn.Conv2d(hidden, 1, 1)

    def forward(self, images: Tensor) -> SegmenterOutput:
        """(B, 1, H, W) in [-1, 1], any H and W -> logits (B, 1, H, W), hidden (B, hidden, H, W)."""
        padded = pad_to_multiple(pad_to_least(images, 2 * self.stride), self.stride)
        maps = crop_to(self.body(padded), images)
        hidden = functional.leaky_relu(maps, LEAK)
        return SegmenterOutput(self.classifier(hidden), hidden)


def unet(
    width: int = 32, depth: int = 4, hidden: int = 32, dropout: float = 0.0, residual_units: int = 2
) -> MonaiSegmenter:
    """MONAI's UNet, with batch norm: an instance norm would see a single pixel at the lowest level of a small slice."""
    body = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=hidden,
        channels=_channels(width, depth),
        strides=[2] * depth,
        num_res_units=residual_units,
        norm="BATCH",
        dropout=dropout,
    )
    return MonaiSegmenter(body, hidden, 2**depth)


def attention_unet(width: int = 32, depth: int = 4, hidden: int = 32, dropout: float = 0.0) -> MonaiSegmenter:
    """MONAI's AttentionUnet."""
    channels, strides = _channels(width, depth), [2] * depth
    body = AttentionUnet(2, 1, hidden, channels=channels, strides=strides, dropout=dropout)
    return MonaiSegmenter(body, hidden, 2**depth)


def _channels(width: int, depth: int) -> list[int]:
    return [width * 2**level for level in range(depth + 1)]


def segresnet(width: int = 32, hidden: int = 32, dropout: float = 0.0) -> MonaiSegmenter:
    """MONAI's SegResNet."""
    body = SegResNet(spatial_dims=2, init_filters=width, out_channels=hidden, dropout_prob=dropout or None)
    return MonaiSegmenter(body, hidden, SEGRESNET_STRIDE)


def swin_unetr(width: int = 24, window: int = 7, hidden: int = 32, dropout: float = 0.0) -> MonaiSegmenter:
    """MONAI's SwinUNETR."""
    body = SwinUNETR(1, hidden, feature_size=width, window_size=window, drop_rate=dropout, spatial_dims=2)
    return MonaiSegmenter(body, hidden, SWIN_STRIDE)


BUILDERS: dict[str, Callable[..., MonaiSegmenter]] = {
    "monai-unet": unet,
    "monai-attention-unet": attention_unet,
    "monai-segresnet": segresnet,
    "monai-swin-unetr": swin_unetr,
}
