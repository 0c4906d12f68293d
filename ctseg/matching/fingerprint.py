"""The paper's image fingerprint, equations (8)-(14), 64 bits in one number a slice."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ctseg.io.pages import blocks

KEPT = 8
"""The 8 x 8 lowest frequencies are kept (12)."""
CHUNK = 64
"""Slices in memory as float64 at a time: 30 MB at 240 x 240."""
ROUGH_CHUNK = 4
"""Slices in memory as float32 at a time: 0.9 MB at 240 x 240, which stays in the cache."""
FLOAT32_BITS = 24
ROUGH = 1e-3
"""DC itself is known no worse than to this share."""
Matrix = NDArray[np.float64]


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
    rows, columns = _sides(images.shape[1:], size)
    return np.concatenate([np.empty((0, KEPT, KEPT)), *(_exactly(block, rows, columns) for block in blocks(images))])


def _sides(shape: tuple[int, ...], size: int) -> tuple[Matrix, Matrix]:
    """(8, H) and (8, W): resizing and transform of either side."""
    transform = dct_matrix(size)[:KEPT]
    return transform @ resize_matrix(shape[0], size), transform @ resize_matrix(shape[1], size)


def _exactly(images: NDArray[np.uint8], rows: Matrix, columns: Matrix) -> NDArray[np.float64]:
    """B' in float64: (n, H, W) -> (n, 8, 8)."""
    result = np.empty((len(images), KEPT, KEPT))
    for start in range(0, len(images), CHUNK):
        block = images[start : start + CHUNK].astype(np.float64)  # (n, H, W)
        result[start : start + CHUNK] = rows @ (block @ columns.T)  # (n, H, 8) -> (n, 8, 8)
    return result


def fingerprints(images: NDArray[np.uint8], size: int = 32) -> NDArray[np.uint64]:
    """64-bit fingerprints, equations (8)-(14): (N, H, W) -> (N,).

    A bit is set where a coefficient is greater than the mean of all 64, DC included. Most slices are decided in
    float32; those with a coefficient nearer to the mean than that can err are done in float64, so the bits are those
    of `low_frequencies`.

    Args:
        images: slices of any height and width.
        size: N, the side of the scaled image.
    """
    rows, columns = _sides(images.shape[1:], size)
    bits = [_bits(block, rows, columns) for block in blocks(images)]
    return pack_bits(np.concatenate([np.empty((0, KEPT, KEPT), dtype=bool), *bits]))


def _bits(images: NDArray[np.uint8], rows: Matrix, columns: Matrix) -> NDArray[np.bool_]:
    """(n, H, W) slices -> (n, 8, 8) bits."""
    step = _step(rows)
    low = _roughly(images, rows, columns, step)
    above = low - low.mean(axis=(1, 2), keepdims=True)
    bits: NDArray[np.bool_] = above > 0
    unsure = np.flatnonzero(np.abs(above).min(axis=(1, 2)) <= _error(low[:, 0, 0], rows, columns, step))
    if len(unsure):
        exact = _exactly(images[unsure], rows, columns)
        bits[unsure] = exact > exact.mean(axis=(1, 2), keepdims=True)
    return bits


def _step(rows: Matrix) -> float:
    """Weights that are whole multiples of this, times grey values and summed over all rows, are exact in float32."""
    bits = FLOAT32_BITS - 8 - math.ceil(math.log2(rows.shape[1]))
    return 2.0 ** (math.ceil(math.log2(float(np.abs(rows).max()))) - bits)


def _roughly(images: NDArray[np.uint8], rows: Matrix, columns: Matrix, step: float) -> NDArray[np.float64]:
    """B', the sums over rows in float32: (n, H, W) -> (n, 8, 8).

    The weights are whole multiples of `step`, whose sums are exact, and the small rest.
    """
    whole = np.rint(rows / step) * step
    weights = np.concatenate([whole, rows - whole]).astype(np.float32)  # (16, H)
    result = np.empty((len(images), KEPT, KEPT))
    buffer = np.empty((ROUGH_CHUNK, *images.shape[1:]), dtype=np.float32)
    for start in range(0, len(images), ROUGH_CHUNK):
        block = images[start : start + ROUGH_CHUNK]
        pixels = buffer[: len(block)]
        pixels[:] = block
        sums = (weights @ pixels).astype(np.float64)  # (n, 16, W)
        result[start : start + ROUGH_CHUNK] = (sums[:, :KEPT] + sums[:, KEPT:]) @ columns.T
    return result


def _error(dc: NDArray[np.float64], rows: Matrix, columns: Matrix, step: float) -> NDArray[np.float64]:
    """(n,) by how much a coefficient of `_roughly` and the mean of all can be off together.

    Of a slice, only the sums with the rest of the weights, at most half a `step` each, are rounded. A sum of H products
    has a relative error of at most (H + 2) eps / 2 of the sum of their sizes, in whatever order it is taken (Higham,
    Accuracy and Stability of Numerical Algorithms, 3.1, with the rounding of the weights). Grey values are not
    negative, so DC says how large that sum can be.
    """
    least = float(rows[0].min() * columns[0].min())
    if least <= 0:
        return np.full(len(dc), np.inf)
    sizes = np.maximum(dc, 0.0) * (1 + ROUGH) / least * float(np.abs(columns).max()) * step / 2
    errors: Matrix = (rows.shape[1] + 2) * float(np.finfo(np.float32).eps) * sizes
    return errors


def pack_bits(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(N, 8, 8) bits, row by row from the most significant -> (N,) uint64."""
    octets = np.packbits(bits.reshape(len(bits), 64), axis=1)  # (N, 8)
    return octets.view(">u8")[:, 0].astype(np.uint64)


def hamming(source: NDArray[np.uint64], target: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Differing bits, equation (15): (n,) and (m,) -> (n, m) from 0 to 64."""
    differing: NDArray[np.uint8] = np.bitwise_count(source[:, None] ^ target[None, :])
    return differing
