"""The networks in `segment`: layouts and arithmetic beside each other, at the paper's width and size."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from interleaved import Row, least_seconds
from torch import Tensor, nn

from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.unet import UNet


def heads(count: int, side: int) -> Tensor:
    """Smooth pictures on background, (count, 1, side, side) in [-1, 1]."""
    torch.manual_seed(0)
    waves = torch.nn.functional.interpolate(torch.randn(count, 1, 12, 12), (side, side), mode="bicubic")
    place = torch.linspace(-1, 1, side)
    inside = (place[:, None] ** 2 / 0.6 + place[None, :] ** 2 / 0.45) < 1
    return torch.where(inside, (0.3 * waves).clamp(-0.9, 1), torch.tensor(-1.0))


def differing(one: Tensor, other: Tensor) -> str:
    """How far the logits are apart, beside their own spread: the networks are untrained, so masks mean nothing."""
    share = float((one - other).abs().max() / other.std())
    return f"logits at most {100 * share:.2g} % of their spread apart"


def compared(what: str, network: nn.Module, images: Tensor, rounds: int) -> list[Row]:
    """channels_last beside the default layout, then bf16 beside float32."""
    plain, last = network.eval(), deepcopy(network).eval().to(memory_format=torch.channels_last)

    def mixed() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return last(images).logits.float()

    def pair(one: str, first: Callable[[], Tensor], other: str, second: Callable[[], Tensor]) -> Row:
        with torch.inference_mode():
            spent, found = least_seconds({one: first, other: second}, rounds)
        return Row(what, spent, differing(found[other], found[one]))

    return [
        pair("channels last", lambda: last(images).logits, "default layout", lambda: plain(images).logits),
        pair("--precision bf16", mixed, "float32", lambda: last(images).logits),
    ]


def rows(width: int = 64, side: int = 240, rounds: int = 3) -> list[Row]:
    """All comparisons of this file."""
    torch.manual_seed(0)
    fcn, unet = FcnVgg16(width), UNet(width)
    found = compared(f"FCN of width {width}, 1 slice of {side} x {side}", fcn, heads(1, side), rounds)
    found += compared(f"U-Net of width {width}, 1 slice of {side} x {side}", unet, heads(1, side), rounds)
    return found + compared("FCN of width 16, 24 slices of 96 x 96", FcnVgg16(16), heads(24, 96), rounds)


@pytest.mark.slow
def test_the_layout_changes_logits_by_rounding_alone() -> None:
    for row in rows(8, 64, 1):
        percent = float(row.same.split()[3])
        assert percent < (0.01 if "channels last" in row.seconds else 50)
