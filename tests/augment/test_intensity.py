"""Contrast, bias field and noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ctseg.augment.intensity import BiasField, Contrast, Noise
from ctseg.augment.slices import Augmentation


def slices(count: int = 4, height: int = 64, width: int = 48) -> Tensor:
    images = torch.full((count, 1, height, width), -1.0)
    images[:, :, 12:52, 10:38] = torch.rand(count, 1, 40, 28, generator=torch.Generator().manual_seed(0)) * 0.8 - 0.5
    return images


@pytest.mark.parametrize(
    "drawn",
    [
        Contrast.draw(np.random.default_rng(5), 4, 0.5),
        Noise.draw(np.random.default_rng(5), 4, 0.2),
        BiasField.draw(np.random.default_rng(5), 4, 0.1),
    ],
)
def test_grey_changes_leave_the_background_and_the_masks(drawn: Augmentation) -> None:
    images = slices()
    changed, masks = drawn.apply(images, images)
    brain = images > -1
    assert masks is images
    assert (changed[~brain] == -1).all()
    assert (changed[brain] > -1).all()
    assert not torch.equal(changed[brain], images[brain])
    assert changed.max() <= 1
    assert len(drawn.describe()) == 4


def test_contrast_keeps_the_mean_grey() -> None:
    images = slices(1)
    changed, _ = Contrast(np.array([1.25])).apply(images, images)
    brain = images > -1
    assert changed[brain].mean() == pytest.approx(images[brain].mean().item(), abs=1e-5)
    assert changed[brain].std() / images[brain].std() == pytest.approx(1.25, abs=1e-4)


def test_the_bias_field_is_slow_and_no_larger_than_asked(rng: np.random.Generator) -> None:
    field = BiasField.draw(rng, 50, 0.1).field(torch.zeros(50, 1, 96, 80))
    largest = field.abs().amax(dim=(1, 2, 3))
    assert largest.max() <= 0.2
    assert largest.max() > 0.15
    assert largest.min() < 0.05
    steps = max(field.diff(dim=axis).abs().amax().item() for axis in (2, 3))
    assert steps < 0.02  # a tenth of the way a field may go, from one pixel to the next


def test_noise_has_the_deviation_drawn() -> None:
    images = torch.zeros(2, 1, 128, 128)
    changed, _ = Noise(np.array([0.05, 0.0]), seed=3).apply(images, images)
    assert changed[0].std().item() == pytest.approx(0.1, rel=0.05)
    assert changed[0].mean().item() == pytest.approx(0.0, abs=0.005)
    assert torch.equal(changed[1], images[1])
    other, _ = Noise(np.array([0.05, 0.0]), seed=4).apply(images, images)
    assert not torch.equal(changed, other)
