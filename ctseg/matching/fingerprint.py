"""The paper's image fingerprint, equations (8)-(14), 64 bits in one number a slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KEPT = 8
"""The 8 x 8 lowest frequencies are kept (12)."""
CHUNK = 64
"""Slices in memory as float64 at a time: 30 MB at 240 x 240."""


def resize_matrix(size_in: int, size_out: int) -> NDArray[np.float64]:
    """Antialiased bilinear resampling as a matrix (size_out, size_in): `small = R_h @ image @ R_w.T`.

    The paper only says "scale", the released code "bilinear". Here a pixel of the small image is the triangle-weighted
    mean of all pixels that it covers (as Pillow's BILINEAR), not an interpolation of the two nearest: from 240 to 32
    that would skip most pixels and let noise decide bits.
    """
    scale = size_in / size_out
    support = max(scale, 1.0)
    centres = (np.arange(size_out) + 0.5) * scale
    distance = np.abs(np.arange(size_in) + 0.5 - centres[:, None]) / support
    weights = np.clip(1.0 - distance, 0.0, None)
    shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def dct_matrix(size: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II matrix A (size, size), equations (9) and (10)."""
    i, j = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix: NDArray[np.float64] = np.cos((j + 0.5) * np.pi / size * i) * np.sqrt(2.0 / size)
    matrix[0] = np.sqrt(1.0 / size)
    return matrix


def low_frequencies(images: NDArray[np.uint8], size: int = 32) -> NDArray[np.float64]:
    """B' of equations (8) and (12): (N, H, W) -> (N, 8, 8).

    Resizing and transform are both linear, so they are one matrix a side: `B' = (A R_h)[:8] f (A R_w)[:8]^T`.
    """
    rows = dct_matrix(size)[:KEPT] @ resize_matrix(images.shape[1], size)  # (8, H)
    columns = dct_matrix(size)[:KEPT] @ resize_matrix(images.shape[2], size)  # (8, W)
    result = np.empty((len(images), KEPT, KEPT))
    for start in range(0, len(images), CHUNK):
        block = images[start : start + CHUNK].astype(np.float64)  # (n, H, W)
        result[start : start + CHUNK] = rows @ (block @ columns.T)  # (n, H, 8) -> (n, 8, 8)
    return result


def fingerprints(images: NDArray[np.uint8], size: int = 32) -> NDArray[np.uint64]:
    """64-bit fingerprints, equations (8)-(14): (N, H, W) -> (N,).

    A bit is set where a coefficient is greater than the mean of all 64, DC included.

    Args:
        images: slices of any height and width.
        size: N, the side of the scaled image.
    """
    low = low_frequencies(images, size)
    return pack_bits(low > low.mean(axis=(1, 2), keepdims=True))


def pack_bits(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(N, 8, 8) bits, row by row from the most significant -> (N,) uint64."""
    octets = np.packbits(bits.reshape(len(bits), 64), axis=1)  # (N, 8)
    return octets.view(">u8")[:, 0].astype(np.uint64)


def hamming(source: NDArray[np.uint64], target: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Differing bits, equation (15): (n,) and (m,) -> (n, m) from 0 to 64."""
    differing: NDArray[np.uint8] = np.bitwise_count(source[:, None] ^ target[None, :])
    return differing
