"""A small U-Net's forward pass on NumPy: worker processes import no torch for it, and start at once.

One slice at a time, so that all maps of a level stay in the cache. A map is (C, H + 2, W + 2) with a border of zeros; a
3 x 3 convolution is nine matrix products of shifted views of it. Batch norm is folded into the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ctseg.errors import InputError, first_line

Maps = NDArray[np.float32]
ENCODER = ((24, 16), (16, 32), (32, 48), (48, 64))
"""(channels in, channels out) of each level; the first takes six images in blocks of 2 x 2 pixels."""
IMAGES = 6
"""Images a slice: two windows of the slice itself and of one below and above."""
DEPTH = 2 ** len(ENCODER)
"""Height and width of the images must be multiples of this."""


def layer_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor: 3 x 3 weights (9, out, in), 1 x 1 weights (out, in), biases (out,)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for level, (below, width) in enumerate(ENCODER):
        shapes |= {f"down{level}a": (9, width, below), f"down{level}b": (9, width, width)}
        if level:
            upper = ENCODER[level - 1][1]
            shapes |= {f"lift{level}": (upper, width), f"up{level}": (9, upper, upper)}
    shapes["head"] = (4, ENCODER[0][1])
    return shapes | {f"{name}.bias": (shape[-2],) for name, shape in shapes.items()}


@dataclass(frozen=True)
class SmallUNet:
    """The network with its weights."""

    weights: dict[str, Maps]
    """See `layer_shapes`."""

    def __call__(self, images: Maps) -> Maps:
        """(IMAGES, H, W) in 0..1, H and W multiples of DEPTH -> (H, W) logits."""
        maps = _bordered(_blocks(images))
        skips = []
        for level in range(len(ENCODER)):
            if level:
                maps = _pooled(maps)
            maps = self._convolved(f"down{level}b", self._convolved(f"down{level}a", maps))
            skips.append(maps)
        for level in range(len(ENCODER) - 1, 0, -1):
            lifted = self._mixed(f"lift{level}", maps)
            maps = self._convolved(f"up{level}", _added(skips[level - 1], lifted))
        return _unblocked(self._mixed("head", maps)[:, 1:-1, 1:-1])

    def _convolved(self, name: str, maps: Maps) -> Maps:
        """3 x 3 convolution and ReLU."""
        taps, bias = self.weights[name], self.weights[f"{name}.bias"]
        _, rows, columns = maps.shape
        flat = maps.reshape(len(maps), -1)
        length = (rows - 2) * columns - 2
        result = np.zeros((len(bias), rows, columns), dtype=np.float32)
        inner = result.reshape(len(bias), -1)[:, columns + 1 : columns + 1 + length]
        inner += bias[:, None]
        product = np.empty((len(bias), length), dtype=np.float32)
        for tap in range(9):
            start = tap // 3 * columns + tap % 3
            np.matmul(taps[tap], flat[:, start : start + length], out=product)
            inner += product
        np.maximum(inner, 0, out=inner)
        result[:, :, 0] = 0
        result[:, :, -1] = 0
        return result

    def _mixed(self, name: str, maps: Maps) -> Maps:
        """1 x 1 convolution; the border takes the bias and is not used."""
        mixed = self.weights[name] @ maps.reshape(len(maps), -1) + self.weights[f"{name}.bias"][:, None]
        return mixed.reshape(-1, *maps.shape[1:])


def read_weights(path: Path) -> SmallUNet:
    """Read the network's weights.

    Raises:
        InputError: if the file is missing, damaged or of another network.
    """
    remedy = "install ctseg again, or make the weights with `ctseg reproduce brain-model`"
    try:
        found = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(
            f"{path}: the brain network's weights cannot be read ({first_line(error)}); {remedy}"
        ) from None
    shapes = layer_shapes()
    if {name: value.shape for name, value in found.items()} != shapes:
        raise InputError(f"{path}: these are not the brain network's weights; {remedy}")
    weights = {name: value.astype(np.float32) for name, value in found.items()}
    if not all(np.isfinite(value).all() for value in weights.values()):
        raise InputError(f"{path}: some of the brain network's weights are not finite; {remedy}")
    return SmallUNet(weights)


def _blocks(images: Maps) -> Maps:
    """(C, H, W) -> (4 C, H / 2, W / 2): blocks of 2 x 2 pixels become channels."""
    return np.concatenate([images[:, row::2, column::2] for row in (0, 1) for column in (0, 1)])


def _unblocked(maps: Maps) -> Maps:
    """(4, H / 2, W / 2) -> (H, W), the other way round."""
    picture = np.empty((2 * maps.shape[1], 2 * maps.shape[2]), dtype=np.float32)
    for number, plane in enumerate(maps):
        picture[number // 2 :: 2, number % 2 :: 2] = plane
    return picture


def _bordered(maps: Maps) -> Maps:
    return np.pad(maps, ((0, 0), (1, 1), (1, 1)))


def _pooled(maps: Maps) -> Maps:
    """The largest of 2 x 2 pixels."""
    inner = maps[:, 1:-1, 1:-1]
    pairs = np.maximum(inner[:, ::2], inner[:, 1::2])
    return _bordered(np.maximum(pairs[:, :, ::2], pairs[:, :, 1::2]))


def _added(fine: Maps, coarse: Maps) -> Maps:
    """`fine` with each pixel of `coarse` added to four of its own, in place."""
    inner = fine[:, 1:-1, 1:-1]
    for row in (0, 1):
        for column in (0, 1):
            inner[:, row::2, column::2] += coarse[:, 1:-1, 1:-1]
    return fine
