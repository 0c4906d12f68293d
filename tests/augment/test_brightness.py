"""Brightness as a factor (the paper's and the released code's) and as a shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctseg.augment.brightness import BrightnessFactor, BrightnessShift
from ctseg.networks.intensity import to_images, to_masks

IMAGES = torch.tensor([[-1.0, 0.0, 0.5], [-1.0, -0.9, 0.95]]).repeat(2, 1, 1)[:, None]  # (2, 1, 2, 3)


def test_the_factor_by_hand_on_uint8() -> None:
    grey = np.array([[[0, 1, 79], [128, 213, 255]]] * 3, np.uint8)
    factors = np.array([0.8, 1.2, 1.0])
    changed, masks = BrightnessFactor(factors).apply(to_images(grey), to_masks(grey > 100))
    by_hand = np.minimum(grey.astype(np.float64) * factors[:, None, None], 255.0)
    assert by_hand[0].tolist() == pytest.approx(np.array([[0, 0.8, 63.2], [102.4, 170.4, 204.0]]))
    assert by_hand[1].tolist() == pytest.approx(np.array([[0, 1.2, 94.8], [153.6, 255.0, 255.0]]))
    np.testing.assert_allclose((changed[:, 0].numpy() + 1.0) * 127.5, by_hand, atol=1e-4)
    assert (changed[:, 0, 0, 0] == -1.0).all()
    assert torch.equal(masks, to_masks(grey > 100))


def test_brain_of_31_hu_becomes_25_to_37() -> None:
    brain = torch.full((2, 1, 4, 4), 31 / 50 - 1)
    changed, _ = BrightnessFactor(np.array([0.8, 1.2])).apply(brain, brain)
    assert ((changed + 1) * 50).flatten(1).mean(1).tolist() == pytest.approx([24.8, 37.2], abs=1e-4)


def test_a_factor_makes_no_brain_background() -> None:
    darkest = to_images(np.ones((1, 2, 2), np.uint8))
    assert (BrightnessFactor(np.array([0.01])).apply(darkest, darkest)[0] > -1).all()


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(0.2, [[-1.0, 0.4, 0.9], [-1.0, -0.5, 1.0]]), (-0.2, [[-1.0, -0.4, 0.1], [-1.0, -1.0, 0.55]])],
)
def test_a_shift_moves_the_brain_and_keeps_the_background(shift: float, expected: list[list[float]]) -> None:
    masks = (IMAGES > 0).float()
    changed, same = BrightnessShift(np.array([shift, 0.0])).apply(IMAGES, masks)
    torch.testing.assert_close(changed[0, 0], torch.tensor(expected))
    assert torch.equal(changed[:, 0, :, 0], torch.full((2, 2), -1.0))
    assert torch.equal(changed[1], IMAGES[1])
    assert torch.equal(same, masks)


def test_draws_follow_their_settings(rng: np.random.Generator) -> None:
    factor = BrightnessFactor.draw(rng, 4000, 0.2).factor
    shift = BrightnessShift.draw(rng, 4000, 0.05).shift
    assert 0.8 <= factor.min() < 0.81 < 1.19 < factor.max() <= 1.2
    assert -0.05 <= shift.min() < -0.049 < 0.049 < shift.max() <= 0.05


def test_each_slice_is_described() -> None:
    assert BrightnessFactor(np.array([0.8, 1.0])).describe() == ["grey x 0.80", "grey x 1.00"]
    assert BrightnessShift(np.array([-0.05, 0.1])).describe() == [
        "grey -5.0 % of the range",
        "grey +10.0 % of the range",
    ]
