from __future__ import annotations

import pytest
import torch
from torch import nn

from ctseg.networks.blocks import (
    count_parameters,
    crop_to,
    init_he,
    init_normal,
    pad_to_least,
    pad_to_multiple,
    seeded,
)


@pytest.mark.parametrize(
    ("size", "padded"), [((8, 8), (8, 8)), ((9, 8), (12, 8)), ((37, 53), (40, 56)), ((1, 2), (4, 4))]
)
def test_pad_to_multiple_repeats_the_border(size: tuple[int, int], padded: tuple[int, int]) -> None:
    images = torch.rand(2, 1, *size)
    result = pad_to_multiple(images, 4)
    assert result.shape[-2:] == padded
    assert torch.equal(crop_to(result, images), images)
    assert torch.equal(result[..., -1, : size[1]], images[..., -1, :])
    assert torch.equal(result[..., : size[0], -1], images[..., :, -1])


def test_pad_to_least_leaves_large_maps_alone() -> None:
    assert pad_to_least(torch.rand(1, 3, 5, 40), 32).shape == (1, 3, 32, 40)
    large = torch.rand(1, 3, 33, 40)
    assert pad_to_least(large, 32) is large


def test_init_normal_draws_what_cyclegan_draws() -> None:
    network = nn.Sequential(nn.Conv2d(32, 64, 3), nn.BatchNorm2d(64), nn.ConvTranspose2d(64, 32, 3))
    init_normal(network)
    for conv in (network[0], network[2]):
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert torch.count_nonzero(conv.bias) == 0
    assert network[1].weight.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.count_nonzero(network[1].bias) == 0


def test_init_he_goes_by_the_fan_out_as_torchvision_does_for_vgg() -> None:
    conv = nn.Conv2d(64, 256, 3)
    with seeded(0):
        init_he(conv)
    assert conv.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)  # by the fan in: twice that
    assert not conv.bias.any()


def test_init_he_keeps_the_signal_through_thirteen_layers() -> None:
    network = nn.Sequential(*(nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()) for _ in range(13)))
    images = torch.randn(2, 32, 24, 24)
    init_he(network)
    assert 0.1 < network(images).square().mean().item() < 3
    init_normal(network)
    assert network(images).square().mean().item() < 1e-3


def test_seeded_is_repeatable_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    with seeded(7):
        first = nn.Conv2d(1, 4, 3)
    with seeded(7):
        second = nn.Conv2d(1, 4, 3)
    with seeded(8):
        third = nn.Conv2d(1, 4, 3)
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, third.weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_count_parameters_leaves_out_frozen_ones() -> None:
    layer = nn.Conv2d(2, 3, 3)
    assert count_parameters(layer) == 2 * 3 * 9 + 3
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 2 * 3 * 9
