from __future__ import annotations

import pytest
import torch

from ctseg.networks.blocks import count_parameters
from ctseg.networks.resnet_generator import ResidualBlock, ResnetGenerator
from ctseg.plugins.protocols import has_features


def test_cyclegans_parameter_count_with_one_channel() -> None:
    with torch.device("meta"):
        generator = ResnetGenerator(width=64, blocks=9)
    # CycleGAN's resnet_9blocks has 11,378,179 with three channels in and out.
    assert count_parameters(generator.mr_to_ct) == 11_378_179 - 2 * 64 * 49 - (2 * 64 * 49 + 2)
    assert count_parameters(generator) == 2 * count_parameters(generator.ct_to_mr)


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (8, 9)])
def test_any_size_keeps_shape_and_range(size: tuple[int, int]) -> None:
    generator = ResnetGenerator(width=4, blocks=2)
    given = torch.rand(2, 1, *size) * 2 - 1
    for made in (generator.to_target(given), generator.to_source(given)):
        assert made.shape == given.shape
        assert made.abs().max() <= 1


def test_the_directions_are_independent_and_each_parameter_learns() -> None:
    generator = ResnetGenerator(width=4, blocks=2)
    given = torch.rand(2, 1, 16, 16) * 2 - 1
    generator.to_target(given).square().sum().backward()
    assert all(parameter.grad is None for parameter in generator.ct_to_mr.parameters())
    for name, parameter in generator.mr_to_ct.named_parameters():
        assert name.endswith("bias") or parameter.grad.abs().sum() > 0, name


def test_a_residual_block_of_zero_weights_is_the_identity() -> None:
    block = ResidualBlock(3)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    maps = torch.rand(1, 3, 8, 8)
    assert torch.equal(block(maps), maps)


def test_it_has_no_shared_features() -> None:
    assert not has_features(ResnetGenerator(width=4, blocks=1))
