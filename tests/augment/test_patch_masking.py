"""Patches hidden from the student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctseg.augment.patch_masking import PatchMasking


def test_hidden_patches_are_squares_of_mean_grey_inside_the_brain() -> None:
    images = torch.full((6, 1, 50, 46), -1.0)
    images[:, :, 5:45, 5:40] = torch.rand(6, 1, 40, 35)
    drawn = PatchMasking.draw(np.random.default_rng(0), 6, (50, 46), 0.5, 8)
    seen, masks = drawn.apply(images, images)
    assert masks is images
    changed = seen != images
    assert not changed[images == -1].any()
    for image, new, where in zip(images, seen, changed, strict=True):
        assert new[where].unique().numel() == 1
        assert new[where][0].item() == pytest.approx(image[image > -1].mean().item(), abs=1e-5)
        blocks = where[0, 8:40, 8:40].unfold(0, 8, 8).unfold(1, 8, 8).flatten(2).float().mean(-1)
        assert set(blocks.flatten().tolist()) == {0.0, 1.0}
    assert 0.35 < changed[images > -1].float().mean() < 0.65
    none = PatchMasking.draw(np.random.default_rng(0), 6, (50, 46), 0.0, 8)
    assert torch.equal(none.apply(images, images)[0], images)


def test_the_hidden_share_is_described() -> None:
    assert PatchMasking(np.array([[[True, False], [False, False]]]), 8).describe() == ["25 % of patches masked"]
