"""Painted rims, spots and bloody fluid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ctseg.augment.distractors import FLUID_HU, RIM_HU, SPOT_HU, BloodyFluid, Distractors, Rims, Spots
from ctseg.networks.intensity import to_images, to_masks

Heads = tuple[Tensor, Tensor]
YES = np.ones(1, bool)


@pytest.fixture
def heads() -> Heads:
    """(6, 1, 96, 96) discs of dark brain, a lesion in each."""
    rows, columns = np.mgrid[:96, :96]
    brain = (rows - 48) ** 2 + (columns - 48) ** 2 < 40**2
    images = np.where(brain, 90 + (rows % 7), 0).astype(np.uint8)[None].repeat(6, 0)
    masks = np.zeros_like(images)
    masks[:, 40:50, 20:32] = 1
    return to_images(images), to_masks(masks)


def paint(heads: Heads, probability: float, seed: int) -> Tensor:
    return Distractors.draw(np.random.default_rng(seed), len(heads[0]), probability).apply(*heads)[0]


def hu(images: Tensor) -> np.ndarray:
    return ((images[:, 0] + 1) * 50).numpy()


def test_lesion_background_and_input_stay_as_they_are(heads: Heads) -> None:
    images, masks = heads
    before = images.clone()
    painted, same = Distractors.draw(np.random.default_rng(0), 6, 1.0).apply(images, masks)
    assert torch.equal(images, before)
    assert same is masks
    assert torch.equal(painted[masks > 0], images[masks > 0])
    assert (painted[images == -1] == -1).all()
    assert (painted >= images).all()
    assert all((new != old).any() for new, old in zip(painted, images, strict=True))
    assert painted.max() <= 1


def test_probability_none_paints_none_and_draws_repeat(heads: Heads) -> None:
    assert torch.equal(paint(heads, 0.0, 0), heads[0])
    first, second = (paint(heads, 0.5, 3) for _ in range(2))
    assert torch.equal(first, second)


def test_a_rim_hugs_the_edge_and_is_no_ring(heads: Heads) -> None:
    brain = heads[0][:1] > -1
    for seed in range(20):
        band = Rims.draw(np.random.default_rng(seed), YES).bands(brain)[0, 0].numpy()
        assert band.any()
        rows, columns = np.nonzero(band)
        assert np.hypot(rows - 48, columns - 48).min() > 40 - 0.08 * 96 - 2
        assert band.sum() < 0.25 * brain.sum()


def test_a_rim_lies_where_it_is_drawn(heads: Heads) -> None:
    for middle, (row, column) in {0.0: (0, 1), np.pi / 2: (1, 0), -3.1: (0, -1)}.items():
        drawn = Rims(YES, np.array([middle]), np.array([60.0]), np.array([0.05]), np.array([70.0]))
        rows, columns = np.nonzero(drawn.bands(heads[0][:1] > -1)[0, 0].numpy())
        assert (rows.mean() - 48) * row + (columns.mean() - 48) * column > 30
        depth = 40 - np.hypot(rows - 48, columns - 48).min()
        assert depth == pytest.approx(0.05 * 96, abs=1.5)
        turned = np.arctan2(rows - 48, columns - 48) - middle
        assert np.degrees(np.abs((turned + np.pi) % (2 * np.pi) - np.pi)).max() <= 30


def test_a_spot_is_small_and_inside(heads: Heads) -> None:
    images, _ = heads
    free = images > -1
    for seed in range(20):
        drawn = Spots.draw(np.random.default_rng(seed), np.ones(6, bool))
        painted = drawn.paint(images, free)
        changed = (painted != images).flatten(1).sum(1).numpy()
        assert ((drawn.count >= 1) & (drawn.count <= 4)).all()
        assert (changed >= 1).all()
        assert (changed <= drawn.count * 4 * 2.5**2).all()
        assert free[painted != images].all()
        grey = hu(painted)[(painted != images)[:, 0].numpy()]
        assert grey.min() >= SPOT_HU[0] - 3  # half of the spread that was there
        assert grey.max() <= 100


def test_a_spot_lies_at_its_share_of_the_brain() -> None:
    images = torch.full((2, 1, 20, 20), -1.0)
    images[0, 0, 5:15, 5:15] = -0.4
    images[1, 0, 10:, :] = -0.4
    place = np.array([[0.555, 0.9, 0.9, 0.9], [0.0, 0.9, 0.9, 0.9]])
    drawn = Spots(np.array([1, 1]), place, np.full((2, 4), 0.01), np.full((2, 4), 90.0))
    changed = (drawn.paint(images, images > -1) != images)[:, 0].nonzero().tolist()
    cross = [[0, 9, 10], [0, 10, 9], [0, 10, 10], [0, 10, 11], [0, 11, 10]]  # the 56th of 10 x 10, radius 1
    corner = [[1, 10, 0], [1, 10, 1], [1, 11, 0]]  # does not run on into the row before, nor beyond the brain
    assert changed == cross + corner


def test_an_empty_slice_is_left_alone() -> None:
    empty = torch.full((3, 1, 32, 32), -1.0)
    assert torch.equal(paint((empty, torch.zeros_like(empty)), 1.0, 0), empty)


def test_an_empty_slice_beside_others_is_left_alone(heads: Heads) -> None:
    images = heads[0].clone()
    images[2] = -1
    painted = paint((images, heads[1]), 1.0, 1)
    assert torch.equal(painted[2], images[2])
    assert torch.isfinite(painted).all()
    assert (painted[3] != images[3]).any()


def test_blood_fills_dark_pools_and_nothing_else(heads: Heads) -> None:
    image, mask = heads[0][:1].clone(), heads[1][:1]
    dark = 15 / 127.5 - 1
    image[..., 30:44, 50:60] = dark  # a ventricle
    image[..., 60:62, 50] = dark  # two pixels: noise
    image[..., 44:48, 22:26] = dark  # dark within the lesion
    free = (image > -1) & (mask == 0)
    found = [BloodyFluid.draw(np.random.default_rng(seed), YES).pools(image, free)[0, 0] for seed in range(40)]
    ventricle = torch.zeros(96, 96, dtype=torch.bool)
    ventricle[30:44, 50:60] = True
    assert not any((pool & ~ventricle).any() for pool in found)
    assert any((pool == ventricle).all() for pool in found)
    assert any(not pool.any() for pool in found)
    behind = [pool for pool in found if pool.any() and pool.sum() < ventricle.sum()]
    assert behind
    assert all(pool[43].any() and not pool[30].any() for pool in behind)
    painted = np.concatenate([hu(paint((image, mask), 1.0, seed)) for seed in range(40)])
    filled = painted[painted[:, 38, 55] > 6, 38, 55]
    assert len(filled) > 5
    assert filled.max() <= FLUID_HU[1]  # no rim or spot reaches it in these draws
    assert filled.min() >= FLUID_HU[0]


def test_half_of_the_pools_are_filled(rng: np.random.Generator) -> None:
    image = torch.full((60, 1, 64, 64), -0.2)
    image[:, :, ::8, 4:60] = -0.9  # eight pools in a slice
    drawn = BloodyFluid.draw(rng, np.ones(60, bool))
    filled = drawn.pools(image, image > -1)[:, 0, ::8, 30]
    assert 0.4 < filled[torch.from_numpy(~drawn.sunk)].float().mean() < 0.6
    whole = filled.sum(1).numpy()
    assert whole[drawn.sunk].mean() < whole[~drawn.sunk].mean()


def test_all_fluid_or_none_is_no_trouble() -> None:
    image = torch.full((1, 1, 8, 8), -0.8)
    drawn = BloodyFluid.draw(np.random.default_rng(0), YES)
    assert not drawn.pools(image, image > -1).any()
    assert not drawn.pools(image - 0.2, image > 0).any()


def test_greys_are_those_drawn(heads: Heads) -> None:
    drawn = Rims(np.ones(6, bool), np.zeros(6), np.full(6, 90.0), np.full(6, 0.08), np.linspace(*RIM_HU, 6))
    painted = drawn.paint(heads[0], heads[0] > -1)
    for new, old, expected in zip(hu(painted), hu(heads[0]), drawn.hu, strict=True):
        assert new[new != old].mean() == pytest.approx(expected, abs=1.5)


def test_each_slice_is_described() -> None:
    drawn = Distractors.draw(np.random.default_rng(4), 6, 0.5)
    for text, rim, spots, fluid in zip(
        drawn.describe(), drawn.rims.painted, drawn.spots.count, drawn.fluid.painted, strict=True
    ):
        assert ("bright rim" in text) == rim
        assert (f"bright spots: {spots}" in text) == (spots > 0)
        assert ("bloody fluid" in text) == fluid
