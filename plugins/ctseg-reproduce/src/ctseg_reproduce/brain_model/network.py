"""The brain network as it is trained, and its weights as ctseg runs them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctseg.preprocess.small_unet import ENCODER, layer_shapes

EPSILON = 1e-5
"""Of batch norm."""


class TrainedUNet(nn.Module):
    """The torch twin of `ctseg.preprocess.small_unet.SmallUNet`, with batch norm not yet folded."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for name, shape in layer_shapes().items():
            if name.endswith(".bias"):
                continue
            wide = len(shape) == 3
            self.layers[name] = nn.Conv2d(shape[-1], shape[-2], 3 if wide else 1, padding=int(wide), bias=not wide)
            if wide:
                self.norms[name] = nn.BatchNorm2d(shape[-2], eps=EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """(B, IMAGES, H, W) in 0..1 -> (B, 1, H, W) logits."""
        maps = torch.cat([images[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)], dim=1)
        skips = []
        for level in range(len(ENCODER)):
            if level:
                maps = nn.functional.max_pool2d(maps, 2)
            maps = self._convolved(f"down{level}b", self._convolved(f"down{level}a", maps))
            skips.append(maps)
        for level in range(len(ENCODER) - 1, 0, -1):
            lifted = nn.functional.interpolate(self.layers[f"lift{level}"](maps), scale_factor=2.0)
            maps = self._convolved(f"up{level}", skips[level - 1] + lifted)
        logits: Tensor = nn.functional.pixel_shuffle(self.layers["head"](maps), 2)
        return logits

    def _convolved(self, name: str, maps: Tensor) -> Tensor:
        return nn.functional.relu(self.norms[name](self.layers[name](maps)))


def folded(network: TrainedUNet) -> dict[str, NDArray[np.float32]]:
    """The weights as `SmallUNet` takes them: batch norm in the convolution, taps first."""
    state: Mapping[str, Tensor] = network.state_dict()
    found: dict[str, NDArray[np.float32]] = {}
    for name, shape in layer_shapes().items():
        if name.endswith(".bias"):
            continue
        weight = state[f"layers.{name}.weight"].double()
        if len(shape) == 2:
            found[name] = weight[:, :, 0, 0].float().numpy()
            found[f"{name}.bias"] = state[f"layers.{name}.bias"].numpy()
            continue
        scale, shift, mean, variance = (
            state[f"norms.{name}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / torch.sqrt(variance + EPSILON)
        bias = shift - mean * gain
        taps = (weight * gain[:, None, None, None]).permute(2, 3, 0, 1).reshape(9, *shape[1:])
        found[name], found[f"{name}.bias"] = taps.detach().float().numpy(), bias.detach().float().numpy()
    return {name: np.ascontiguousarray(value) for name, value in found.items()}
