"""The fingerprint against the paper's equations written out element by element."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

from ctseg.matching.fingerprint import dct_matrix, fingerprints, hamming, low_frequencies, pack_bits, resize_matrix


def plain_resize(image: NDArray[np.uint8], size: int) -> list[list[float]]:
    """Triangle-weighted means, one pixel of the small image after the other."""

    def weights(count: int, place: int) -> list[float]:
        scale = count / size
        reach = max(scale, 1.0)
        raw = [max(0.0, 1 - abs(pixel + 0.5 - (place + 0.5) * scale) / reach) for pixel in range(count)]
        return [weight / math.fsum(raw) for weight in raw]

    height, width = image.shape
    columns = [weights(width, place) for place in range(size)]
    narrow = [[math.fsum(w * float(v) for w, v in zip(ws, row, strict=True) if w) for ws in columns] for row in image]
    rows = [weights(height, place) for place in range(size)]
    return [[math.fsum(w * narrow[r][c] for r, w in enumerate(ws) if w) for c in range(size)] for ws in rows]


def plain_fingerprint(image: NDArray[np.uint8], size: int = 32) -> int:
    """Equations (8)-(14) with plain loops; the first bit is the most significant."""
    small = plain_resize(image, size)

    def a(i: int, j: int) -> float:
        c = math.sqrt(1 / size) if i == 0 else math.sqrt(2 / size)
        return c * math.cos((j + 0.5) * math.pi / size * i)

    low = []
    for i in range(8):
        half = [math.fsum(a(i, u) * small[u][v] for u in range(size)) for v in range(size)]
        low += [math.fsum(half[v] * a(j, v) for v in range(size)) for j in range(8)]
    mean = math.fsum(low) / 64
    return int("".join("1" if value > mean else "0" for value in low), 2)


def smooth(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A random image with structure at several scales."""
    image = sum(np.kron(rng.normal(size=(s, s)), np.ones((64 // s, 64 // s)))[: size[0], : size[1]] for s in (2, 8, 32))
    return np.clip(image * 40 + 100, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (32, 32), (20, 24)])
def test_random_images_as_written_out(size: tuple[int, int], rng: np.random.Generator) -> None:
    images = np.array([*(smooth(rng, size) for _ in range(3)), rng.integers(0, 256, size, dtype=np.uint8)])
    assert [int(value) for value in fingerprints(images)] == [plain_fingerprint(image) for image in images]


def real_slices(folder: Path) -> NDArray[np.uint8]:
    """Real MR and CT slices as 8-bit pictures."""
    mr = np.asanyarray(nib.load(folder / "mr-msd-task01" / "BRATS_009_flair_slab.nii.gz").dataobj)
    ct = np.asanyarray(nib.load(folder / "ct-template" / "scct_hu_2mm.nii.gz").dataobj)
    mr_slices = [np.clip(mr[:, :, k] / mr.max() * 255, 0, 255) for k in range(5, mr.shape[2], 15)]
    ct_slices = [np.clip(ct[:, :, k], 0, 100) * 2.55 for k in range(30, ct.shape[2] - 20, 8)]
    side = min(*mr.shape[:2], *ct.shape[:2])
    return np.array([image[:side, :side] for image in mr_slices + ct_slices]).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_slices_as_written_out(real_data: Path) -> None:
    images = real_slices(real_data)
    assert len(images) >= 6
    assert [int(value) for value in fingerprints(images)] == [plain_fingerprint(image) for image in images]


@pytest.mark.parametrize(("before", "after"), [(240, 32), (53, 32), (20, 32)])
def test_resizing_is_pillows_bilinear(before: int, after: int, rng: np.random.Generator) -> None:
    image = rng.uniform(0, 255, (before, before)).astype(np.float32)
    matrix = resize_matrix(before, after)
    pillow = np.asarray(Image.fromarray(image).resize((after, after), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(matrix @ image @ matrix.T, pillow, atol=1e-3)


def test_the_transform_is_the_orthonormal_dct(rng: np.random.Generator) -> None:
    matrix = dct_matrix(32)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(32), atol=1e-12)
    image = rng.normal(size=(32, 32))
    np.testing.assert_allclose(matrix @ image @ matrix.T, scipy.fft.dctn(image, norm="ortho"), atol=1e-12)


def test_low_frequencies_of_a_flat_image_are_its_dc() -> None:
    low = low_frequencies(np.full((1, 48, 40), 7, dtype=np.uint8))[0]
    assert low[0, 0] == pytest.approx(7 * 32)
    assert np.abs(low).sum() == pytest.approx(7 * 32)


def test_dc_takes_part_and_lifts_the_mean() -> None:
    # Of a flat image only DC is above the mean; of a black one nothing is.
    flat, black = np.full((32, 32), 9, dtype=np.uint8), np.zeros((32, 32), dtype=np.uint8)
    assert [int(value) for value in fingerprints(np.array([flat, black]))] == [1 << 63, 0]


def test_many_slices_as_one_by_one(rng: np.random.Generator) -> None:
    images = np.array([smooth(rng, (40, 40)) for _ in range(70)])
    together = fingerprints(images)
    assert together.dtype == np.uint64
    assert [int(fingerprints(image[None])[0]) for image in images] == [int(value) for value in together]


def test_another_size_gives_other_bits(rng: np.random.Generator) -> None:
    images = np.array([smooth(rng, (64, 64)) for _ in range(8)])
    assert [int(value) for value in fingerprints(images, 16)] == [plain_fingerprint(image, 16) for image in images]
    assert not np.array_equal(fingerprints(images, 16), fingerprints(images, 32))


def test_bits_are_packed_row_by_row() -> None:
    bits = np.zeros((3, 8, 8), dtype=bool)
    bits[0, 0, 0] = bits[1, 7, 7] = bits[2, 1, 0] = True
    assert [int(value) for value in pack_bits(bits)] == [1 << 63, 1, 1 << 55]


def test_hamming_counts_differing_bits(rng: np.random.Generator) -> None:
    source = rng.integers(0, 2**64, 5, dtype=np.uint64)
    target = np.append(rng.integers(0, 2**64, 3, dtype=np.uint64), [source[0], ~source[0]])
    expected = [[bin(int(s) ^ int(t)).count("1") for t in target] for s in source]
    assert hamming(source, target).tolist() == expected
    assert expected[0][3:] == [0, 64]
