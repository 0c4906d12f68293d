"""Rotation and zoom."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctseg.augment.affine import Affine


def test_a_quarter_turn_is_a_quarter_turn_also_where_sides_differ() -> None:
    images, masks = torch.full((1, 1, 64, 48), -1.0), torch.zeros(1, 1, 64, 48)
    images[:, :, 12:52, 10:38] = -0.2
    masks[:, :, 20:26, 20:30] = 1
    _, turned = Affine(np.array([90.0]), np.array([1.0])).apply(images, masks)
    either_way = [torch.rot90(masks[0, 0, 8:56], times) for times in (1, -1)]
    assert max((expected * turned[0, 0, 8:56]).sum().item() for expected in either_way) >= 58
    assert turned.sum().item() == pytest.approx(60, abs=2)
    assert set(turned.unique().tolist()) == {0.0, 1.0}


def test_rotation_and_zoom_move_image_and_mask_together() -> None:
    images = torch.full((8, 1, 64, 64), -1.0)
    images[:, :, 8:56, 8:56] = -0.4
    images[:, :, 20:34, 30:44] = 0.6
    masks = (images > 0).float()
    turned, moved = Affine.draw(np.random.default_rng(5), 8, 30, 0.2).apply(images, masks)
    found = (turned > 0.1).float()
    assert 2 * (found * moved).sum() / (found.sum() + moved.sum()) > 0.95
    areas = moved.sum(dim=(1, 2, 3)) / masks.sum(dim=(1, 2, 3))
    assert areas.min() > 0.6
    assert areas.max() < 1.5
    assert areas.std() > 0.02
    inside = turned[turned > -1]
    assert inside.min() >= -0.41  # no pixel is a mixture with the background


def test_zoom_above_one_enlarges_and_is_described() -> None:
    masks = torch.zeros(2, 1, 64, 64)
    masks[:, :, 24:40, 24:40] = 1
    drawn = Affine(np.array([0.0, -7.0]), np.array([1.25, 1.0]))
    _, moved = drawn.apply(masks * 0.5 - 0.2, masks)
    assert moved[0].sum().item() == pytest.approx(20 * 20, abs=40)
    assert drawn.describe() == ["rotated +0 degrees, zoom x 1.25", "rotated -7 degrees, zoom x 1.00"]
