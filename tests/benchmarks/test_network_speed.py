"""The networks in `segment`: layouts and arithmetic beside each other, at the paper's width and size."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from interleaved import Row, least_seconds
from torch import Tensor, nn

from ctseg.inference.models import LoadedModel
from ctseg.inference.ncnn_runner import NcnnNetwork
from ctseg.inference.predict import predict_slices
from ctseg.inference.settings import SegmentSettings
from ctseg.networks.fcn import FcnVgg16
from ctseg.networks.intensity import to_images
from ctseg.networks.unet import UNet
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.runs import ModelHeader

RELEASED = "CTSEG_RELEASED_CODE"
"""Environment: the folder `stage2/models` of the released code, to be timed beside; without it, its row is left out."""


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
    """channels_last beside the default layout, then bf16 and ncnn beside float32."""
    plain, last = network.eval(), deepcopy(network).eval().to(memory_format=torch.channels_last)
    winograd = NcnnNetwork(plain)

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
        pair("engine=ncnn", lambda: winograd(images).logits, "float32", lambda: last(images).logits),
    ]


def released_fcn(models: Path) -> nn.Module:
    """The segmenter that the released stage 2 trains, from its own file, which is run and not copied.

    Of torchvision it needs a class to derive from that keeps its features.
    """

    class Vgg(nn.Module):
        def __init__(self, features: nn.Module) -> None:
            super().__init__()
            self.features, self.classifier = features, nn.Identity()

    torchvision, tv_models, vgg = ModuleType("torchvision"), ModuleType("models"), ModuleType("vgg")
    torchvision.models, tv_models.vgg, vgg.VGG = tv_models, vgg, Vgg  # type: ignore[attr-defined]
    names = {"torchvision": torchvision, "torchvision.models": tv_models, "torchvision.models.vgg": vgg}
    spec = spec_from_file_location("released_fcn", models / "FCN.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    with patch.dict(sys.modules, names):
        spec.loader.exec_module(module)
    network: nn.Module = module.FCNs_240_3h(pretrained_net=module.VGGNet(pretrained=False), n_class=1)
    return network


def released_rows(models: Path, rounds: int) -> list[Row]:
    """The paper's segmenter beside the released code's, both untrained."""
    released, ours = released_fcn(models).eval(), FcnVgg16().eval().to(memory_format=torch.channels_last)
    counts = [sum(item.numel() for item in network.parameters()) for network in (ours, released)]
    images = heads(1, 240)
    with torch.inference_mode():
        ways = {
            "ctseg segment's network, float32": lambda: ours(images),
            "released code": lambda: released(images.expand(-1, released_channels(released), -1, -1)),
        }
        spent, _ = least_seconds(ways, rounds)
    return [Row("FCN of width 64, 1 slice of 240 x 240", spent, f"{counts[0]:,} and {counts[1]:,} parameters")]


def scan_rows(models: Path, slices: int = 10, side: int = 240, rounds: int = 2) -> list[Row]:
    """A whole scan: `segment` runs the slices that show brain, in nine of ten (phantoms), the released code all."""
    released, ours = released_fcn(models).eval(), FcnVgg16().eval().to(memory_format=torch.channels_last)
    preprocessing = PreprocessSettings(size=side, fov_mm=float(side))
    header = ModelHeader("segmenter", "fcn", {}, "ctseg", "0")
    model = LoadedModel(ours, header, torch.device("cpu"), preprocessing, "0" * 12)
    images = np.repeat(((heads(1, side)[0] + 1) * 127.5).round().byte().numpy(), slices, axis=0)
    images[: slices // 10] = 0
    channels = released_channels(released)

    def whole() -> None:
        with torch.inference_mode():
            for image in images:
                released(to_images(image[None], model.device).expand(-1, channels, -1, -1))

    by_ncnn = replace(model, module=NcnnNetwork(ours))

    def plain(precision: str, model: LoadedModel = model) -> None:
        predict_slices(images, model, SegmentSettings(tta=False, precision=precision))

    ways = {
        "released code": whole,
        "ctseg segment, float32": lambda: plain("32-true"),
        "ctseg segment --precision bf16": lambda: plain("bf16-mixed"),
        "ctseg segment --set engine=ncnn": lambda: plain("32-true", by_ncnn),
    }
    spent, _ = least_seconds(ways, rounds)
    what = f"FCN of width 64, a scan of {slices} slices of {side} x {side}, {slices // 10} of them without brain"
    return [
        Row(what, {name: spent[name], "released code, every slice": spent["released code"]}, "untrained")
        for name in list(ways)[1:]
    ]


def released_channels(network: nn.Module) -> int:
    """Channels that its first convolution takes."""
    return next(part.in_channels for part in network.modules() if isinstance(part, nn.Conv2d))


def rows(width: int = 64, side: int = 240, rounds: int = 3) -> list[Row]:
    """All comparisons of this file."""
    torch.manual_seed(0)
    fcn, unet = FcnVgg16(width), UNet(width)
    found = compared(f"FCN of width {width}, 1 slice of {side} x {side}", fcn, heads(1, side), rounds)
    found += compared(f"U-Net of width {width}, 1 slice of {side} x {side}", unet, heads(1, side), rounds)
    if RELEASED in os.environ:
        found += released_rows(Path(os.environ[RELEASED]), rounds)
        found += scan_rows(Path(os.environ[RELEASED]))
    return found + compared("FCN of width 16, 24 slices of 96 x 96", FcnVgg16(16), heads(24, 96), rounds)


@pytest.mark.slow
def test_layout_and_engine_change_logits_by_rounding_alone() -> None:
    pytest.importorskip("ncnn")
    for row in rows(8, 64, 1):
        percent = float(row.same.split()[3])
        assert percent < (50 if "--precision bf16" in row.seconds else 0.01)
