"""Mirrors of slices."""

from __future__ import annotations

import numpy as np
import torch

from ctseg.augment.flips import Flips

IMAGES = torch.tensor([[-1.0, 0.0, 0.5], [-1.0, -0.9, 0.95]]).repeat(2, 1, 1)[:, None]  # (2, 1, 2, 3)


def first_alone(left_right: bool, front_back: bool) -> Flips:
    only = np.array([True, False])
    return Flips(only & left_right, only & front_back)


def test_flips_mirror_only_the_slices_drawn() -> None:
    lr, ap = first_alone(True, False).mirror(IMAGES), first_alone(False, True).mirror(IMAGES)
    assert torch.equal(lr[0, 0], torch.tensor([[0.5, 0.0, -1.0], [0.95, -0.9, -1.0]]))
    assert torch.equal(ap[0, 0], torch.tensor([[-1.0, -0.9, 0.95], [-1.0, 0.0, 0.5]]))
    assert torch.equal(lr[1], IMAGES[1])
    assert torch.equal(ap[1], IMAGES[1])


def test_flip_is_its_own_inverse() -> None:
    both = first_alone(True, True)
    assert torch.equal(both.mirror(both.mirror(IMAGES)), IMAGES)


def test_masks_are_mirrored_along() -> None:
    images, moved = first_alone(True, True).apply(IMAGES, (IMAGES > 0).float())
    assert torch.equal(moved, (images > 0).float())


def test_draws_follow_their_probability(rng: np.random.Generator) -> None:
    many = Flips.draw(rng, 4000, 0.5)
    assert abs(many.left_right.mean() - 0.5) < 0.05
    assert abs(many.front_back.mean() - 0.5) < 0.05
    assert abs((many.left_right & many.front_back).mean() - 0.25) < 0.05
    assert not Flips.draw(rng, 100, 0.0).left_right.any()


def test_each_slice_is_described() -> None:
    drawn = Flips(np.array([True, False, True]), np.array([False, False, True]))
    assert drawn.describe() == ["mirrored left-right", "", "mirrored left-right and front-back"]
