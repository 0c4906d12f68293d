"""Contrast, shading, noise, turns and sizes."""

import numpy as np
import pytest
import torch

from ctseg.augment.appearance import Ranges, change_grey, change_place, shades


def slices(count: int = 4, height: int = 64, width: int = 48) -> torch.Tensor:
    images = torch.full((count, 1, height, width), -1.0)
    images[:, :, 12:52, 10:38] = torch.rand(count, 1, 40, 28, generator=torch.Generator().manual_seed(0)) * 0.8 - 0.5
    return images


def draw() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize(
    "ranges", [Ranges(contrast=0.5), Ranges(noise=0.2), Ranges(bias_field=0.1), Ranges(0.5, 0.2, 0.1)]
)
def test_grey_changes_leave_the_background(ranges):
    images = slices()
    changed = change_grey(images, ranges, draw())
    brain = images > -1
    assert (changed[~brain] == -1).all()
    assert not torch.equal(changed[brain], images[brain])
    assert changed.min() >= -1
    assert changed.max() <= 1


def test_contrast_keeps_the_mean_grey():
    images = slices(1)
    changed = change_grey(images, Ranges(contrast=0.3), draw())
    brain = images > -1
    assert changed[brain].mean() == pytest.approx(images[brain].mean().item(), abs=1e-5)
    spread = changed[brain].std() / images[brain].std()
    assert 0.7 <= spread <= 1.3


def test_shading_is_slow_and_no_larger_than_asked():
    field = shades(torch.zeros(50, 1, 96, 80), 0.1, draw())
    largest = field.abs().amax(dim=(1, 2, 3))
    assert largest.max() <= 0.2
    assert largest.max() > 0.15
    assert largest.min() < 0.05
    steps = max(field.diff(dim=axis).abs().amax().item() for axis in (2, 3))
    assert steps < 0.02  # a tenth of the way a field may go, from one pixel to the next


def test_nothing_asked_for_changes_nothing():
    images, masks = slices(), (slices() > 0).float()
    assert torch.equal(change_grey(images, Ranges(), draw()), images)
    assert all(map(torch.equal, change_place(images, masks, Ranges(), draw()), (images, masks)))


class Most:
    """Draws the upper bound."""

    def uniform(self, low, high, count):
        return np.full(count, high)


def test_a_quarter_turn_is_a_quarter_turn_also_where_sides_differ():
    images, masks = slices(1, 64, 48), torch.zeros(1, 1, 64, 48)
    masks[:, :, 20:26, 20:30] = 1
    _, turned = change_place(images, masks, Ranges(rotation_deg=90), Most())
    either_way = [torch.rot90(masks[0, 0, 8:56], times) for times in (1, -1)]
    assert max((expected * turned[0, 0, 8:56]).sum().item() for expected in either_way) >= 58
    assert turned.sum().item() == pytest.approx(60, abs=2)
    assert set(turned.unique().tolist()) == {0.0, 1.0}


def test_turning_and_scaling_move_image_and_mask_together():
    images = torch.full((8, 1, 64, 64), -1.0)
    images[:, :, 8:56, 8:56] = -0.4
    images[:, :, 20:34, 30:44] = 0.6
    masks = (images > 0).float()
    turned, moved = change_place(images, masks, Ranges(rotation_deg=30, zoom=0.2), draw())
    found = (turned > 0.1).float()
    assert 2 * (found * moved).sum() / (found.sum() + moved.sum()) > 0.95
    areas = moved.sum(dim=(1, 2, 3)) / masks.sum(dim=(1, 2, 3))
    assert areas.min() > 0.6
    assert areas.max() < 1.5
    assert areas.std() > 0.02
    inside = turned[turned > -1]
    assert inside.min() >= -0.41  # no pixel is a mixture with the background
