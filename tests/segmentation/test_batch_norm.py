"""Batch norm's statistics: recalibrated, and frozen."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from ctseg.networks.modes import frozen_batch_norm
from ctseg.plugins.protocols import SegmenterOutput
from ctseg.segmentation.batch_norm import batch_norm_is_frozen, recalibrate
from ctseg.training.settings import FinetuneSettings


class Normed(nn.Module):
    """A norm on the input itself, so that its statistics are known by hand."""

    hidden_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.BatchNorm2d(1, momentum=0.3), nn.Conv2d(1, 1, 1)

    def forward(self, images: Tensor) -> SegmenterOutput:
        hidden = self.norm(images)
        return SegmenterOutput(self.last(hidden), hidden)


def recalibrated(count: int, batches: list[Tensor]) -> Normed:
    network = Normed().train()
    network.norm.running_mean.fill_(7.0)
    recalibrate(network, iter(batches[:count]), nullcontext)
    return network


@pytest.fixture
def batches() -> list[Tensor]:
    return list(torch.randn(3, 2, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1)


def test_statistics_are_the_batches_averages(batches: list[Tensor]) -> None:
    norm = recalibrated(3, batches).norm
    torch.testing.assert_close(norm.running_mean, torch.stack([item.mean() for item in batches]).mean()[None])
    torch.testing.assert_close(norm.running_var, torch.stack([item.var() for item in batches]).mean()[None])
    assert norm.momentum == 0.3


def test_weights_and_gradients_stay_as_they_are(batches: list[Tensor]) -> None:
    torch.manual_seed(0)
    fresh = Normed()
    torch.manual_seed(0)
    network = recalibrated(3, batches)
    assert all(torch.equal(one, other) for one, other in zip(fresh.parameters(), network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_nothing_happens_unless_asked(batches: list[Tensor]) -> None:
    assert recalibrated(0, batches).norm.running_mean.item() == 7.0


def test_a_fault_on_the_way_leaves_the_momentum(batches: list[Tensor]) -> None:
    network = Normed().train()

    def broken():
        yield batches[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recalibrate(network, broken(), nullcontext)
    assert network.norm.momentum == 0.3


@pytest.mark.parametrize(("start", "epoch", "frozen"), [(0, 0, False), (0, 9, False), (3, 2, False), (3, 3, True)])
def test_batch_norm_is_frozen_from_its_epoch_on(batches: list[Tensor], start: int, epoch: int, frozen: bool) -> None:
    network = Normed().train()
    settings = FinetuneSettings(freeze_batch_norm_from=start)
    before = network.norm.running_mean.clone()
    assert batch_norm_is_frozen(settings, epoch) is frozen
    with frozen_batch_norm(network, batch_norm_is_frozen(settings, epoch)):
        network(batches[0])
    assert torch.equal(network.norm.running_mean, before) is frozen
    assert network.training
