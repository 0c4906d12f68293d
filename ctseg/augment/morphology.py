"""Image operations on (B, 1, H, W) tensors on any device: Gaussian blur, holes, components, distance, erosion.

They agree with `scipy.ndimage` (tests/augment/test_morphology.py) and keep slices on their device. Regions are
4-connected, as scipy's are by default.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ctseg.networks.intensity import on_device

KNOTS = (4, 4)
"""Knots of a smooth field over a slice: what changes within 6 cm is anatomy."""
TRUNCATE = 4.0
"""Standard deviations at which a Gaussian is cut off, as in scipy."""


def gaussian_blur(images: Tensor, sigma: Tensor | float) -> Tensor:
    """Blur each slice with a separable Gaussian; pixels at the border are repeated beyond it.

    The sums run over shifted slices: on a CPU that is faster than a convolution with one channel, and each slice may
    have a width of its own.

    Args:
        images: (B, 1, H, W) float.
        sigma: standard deviation in pixels; one for all slices, or (B,).

    Returns:
        (B, 1, H, W)
    """
    widths = torch.as_tensor(sigma, dtype=images.dtype).reshape(-1, 1)
    radius = int(TRUNCATE * float(widths.max()) + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(radius + 1) / widths) ** 2)  # (B or 1, radius + 1), the right half
    taps = on_device(taps / (taps[:, :1] + 2.0 * taps[:, 1:].sum(dim=1, keepdim=True)), images.device)
    weights = taps.T[:, :, None, None, None]  # (radius + 1, B or 1, 1, 1, 1)
    for axis, border in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        length, padded = images.shape[axis], functional.pad(images, border, mode="replicate")
        images = padded.narrow(axis, radius, length) * weights[0]
        for step in range(1, radius + 1):
            images.addcmul_(padded.narrow(axis, radius - step, length), weights[step])
            images.addcmul_(padded.narrow(axis, radius + step, length), weights[step])
    return images


def smooth_field(knots: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate knots (B, 1, h, w) to smooth fields (B, 1, H, W), cubic along rows and columns; corners stay.

    The same as torch's bicubic interpolation, in two matrix products.
    """
    rows, columns = (_cubic_weights(count, length) for count, length in zip(knots.shape[2:], size, strict=True))
    rows, columns = (on_device(item.to(knots.dtype), knots.device) for item in (rows, columns))
    return rows @ knots @ columns.mT


def draw_knots(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """(count, 1, 4, 4) normal knots of smooth fields."""
    return rng.standard_normal((count, 1, *KNOTS), dtype=np.float32)


def field_of(knots: NDArray[np.float32], images: Tensor) -> Tensor:
    """The smooth fields (B, 1, H, W) of knots (B, 1, 4, 4), for images (B, 1, H, W)."""
    placed = on_device(torch.from_numpy(knots).to(images.dtype), images.device)
    return smooth_field(placed, (images.shape[2], images.shape[3]))


def _cubic_weights(knots: int, length: int) -> Tensor:
    """Return what each of `length` places takes from each knot, (length, knots)."""
    one_each = torch.eye(knots)[:, None, :, None]  # (knots, 1, knots, 1): one line for each knot
    lines = functional.interpolate(one_each, (length, 1), mode="bicubic", align_corners=True)
    return lines[:, 0, :, 0].T


def erode(masks: Tensor, pixels: int) -> Tensor:
    """Take `pixels` layers off bool masks (B, 1, H, W); what lies beyond the image counts as outside."""
    for _ in range(pixels):
        padded = functional.pad(masks, (1, 1, 1, 1))
        rows = padded[..., :-2, 1:-1] & padded[..., 2:, 1:-1]
        masks = masks & rows & padded[..., 1:-1, :-2] & padded[..., 1:-1, 2:]
    return masks


def distance_to_outside(masks: Tensor, limit: int) -> Tensor:
    """Measure how far each pixel of bool masks (B, 1, H, W) lies from the nearest pixel that is not in the mask.

    Args:
        masks: bool.
        limit: largest distance of interest in pixels; the work grows with it.

    Returns:
        (B, 1, H, W) Euclidean distance in pixels, exact up to `limit` and `limit + 1` beyond; 0 outside.
    """
    far = float((limit + 1) ** 2)
    along = torch.where(masks, far, 0.0)  # distance within the column, found in steps of 1, 2, 4, ...
    step = 1
    while step <= limit:
        padded = functional.pad(along, (0, 0, step, step), value=far)
        beside = torch.minimum(padded[..., : -2 * step, :], padded[..., 2 * step :, :])
        along = torch.minimum(along, beside + step)
        step *= 2
    squared = (along**2).clamp(max=far)
    width, padded = masks.shape[-1], functional.pad(squared, (limit, limit), value=far)
    for step in range(1, limit + 1):  # Pythagoras with every column up to `limit` away
        beside = torch.minimum(padded.narrow(-1, limit - step, width), padded.narrow(-1, limit + step, width))
        squared = torch.minimum(squared, beside.add_(step**2), out=squared)
    return squared.sqrt_()


def fill_holes(masks: Tensor) -> Tensor:
    """Fill the holes of bool masks (B, 1, H, W): what no 4-connected path joins to the border becomes mask."""
    rows, columns = (masks.cumsum(dim=axis, dtype=torch.int32) for axis in (-1, -2))
    unobstructed = (rows == 0) | (rows == rows[..., -1:]) | (columns == 0) | (columns == columns[..., -1:, :])
    outside = ~masks & unobstructed  # seen from the border along a row or a column
    rest = ~masks & ~outside
    padded = functional.pad(outside, (1, 1, 1, 1))
    beside = padded[..., :-2, 1:-1] | padded[..., 2:, 1:-1] | padded[..., 1:-1, :-2] | padded[..., 1:-1, 2:]
    return masks | (rest & (spread_maximum((rest & beside).long(), rest) == 0))


def connected_components(masks: Tensor) -> Tensor:
    """Number the 4-connected components of bool masks (B, 1, H, W).

    Returns:
        (B, 1, H, W) int64: 0 outside; in a component 1 + the place of its last pixel in its slice, row by row.
    """
    places = torch.arange(1, masks[0].numel() + 1, device=masks.device).reshape(masks.shape[1:])
    return spread_maximum(places.expand(masks.shape), masks)


def spread_maximum(values: Tensor, masks: Tensor) -> Tensor:
    """Give each pixel the largest value of its 4-connected component.

    Maxima run along whole rows and whole columns of the mask in turn until nothing changes, or H + W times: a path
    of more turns than that is treated as two components.

    Args:
        values: (B, 1, H, W) int64.
        masks: (B, 1, H, W) bool.

    Returns:
        (B, 1, H, W) int64, 0 outside the masks.
    """
    inside = masks.flatten().nonzero()[:, 0]
    rows, columns = _run_numbers(masks)[inside], _run_numbers(masks.mT).reshape(masks.mT.shape).mT.flatten()[inside]
    found = values.flatten()[inside]
    for _ in range(masks.shape[-2] + masks.shape[-1]):
        before = found
        for runs in (rows, columns):
            found = torch.zeros_like(found).scatter_reduce_(0, runs, found, "amax")[runs]
        if torch.equal(found, before):
            break
    return torch.zeros_like(values).flatten().index_copy_(0, inside, found).reshape(values.shape)


def _run_numbers(masks: Tensor) -> Tensor:
    """Number the runs of mask pixels along the last axis, from 0 over the whole batch; (B * H * W,) int64."""
    starts = masks & ~functional.pad(masks, (1, 0))[..., :-1]
    return (starts.flatten().cumsum(dim=0, dtype=torch.int32) - 1).long()
