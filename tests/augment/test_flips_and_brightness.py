from __future__ import annotations

import numpy as np
import pytest
import torch

from ctseg.augment.flips_and_brightness import Augmentation, augment, brighten, draw_augmentation, flip

IMAGES = torch.tensor([[-1.0, 0.0, 0.5], [-1.0, -0.9, 0.95]]).repeat(2, 1, 1)[:, None]  # (2, 1, 2, 3)


def drawn(lr: bool, ap: bool, brightness: float, count: int = 2) -> Augmentation:
    """The first slice as told, the others left alone."""
    only = np.zeros(count, bool)
    only[0] = True
    return Augmentation(only & lr, only & ap, np.where(only, brightness, 0.0))


def test_flips_mirror_only_the_slices_drawn() -> None:
    lr, ap = flip(IMAGES, drawn(True, False, 0)), flip(IMAGES, drawn(False, True, 0))
    assert torch.equal(lr[0, 0], torch.tensor([[0.5, 0.0, -1.0], [0.95, -0.9, -1.0]]))
    assert torch.equal(ap[0, 0], torch.tensor([[-1.0, -0.9, 0.95], [-1.0, 0.0, 0.5]]))
    assert torch.equal(lr[1], IMAGES[1])
    assert torch.equal(ap[1], IMAGES[1])


def test_flip_is_its_own_inverse() -> None:
    both = drawn(True, True, 0)
    assert torch.equal(flip(flip(IMAGES, both), both), IMAGES)


@pytest.mark.parametrize(
    ("brightness", "expected"),
    [(0.2, [[-1.0, 0.4, 0.9], [-1.0, -0.5, 1.0]]), (-0.2, [[-1.0, -0.4, 0.1], [-1.0, -1.0, 0.55]])],
)
def test_brightness_shifts_the_brain_and_keeps_the_background(brightness: float, expected: list[list[float]]) -> None:
    changed = brighten(IMAGES, drawn(False, False, brightness))
    torch.testing.assert_close(changed[0, 0], torch.tensor(expected))
    assert torch.equal(changed[:, 0, :, 0], torch.full((2, 2), -1.0))
    assert torch.equal(changed[1], IMAGES[1])


def test_masks_are_mirrored_along_and_never_brightened() -> None:
    masks = (IMAGES > 0).float()
    images, moved = augment(IMAGES, masks, drawn(True, True, 0.0))
    assert torch.equal(moved, (images > 0).float())
    _, moved = augment(IMAGES, masks, drawn(False, False, 0.2))
    assert torch.equal(moved, masks)


def test_draws_follow_their_settings(rng: np.random.Generator) -> None:
    many = draw_augmentation(rng, 4000, flip_probability=0.5, brightness=0.2)
    assert abs(many.flip_lr.mean() - 0.5) < 0.05
    assert abs(many.flip_ap.mean() - 0.5) < 0.05
    assert abs((many.flip_lr & many.flip_ap).mean() - 0.25) < 0.05
    assert -0.2 <= many.brightness.min() < -0.19
    assert 0.19 < many.brightness.max() <= 0.2
    never = draw_augmentation(rng, 100, flip_probability=0.0, brightness=0.0)
    assert not never.flip_lr.any()
    assert not never.brightness.any()


def test_draws_are_the_generators_alone() -> None:
    first, second = (draw_augmentation(np.random.default_rng(5), 8) for _ in range(2))
    assert np.array_equal(first.flip_lr, second.flip_lr)
    assert np.array_equal(first.brightness, second.brightness)
