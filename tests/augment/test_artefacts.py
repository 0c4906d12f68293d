"""What bone does to the brain beside it: erosion, brightening of edges and ends, streaks, kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ctseg.augment.artefacts import REACH, EdgeBrightening, EdgeErosion, EndBrightening, Sharpness, Streaks
from ctseg.augment.parts import part_of
from ctseg.augment.slices import Augmentation
from ctseg.training.presets import ADAPTATION

SIDE = 96


def heads(radius: float = 36.0, count: int = 4) -> Tensor:
    """Discs of about 31 HU."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    brain = torch.from_numpy((rows - 47.5) ** 2 + (columns - 47.5) ** 2 < radius**2)
    grey = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.06 - 0.38
    return torch.where(brain, grey, torch.full_like(grey, -1.0))


KNOTS = np.random.default_rng(5).standard_normal((4, 1, 4, 4), dtype=np.float32)
KINDS = [
    EdgeErosion.draw(np.random.default_rng(5), 4, 0.1),
    EdgeBrightening.draw(np.random.default_rng(5), 4, 0.5),
    EndBrightening.draw(np.random.default_rng(5), 4, 0.5),
    Streaks.draw(np.random.default_rng(3), 4, 0.5),
    Sharpness.draw(np.random.default_rng(5), 4, 0.9),
]


@pytest.mark.parametrize("drawn", KINDS, ids=lambda drawn: type(drawn).__name__)
def test_each_changes_brain_alone_and_can_be_applied_in_parts(drawn: Augmentation) -> None:
    images = heads(15.0)
    masks = (images > -0.35).float()
    kept = images.clone()
    changed, moved = drawn.apply(images, masks)
    assert torch.equal(images, kept)
    assert (changed[images == -1] == -1).all()
    assert not torch.equal(changed, images)
    assert changed.max() <= 1
    assert len(drawn.describe()) == 4
    again = [part_of(drawn, rows).apply(images[rows], masks[rows])[0] for rows in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(torch.cat(again), changed)
    if not isinstance(drawn, EdgeErosion):
        assert torch.equal(moved, masks)
        assert torch.equal(changed == -1, images == -1)


def test_erosion_takes_no_more_than_asked_and_the_label_with_it() -> None:
    images = heads()
    brain = images > -1
    depth = 0.05 * SIDE
    eroded, masks = EdgeErosion(np.full(4, 0.05), KNOTS).apply(images, brain.float())
    kept = eroded > -1
    assert torch.equal(masks > 0, kept)
    assert torch.equal(eroded[kept], images[kept])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    deep = torch.from_numpy(np.hypot(rows - 47.5, columns - 47.5) < 36 - depth - 1)
    assert kept[:, :, deep].all()
    assert (brain & ~kept).flatten(1).any(dim=1).all()
    nothing, _ = EdgeErosion(np.zeros(4), KNOTS).apply(images, masks)
    assert torch.equal(nothing, images)


def test_edges_are_brightened_by_the_peak_at_most_and_the_middle_is_not() -> None:
    images = heads()
    drawn = EdgeBrightening(np.full(4, 0.2), np.full(4, 0.02), KNOTS)
    change = drawn.apply(images, images)[0] - images
    assert change.min() >= 0
    assert change.max() <= 2 * 0.2
    assert change.amax(dim=(2, 3)).min() > 0.1
    assert not change[:, :, 30:66, 30:66].any()
    reach = EdgeBrightening.draw(np.random.default_rng(0), 500, 0.5).reach
    assert REACH[0] <= reach.min() < 0.01
    assert 0.05 < reach.max() <= REACH[1]


def test_only_slices_with_little_brain_are_brightened_as_a_whole() -> None:
    drawn = EndBrightening(np.array([0.3]))
    large, small = heads(36.0, 1), heads(8.0, 1)
    assert torch.equal(drawn.apply(large, large)[0], large)
    change = (drawn.apply(small, small)[0] - small)[small > -1]
    assert change.std() < 1e-6
    assert change.mean().item() == pytest.approx(0.6 * (1 - (small > -1).float().mean().item() / 0.12), abs=1e-4)


def test_streaks_lie_in_one_direction_and_in_three_of_ten_slices() -> None:
    images = heads(count=1)
    level = [np.array([value]) for value in (0.1, 0.0, 0.1, 0.2, 0.0, 0.0)]
    change = (Streaks(*level).apply(images, images)[0] - images)[0, 0]
    middle = change[30:66, 30:66]
    assert middle.diff(dim=0).abs().max() < 1e-5  # bands run down the rows
    assert middle.diff(dim=1).abs().max() > 0.02
    assert 0.15 < change.max() <= 0.2 + 1e-6
    peaks = Streaks.draw(np.random.default_rng(1), 4000, 0.1).peak
    assert (peaks > 0).mean() == pytest.approx(0.3, abs=0.03)
    assert peaks.max() <= 0.1


def test_sharpness_changes_texture_and_leaves_flat_brain() -> None:
    images = heads(count=2)
    changed, _ = Sharpness(np.array([0.5, -0.5])).apply(images, images)
    spread = [part[0, 30:66, 30:66].std().item() for part in (images[0], changed[0], images[1], changed[1])]
    assert spread[1] > 1.2 * spread[0]
    assert spread[3] < 0.8 * spread[2]
    flat = torch.where(images > -1, torch.full_like(images, -0.4), images)
    torch.testing.assert_close(Sharpness(np.array([0.5, -0.5])).apply(flat, flat)[0], flat)


def test_no_preset_has_them() -> None:
    names = {"edge_erosion", "edge_brightening", "end_brightening", "streaks", "sharpness"}
    assert not any(names & set(values) for values in ADAPTATION.values())
