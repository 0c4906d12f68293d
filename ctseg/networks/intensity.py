"""Slices as networks take them: uint8 0..255 is -1..1, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctseg.errors import InputError, PluginError

MIDDLE = 127.5
"""uint8 0..255 is -1..1 in networks."""


def on_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the processor's memory on a device; a GPU fetches it while the processor goes on.

    A plain copy to a GPU waits until the GPU has done all that it was given before.
    """
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_images(slices: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(B, H, W) uint8 -> (B, 1, H, W) float32 in [-1, 1]; background 0 becomes exactly -1."""
    return on_device(torch.from_numpy(np.array(slices)), device)[:, None].float() / MIDDLE - 1.0


def to_masks(masks: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(B, H, W) uint8 0/1 -> (B, 1, H, W) float32 0/1."""
    return on_device(torch.from_numpy(np.array(masks)), device)[:, None].float()


def checked_numbers(values: NDArray[np.float32], network: str) -> NDArray[np.float32]:
    """What a network gave, unless it is no number: finite weights of a damaged file can still give that.

    Args:
        values: of any shape.
        network: what to call it.

    Raises:
        InputError: if a value is not a number; read as a probability, it would say that nothing is there.
    """
    if np.isnan(values.sum()):  # one value that is no number makes the sum none
        raise InputError(
            f"model {network}: gives values that are no numbers; its weights are damaged, or its code is at fault: "
            "copy it again, or train it again"
        )
    return values


def checked_shape(values: Any, images: Tensor, network: str) -> Tensor:
    """What a network gave for images, unless it is of another shape than they are.

    Args:
        values: of the images' shape (B, 1, H, W).
        images: what it was given.
        network: what to call it.

    Raises:
        PluginError: if it is no tensor of that shape: one value for a slice would be spread over all of it, and of
            several channels the first would be taken. If it is of no real numbers: a mask in place of logits would be
            read as blood everywhere. If it lies on another device.
    """
    if not isinstance(values, Tensor):
        raise PluginError(f"gives a {type(values).__name__}, not a tensor", network)
    if values.shape != images.shape:
        sizes = f"{_size(values)} for images of {_size(images)}"
        raise PluginError(f"gives {sizes}; both have to be the same", network)
    if not values.is_floating_point() or values.layout != torch.strided or values.device != images.device:
        what = f"{values.dtype} ({values.layout}) on {values.device} for images on {images.device}"
        raise PluginError(f"gives {what}; real numbers beside the images are wanted, dense ones", network)
    return values


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """(B, 1, H, W) in [-1, 1] -> (B, H, W) uint8, rounded; the inverse of `to_images`."""
    scaled = ((images.detach().float() + 1.0) * MIDDLE).round().clamp(0, 255)
    return np.asarray(scaled[:, 0].to("cpu", torch.uint8).numpy())
