"""Source lesions pasted into unlabelled CT as fresh blood, and the student's view that they are part of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ctseg.augment.copy_paste import CopyPaste
from ctseg.augment.distractors import RIM_HU
from ctseg.augment.pipeline import AugmentationRanges, StudentBatch, StudentView
from ctseg.augment.synthetic_haemorrhage import BloodAppearance
from ctseg.networks.intensity import to_images

BLOOD = BloodAppearance()
BRAIN = 80


def ct(batch: int = 3) -> Tensor:
    slices = np.zeros((batch, 64, 64), np.uint8)
    slices[:, 8:56, 8:56] = BRAIN
    return to_images(slices)


def disc(row: float, column: float, radius: float, batch: int = 3) -> Tensor:
    rows, columns = np.mgrid[:64, :64]
    inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return torch.from_numpy(np.broadcast_to(inside, (batch, 1, 64, 64)).copy()).float()


def none(like: Tensor) -> Tensor:
    return torch.zeros_like(like)


def pasted(
    target: Tensor, lesions: Tensor, labels: Tensor, weights: Tensor, chance: float = 1.0, distractors: float = 0.0
) -> StudentBatch:
    view = StudentView.draw(
        np.random.default_rng(0), len(target), (64, 64), AugmentationRanges(distractors=distractors),
        copy_paste=chance, mask_ratio=0.0, mask_patch=8,
    )  # fmt: skip
    return view.apply(target, labels, weights, lesions)


def hu(images: Tensor) -> Tensor:
    return (images + 1) * 50


def test_the_lesion_becomes_blood_with_a_sure_label() -> None:
    target, shape = ct(), disc(30, 30, 8)
    images, labels, weights = pasted(target, shape, none(target), none(target))
    assert 0.9 <= labels.sum().item() / shape.sum().item() <= 1.1
    grey = hu(images)[labels > 0].median().item()
    assert BLOOD.hu[0] - 3 * BLOOD.patches_hu <= grey <= BLOOD.hu[1] + 3 * BLOOD.patches_hu
    assert (weights[labels > 0] == 1).all()
    far = disc(30, 30, 12) == 0
    assert torch.equal(images[far], target[far])
    assert not weights[far].any()


def test_what_the_teacher_says_elsewhere_stays() -> None:
    target, shape, seen = ct(), disc(20, 20, 6), disc(45, 45, 5)
    weights = (torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    _, labels, after = pasted(target, shape, seen, weights)
    assert torch.equal(labels * (disc(20, 20, 10) == 0), seen)
    assert (after >= weights).all()
    assert (after == weights)[disc(20, 20, 10) == 0].all()


@pytest.mark.parametrize(("row", "column"), [(2, 2), (60, 30)])
def test_a_lesion_that_falls_beside_the_brain_is_left_out(row: int, column: int) -> None:
    target = ct()
    images, labels, weights = pasted(target, disc(row, column, 8), none(target), none(target))
    assert torch.equal(images, target)
    assert not labels.any()
    assert not weights.any()


def test_the_background_stays() -> None:
    target = ct()
    images, labels, _ = pasted(target, disc(12, 30, 8), none(target), none(target), distractors=1.0)
    assert (images[target == -1] == -1).all()
    assert not labels[target == -1].any()
    assert labels.any()


def test_distractors_are_sure_to_be_none_and_spare_what_the_teacher_sees() -> None:
    target, seen = ct(8), disc(30, 30, 6, 8)
    images, labels, weights = pasted(target, none(target), seen, none(target), distractors=1.0)
    assert torch.equal(labels, seen)
    bright = hu(images) >= RIM_HU[0]
    assert bright.any()
    assert not bright[seen > 0].any()
    assert (weights[bright] == 1).all()


def test_chance_zero_changes_nothing_and_one_in_two_about_half() -> None:
    target = ct(64)
    shape = disc(30, 30, 8, 64)
    assert torch.equal(pasted(target, shape, none(target), none(target), 0.0).images, target)
    labels = pasted(target, shape, none(target), none(target), 0.5).labels
    assert 16 <= int(labels.flatten(1).any(1).sum()) <= 48


def test_fewer_lesions_than_slices_are_used_again() -> None:
    target = ct(4)
    labels = pasted(target, torch.cat([disc(30, 30, 8, 1), none(ct(1))]), none(target), none(target)).labels
    assert labels.flatten(1).any(1).tolist() == [True, False, True, False]


def test_each_slice_is_described() -> None:
    drawn = CopyPaste.draw(np.random.default_rng(0), 2, 1.0, BloodAppearance(hu=(60.0, 60.0)))
    assert drawn.describe() == ["lesion pasted as blood of 60 HU"] * 2
