"""Slices as networks take them: uint8 0..255 is -1..1, and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """(B, 1, H, W) in [-1, 1] -> (B, H, W) uint8, rounded; the inverse of `to_images`."""
    scaled = ((images.detach().float() + 1.0) * MIDDLE).round().clamp(0, 255)
    return np.asarray(scaled[:, 0].to("cpu", torch.uint8).numpy())
