"""Lesions repainted as blood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ctseg.augment.synthetic_haemorrhage import BloodAppearance, SyntheticHaemorrhage
from ctseg.networks.intensity import to_images, to_masks

BLOOD = BloodAppearance()
Heads = tuple[Tensor, Tensor]


@pytest.fixture
def heads() -> Heads:
    """(8, 1, 96, 96) discs of grey brain; a lesion with a hole and an arm in all but the last."""
    rows, columns = np.mgrid[:96, :96]
    images = np.where((rows - 48) ** 2 + (columns - 48) ** 2 < 40**2, 80 + rows % 5, 0).astype(np.uint8)
    images = images[None].repeat(8, 0)
    masks = np.zeros_like(images)
    masks[:-1, 35:55, 20:40] = 1
    masks[:-1, 43:46, 28:31] = 0
    masks[:-1, 44, 40:60] = 1
    return to_images(images), to_masks(masks)


def drawn(seed: int, count: int = 8, probability: float = 1.0, appearance: BloodAppearance = BLOOD):
    return SyntheticHaemorrhage.draw(np.random.default_rng(seed), count, probability, appearance)


def hu(images: Tensor) -> np.ndarray:
    return ((images[:, 0] + 1) * 50).numpy()


def test_the_core_is_whole_and_has_no_arms(heads: Heads) -> None:
    for seed in range(10):
        _, cores = drawn(seed).paint(*heads)
        for core in cores[:-1, 0]:
            assert core[44, 29]
            assert not core[44, 50:].any()
            assert 300 < core.sum() < 420


def test_the_label_is_what_was_painted(heads: Heads) -> None:
    images, masks = heads
    painted, outlines = drawn(0).apply(images, masks)
    assert torch.equal(painted[-1], images[-1])
    assert not outlines[-1].any()
    for new, old, outline in zip(hu(painted)[:-1], hu(images)[:-1], outlines[:-1, 0].numpy(), strict=True):
        assert outline[40:50, 24:36].all()
        assert BLOOD.hu[0] - 14 < new[40:50, 24:36].mean() < BLOOD.hu[1] + 10
        far = np.ones_like(outline, bool)
        far[30:60, 15:62] = False
        assert (new[far] == old[far]).all()
    assert (painted[images == -1] == -1).all()
    assert painted.dtype == outlines.dtype == torch.float32
    assert set(outlines.unique().tolist()) == {0.0, 1.0}


def test_the_grey_is_the_attenuation_drawn(heads: Heads) -> None:
    still = drawn(0, appearance=replace(BLOOD, patches_hu=0.0))
    painted, _ = still.apply(*heads)
    inside = hu(painted)[:-1, 38:42, 24:36].mean(axis=(1, 2))
    np.testing.assert_allclose(inside, still.hu[:-1], atol=0.3)
    assert inside.std() > 6  # greys differ from slice to slice


def test_patches_have_their_deviation(heads: Heads) -> None:
    patches = drawn(0)._patches(torch.zeros(8, 1, 96, 96))
    assert patches.std(dim=(1, 2, 3), correction=0).tolist() == pytest.approx(
        [2 * BLOOD.patches_hu / 100] * 8, rel=1e-3
    )
    beside = [torch.corrcoef(torch.stack([p[:, :-1].flatten(), p[:, 1:].flatten()]))[0, 1] for p in patches[:, 0]]
    assert min(beside) > 0.8  # soft


def test_the_edge_mixes_blood_and_brain(heads: Heads) -> None:
    still = drawn(0, appearance=replace(BLOOD, patches_hu=0.0, hu=(80.0, 80.0)))
    painted, outlines = still.apply(*heads)
    row = hu(painted)[0, 40]
    first = int(np.flatnonzero(outlines[0, 0, 40].numpy())[0])
    assert row[first - 2] < 35
    assert 35 < row[first - 1] < row[first] < 79
    assert row[first + 2] > 78


def test_the_texture_of_the_slice_stays(heads: Heads) -> None:
    images, masks = heads
    noise = torch.from_numpy(np.random.default_rng(1).integers(-9, 10, images.shape)) / 127.5
    images = torch.where(images > -1, images + noise.float(), images)
    painted, _ = drawn(0).apply(images, masks)
    fine = [stack[:-1, 0, 40:50, 22:28].diff(dim=2).flatten() for stack in (images, painted)]
    assert torch.corrcoef(torch.stack(fine))[0, 1] > 0.9


def test_probability_none_repaints_none_and_draws_repeat(heads: Heads) -> None:
    assert torch.equal(drawn(0, probability=0.0).apply(*heads)[0], heads[0])
    first, second = (drawn(3, probability=0.5).apply(*heads) for _ in range(2))
    assert all(map(torch.equal, first, second))
    changed = (first[0] != heads[0]).flatten(1).any(1)
    assert 0 < changed.sum() < 7


def test_a_speck_stays_as_it_was_drawn(heads: Heads) -> None:
    images, masks = heads[0][:1], torch.zeros_like(heads[1][:1])
    masks[0, 0, 40, 40] = 1
    painted, outlines = drawn(0, 1).apply(images, masks)
    assert torch.equal(painted, images)
    assert torch.equal(outlines, masks)


def test_a_slice_is_painted_alike_whatever_its_batch(heads: Heads) -> None:
    whole = drawn(2)
    alone = replace(
        whole,
        **{
            name: getattr(whole, name)[3:4]
            for name in ("painted", "hu", "smoothing", "oedema_hu", "patches")
        },
    )  # fmt: skip
    torch.testing.assert_close(whole.apply(*heads)[0][3:4], alone.apply(heads[0][3:4], heads[1][3:4])[0])


def test_oedema_changes_the_lesion_around_its_core_alone(heads: Heads) -> None:
    dark = drawn(0, appearance=replace(BLOOD, oedema_hu=(-10.0, -10.0)))
    painted, cores = dark.paint(*heads)
    plain, _ = drawn(0).paint(*heads)
    arm = hu(painted)[0, 44, 45:59] - hu(plain)[0, 44, 45:59]
    assert arm.mean() == pytest.approx(-10 * 0.683, abs=1.5)  # the arm is one pixel wide, and blurred
    assert torch.equal(painted[-1], heads[0][-1])
    inner = cores[:, :, 40:50, 24:36]
    assert inner[:-1].all()
    # The slice's texture is that of its neighbourhood, to which the oedema belongs.
    torch.testing.assert_close(painted[:, :, 40:50, 24:36], plain[:, :, 40:50, 24:36], atol=1e-3, rtol=0)


def test_each_slice_is_described() -> None:
    drawn = SyntheticHaemorrhage.draw(np.random.default_rng(0), 2, 1.0, BloodAppearance(hu=(60.0, 60.0)))
    mixed = replace(drawn, painted=np.array([True, False]))
    assert mixed.describe() == ["lesion repainted as blood of 60 HU", ""]
