from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ctseg.networks.blocks import count_parameters
from ctseg.networks.discriminators import DomainDiscriminator, PatchGan


def test_released_parameter_counts() -> None:
    with torch.device("meta"):
        assert count_parameters(PatchGan(width=64, norm="instance")) == 2_762_689
        assert count_parameters(DomainDiscriminator(256, width=64)) == 3_023_809
        assert count_parameters(DomainDiscriminator(32, width=64)) == 2_794_433


@pytest.mark.parametrize(("norm_layers", "field"), [(3, 70), (4, 142)])
def test_patch_size(norm_layers: int, field: int) -> None:
    # In eval mode a batch norm does not look beyond the patch, so gradients show the receptive field.
    discriminator = PatchGan(width=2, norm="batch", norm_layers=norm_layers).eval()
    images = torch.zeros(1, 1, 256, 256, requires_grad=True)
    logits = discriminator(images)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows = torch.nonzero(images.grad[0, 0].abs().sum(dim=1)).flatten()
    assert rows.max() - rows.min() + 1 == field


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("norm_layers", [3, 4])
@pytest.mark.parametrize("size", [(16, 16), (37, 53), (96, 96)])
def test_patch_gan_takes_any_size(size: tuple[int, int], norm_layers: int, norm) -> None:
    logits = PatchGan(width=4, norm=norm, norm_layers=norm_layers)(torch.rand(2, 1, *size))
    assert logits.shape[:2] == (2, 1)
    assert logits.numel() > 0
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(16, 16), (20, 31), (60, 60), (33, 240)])
def test_domain_discriminator_takes_any_map(size: tuple[int, int]) -> None:
    logits = DomainDiscriminator(6, width=4)(torch.rand(2, 6, *size))
    assert logits.shape == (2, 1, max(size[0], 32) // 32, max(size[1], 32) // 32)


@pytest.mark.parametrize(
    "build",
    [lambda: PatchGan(4), lambda: PatchGan(4, "batch"), lambda: DomainDiscriminator(1, 4)],
    ids=["instance", "batch", "domain"],
)
def test_outputs_are_logits_and_gradients_reach_every_parameter(build: Callable[[], nn.Module]) -> None:
    discriminator = build()
    images = torch.rand(2, 1, 64, 64) * 2 - 1
    with torch.no_grad():
        discriminator.layers[-1].weight.mul_(1e6)
    logits = discriminator(images)
    assert logits.abs().max() > 1  # no sigmoid inside
    logits.square().sum().backward()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None, name
        assert name.endswith("bias") or parameter.grad.abs().sum() > 0, name


def test_norms() -> None:
    instance, batch = PatchGan(4, "instance"), PatchGan(4, "batch")
    assert sum(isinstance(part, nn.InstanceNorm2d) for part in instance.modules()) == 3
    assert sum(isinstance(part, nn.BatchNorm2d) for part in batch.modules()) == 3
    assert not any("Norm" in type(part).__name__ for part in DomainDiscriminator(4, 4).modules())


@pytest.mark.parametrize("width", [8, 64])
def test_a_narrow_domain_discriminator_passes_on_as_much_as_a_wide_one(width: int) -> None:
    maps = torch.randn(4, width, 64, 64)
    logits = DomainDiscriminator(width, width).layers[:-1](maps)
    assert 0.1 < logits.std().item() < 0.4


def test_the_first_weights_of_the_released_d_seg_are_pytorchs() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 4, 4).weight
    torch.manual_seed(0)
    assert torch.equal(DomainDiscriminator(8, 4, initialisation="pytorch").layers[0].weight, plain)
    assert DomainDiscriminator(256, 64).layers[2].weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("network", [PatchGan(4), PatchGan(4, "batch", 4), DomainDiscriminator(3, 4)])
def test_every_leaky_relu_has_the_papers_slope(network: nn.Module) -> None:
    slopes = {part.negative_slope for part in network.modules() if isinstance(part, nn.LeakyReLU)}
    assert slopes == {0.2}
