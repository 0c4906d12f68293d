"""Tensor operations against scipy on random masks, and on shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from ctseg.augment.morphology import (
    connected_components,
    distance_to_outside,
    erode,
    fill_holes,
    gaussian_blur,
    smooth_field,
    spread_maximum,
)

SHARES = (0.2, 0.4, 0.5, 0.59, 0.7, 0.9)
"""Of pixels that are mask; 0.59 is where 4-connected paths wind most."""


def random_masks(rng: np.random.Generator, size: tuple[int, int] = (48, 37)) -> np.ndarray:
    noise = rng.random((len(SHARES), *size)) < np.array(SHARES)[:, None, None]
    blobs = ndimage.gaussian_filter(rng.standard_normal((4, *size)), (0, 2, 2)) > 0.05
    return np.concatenate([noise, blobs, np.zeros((1, *size), bool), np.ones((1, *size), bool)])


def tensor(masks: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(masks)[:, None]


def test_gaussian_blur_is_scipys(rng: np.random.Generator) -> None:
    images, widths = rng.random((3, 40, 53), dtype=np.float32), [0.5, 1.5, 4.8]
    own = gaussian_blur(tensor(images), torch.tensor(widths))[:, 0].numpy()
    for image, width, found in zip(images, widths, own, strict=True):
        expected = ndimage.gaussian_filter(image.astype(np.float64), width, mode="nearest")
        np.testing.assert_allclose(found, expected, atol=1e-4)  # the widest of a batch sets where all are cut off
        alone = gaussian_blur(torch.from_numpy(image)[None, None], width)[0, 0].numpy()
        np.testing.assert_allclose(alone, expected, atol=2e-6)


def test_smooth_fields_are_torchs_bicubic(rng: np.random.Generator) -> None:
    knots = torch.from_numpy(rng.standard_normal((3, 1, 5, 4), dtype=np.float32))
    expected = torch.nn.functional.interpolate(knots, (40, 53), mode="bicubic", align_corners=True)
    torch.testing.assert_close(smooth_field(knots, (40, 53)), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(expected[..., ::39, ::52], knots[..., ::4, ::3], atol=1e-5, rtol=0)


def test_fill_holes_is_scipys(rng: np.random.Generator) -> None:
    masks = random_masks(rng)
    expected = np.stack([ndimage.binary_fill_holes(mask) for mask in masks])
    assert (fill_holes(tensor(masks))[:, 0].numpy() == expected).all()
    assert (expected != masks).any()


def test_a_hole_with_a_diagonal_way_out_is_a_hole() -> None:
    ring = np.zeros((1, 7, 7), bool)
    ring[0, 1:6, 1:6] = True
    ring[0, 2:5, 2:5] = False
    ring[0, 1, 1] = False
    assert fill_holes(tensor(ring))[0, 0, 2:5, 2:5].all()
    ring[0, 1, 2] = False
    assert (fill_holes(tensor(ring))[:, 0].numpy() == ring).all()


def test_components_are_scipys(rng: np.random.Generator) -> None:
    masks = random_masks(rng)
    own = connected_components(tensor(masks))[:, 0].numpy()
    assert ((own > 0) == masks).all()
    for mask, found in zip(masks, own, strict=True):
        labels, count = ndimage.label(mask)
        pairs = np.unique(np.stack([labels[mask], found[mask]]), axis=1)
        assert pairs.shape[1] == count == len(np.unique(pairs[1]))  # each of theirs is one of ours, and back


def test_a_component_is_named_by_its_last_pixel_whatever_the_batch(rng: np.random.Generator) -> None:
    masks = tensor(random_masks(rng))
    own = connected_components(masks)
    assert torch.equal(connected_components(masks[3:4]), own[3:4])
    square = torch.zeros(1, 1, 5, 4, dtype=torch.bool)
    square[..., 1:3, 1:3] = True
    assert set(connected_components(square).unique().tolist()) == {0, 2 * 4 + 2 + 1}


def test_a_spiral_is_one_component() -> None:
    spiral = np.zeros((1, 33, 33), bool)
    row, column, length, direction = 0, 0, 32, 0
    spiral[0, 0, 0] = True
    for turn in range(30):
        for _ in range(length):
            row, column = row + (0, 1, 0, -1)[direction], column + (1, 0, -1, 0)[direction]
            spiral[0, row, column] = True
        direction = (direction + 1) % 4
        length -= 2 if turn >= 2 and turn % 2 == 0 else 0
        if length <= 0:
            break
    assert ndimage.label(spiral[0])[1] == 1
    assert len(connected_components(tensor(spiral)).unique()) == 2


def test_the_largest_value_spreads_within_a_component_alone() -> None:
    masks = torch.tensor([[[[True, True, False, True]]]])
    values = torch.tensor([[[[3, 5, 9, 1]]]])
    assert spread_maximum(values, masks).flatten().tolist() == [5, 5, 0, 1]


@pytest.mark.parametrize("limit", [1, 3, 8, 40])
def test_distance_is_scipys_up_to_its_limit(rng: np.random.Generator, limit: int) -> None:
    rows, columns = np.mgrid[:48, :37]
    disc = (rows - 22) ** 2 + (columns - 18) ** 2 < 17**2
    masks = np.concatenate([random_masks(rng)[:-1], disc[None]])
    own = distance_to_outside(tensor(masks), limit)[:, 0].numpy()
    expected = np.stack([ndimage.distance_transform_edt(mask) for mask in masks])
    near = expected <= limit
    np.testing.assert_allclose(own[near], expected[near], atol=1e-5)
    assert (own[~near] > limit).all()


def test_without_an_outside_everything_is_far() -> None:
    assert (distance_to_outside(torch.ones(1, 1, 9, 9, dtype=torch.bool), 5) == 6).all()


@pytest.mark.parametrize("pixels", [0, 1, 2, 3])
def test_erosion_is_scipys(rng: np.random.Generator, pixels: int) -> None:
    masks = random_masks(rng)
    expected = [ndimage.binary_erosion(mask, iterations=pixels) if pixels else mask for mask in masks]
    assert (erode(tensor(masks), pixels)[:, 0].numpy() == np.stack(expected)).all()
